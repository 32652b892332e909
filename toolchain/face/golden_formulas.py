"""The formulas of the engine in float64, without OpenCV, whose sums and weights differ between processors.

Pixel centres are at whole numbers. Picture points are (x, y), arrays are (rows, columns, ...).
"""

from __future__ import annotations

import math

import numpy as np

# Weights of red, green and blue in luma (ITU-R BT.601) in 1 / 2^15, as whole numbers.
LUMA, LUMA_BITS = (9798, 19235, 3735), 15


def inverse(matrix: np.ndarray) -> np.ndarray:
    """(2, 3) float64 that undoes an affine (2, 3)."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(2, 3) of one affine map after another: `first` is applied to what `second` gives."""
    return np.column_stack([first[:, :2] @ second[:, :2], first[:, :2] @ second[:, 2] + first[:, 2]])


def places(matrix: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a map leads from every pixel: x and y, (height, width) float64 each."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    (a, b, c), (d, e, f) = matrix
    return a * x + b * y + c, d * x + e * y + f


def interpolated(values: np.ndarray, x: np.ndarray, y: np.ndarray, replicate: bool = False) -> np.ndarray:
    """Bilinear interpolation.

    Args:
        values: (rows, columns) or (rows, columns, channels).
        x: columns to read at, of any shape.
        y: rows to read at, of the same shape.
        replicate: beyond the border lies the border; else zero.

    Returns:
        float64 of the shape of `x`, and the channels.
    """
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_share, lower_share = x - left, y - top
    result: np.ndarray | float = 0.0
    for dy, down in ((0, 1 - lower_share), (1, lower_share)):
        for dx, across in ((0, 1 - right_share), (1, right_share)):
            weight = down * across
            read = _pixel(values, left + dx, top + dy, replicate)
            result = result + (weight[..., None] if read.ndim > weight.ndim else weight) * read
    return np.asarray(result)


def _pixel(values: np.ndarray, x: np.ndarray, y: np.ndarray, replicate: bool) -> np.ndarray:
    rows, columns = values.shape[:2]
    read = values[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)].astype(np.float64)
    if replicate:
        return read
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    return np.where(inside[..., None] if read.ndim > inside.ndim else inside, read, 0.0)


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear at another size; the outer half of the border pixels is as they are."""
    rows, columns = values.shape[:2]
    y = (np.arange(height) + 0.5) * (rows / height) - 0.5
    x = (np.arange(width) + 0.5) * (columns / width) - 0.5
    across, down = np.meshgrid(x, y)
    return interpolated(values, across, down, replicate=True)


def nearest(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixel that lies under each corner: floor(place * old / new)."""
    rows, columns = values.shape[:2]
    return values[np.arange(height) * rows // height][:, np.arange(width) * columns // width]


def averaged(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mean over the area that each of fewer pixels covers; pixels in part count in part."""
    down, across = _area_weights(values.shape[0], height), _area_weights(values.shape[1], width)
    result = np.tensordot(down, values.astype(np.float64), (1, 0))
    return np.moveaxis(np.tensordot(across, result, (1, 1)), 0, 1)


def _area_weights(old: int, new: int) -> np.ndarray:
    """(new, old): share of each old pixel in each new one."""
    edges = np.arange(new + 1) * (old / new)
    starts = np.maximum(edges[:-1, None], np.arange(old)[None])
    ends = np.minimum(edges[1:, None], np.arange(old)[None] + 1)
    return np.maximum(ends - starts, 0) * (new / old)


def luma(pixels: np.ndarray) -> np.ndarray:
    """(height, width) uint8 of (height, width, 3) RGB uint8."""
    total = pixels.astype(np.int64) @ np.array(LUMA)
    return ((total + (1 << (LUMA_BITS - 1))) >> LUMA_BITS).astype(np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis; minus infinity is a probability of zero."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=0).astype(np.float64))
    return exponents / exponents.sum(axis=0)


def filtered(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Rows and columns with one symmetric kernel; beyond the border its neighbours come again, without it."""
    reach = len(kernel) // 2
    padded = np.pad(values.astype(np.float64), [(reach, reach)] * 2 + [(0, 0)] * (values.ndim - 2), "reflect")
    rows, columns = values.shape[:2]
    middle = sum(weight * padded[at : at + rows] for at, weight in enumerate(kernel))
    return np.asarray(sum(weight * middle[:, at : at + columns] for at, weight in enumerate(kernel)))


def gaussian(deviation: float) -> np.ndarray:
    """Kernel as wide as four deviations on each side, of an odd number of weights that add up to one."""
    size = round(8 * deviation + 1) | 1
    weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * deviation**2))
    return weights / weights.sum()


def scale_of(matrix: np.ndarray) -> float:
    """Length in the crop of one pixel of the picture."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
