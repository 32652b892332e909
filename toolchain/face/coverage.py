"""Where an effect paints: opacities of pixels from the class probabilities of a crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import cv2
import numpy as np

# Smoothing below this many pixels of the crop changes nothing that can be seen.
SMALLEST_DEVIATION = 0.15
# What must not be painted counts from this probability on, and the opacity is full again where it is by this
# margin less probable than what is painted.
NEVER_FLOOR, NEVER_MARGIN = 0.2, 0.25


@dataclass(frozen=True)
class Coverage:
    """Where an effect paints: opacity (height, width) uint8 of a box of the picture, whose slices follow."""

    opacity: np.ndarray
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Lead:
    """What must not be painted: where it is as probable as each rival and as NEVER_FLOOR, the opacity is 0.

    Attributes:
        rivals: (size, size) float32 each, classes that are painted.
        never: (size, size) float32, the class that is not.
    """

    rivals: tuple[np.ndarray, ...]
    never: np.ndarray


def coverage(
    plane: np.ndarray,
    matrix: np.ndarray,
    shape: tuple[int, ...],
    edge: tuple[float, float],
    strength: float,
    feather: float = 0.0,
    lead: Lead | None = None,
) -> Coverage | None:
    """Opacity of every pixel of a picture: a smooth rising function of the interpolated probability.

    Args:
        plane: (size, size) float32, probability of what is painted, of a crop.
        matrix: (2, 3), picture to crop.
        shape: height and width of the picture, and anything after them.
        edge: probabilities up to which the opacity is 0, and from which it is `strength`; between the two it
            is 3t^2 - 2t^3 of the share t of the way.
        strength: largest opacity, 0-1.
        feather: standard deviation, in pixels of the crop, of the Gaussian that softens the outline.
        lead: what must not be painted, whatever the feather.

    Returns:
        The opacities in a box that holds them all, or None where all are 0.
    """
    low, high = edge
    inside = cv2.boundingRect((plane > low).view(np.uint8))
    deviation = math.hypot(feather, smoothing(matrix))
    box = box_in_picture(inside, matrix, shape, 1 + 3 * deviation)
    if box is None or strength == 0:
        return None
    rows, columns = box
    left, top, width, height = widened(inside, len(plane), math.ceil(4 * deviation) + 1)
    matrix = matrix - np.array([[0.0, 0.0, left], [0.0, 0.0, top]])
    part = plane[top : top + height, left : left + width]
    soft = cv2.GaussianBlur(part, (0, 0), deviation) if deviation else part
    opacity = cv2.LUT(ramp(interpolated(soft, matrix, rows, columns), low, high), _smooth_steps(strength))
    if lead is not None:
        moved = [
            interpolated(values[top : top + height, left : left + width], matrix, rows, columns)
            for values in (lead.never, *lead.rivals)
        ]
        ahead = np.maximum(reduce(np.maximum, moved[1:]), np.float32(NEVER_FLOOR))
        opacity = cv2.multiply(opacity, ramp(cv2.subtract(ahead, moved[0]), 0.0, NEVER_MARGIN), scale=1 / 255)
    return Coverage(opacity, rows, columns)


def widened(box: Sequence[int], size: int, by: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of a box, `by` pixels larger on each side within a crop of that size."""
    left, top = max(box[0] - by, 0), max(box[1] - by, 0)
    return left, top, min(box[0] + box[2] + by, size) - left, min(box[1] + box[3] + by, size) - top


def box_in_picture(
    box: Sequence[int], matrix: np.ndarray, shape: tuple[int, ...], reach: float
) -> tuple[slice, slice] | None:
    """Rows and columns of a picture within `reach` crop pixels of a box of pixel centres; None for none.

    Args:
        box: left, top, width and height in the crop.
        matrix: (2, 3), picture to crop.
        shape: height and width of the picture, and anything after them.
        reach: interpolation alone has 1.
    """
    left, top, width, height = box
    if width == 0:
        return None
    across, down = (left - reach, left + width - 1 + reach), (top - reach, top + height - 1 + reach)
    ends = np.array([(x, y, 1.0) for x in across for y in down])
    corners = ends @ cv2.invertAffineTransform(matrix).T
    low = np.maximum(np.ceil(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.floor(corners.max(axis=0)) + 1, (shape[1], shape[0])).astype(int)
    if (high <= low).any():
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def interpolated(values: np.ndarray, matrix: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Values of a crop at pixels of a picture, bilinear, 0 beyond the crop."""
    origin = np.array([[1.0, 0.0, columns.start], [0.0, 1.0, rows.start], [0.0, 0.0, 1.0]])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, matrix @ origin, size, flags=flags)


def smoothing(matrix: np.ndarray) -> float:
    """Deviation of the Gaussian, in crop pixels, without which a crop finer than the picture would alias."""
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    deviation = 0.5 * math.sqrt(max(scale**2 - 1, 0))
    return deviation if deviation > SMALLEST_DEVIATION else 0.0


def ramp(values: np.ndarray, low: float, high: float, out: np.ndarray | None = None) -> np.ndarray:
    """uint8: 0 up to `low`, 255 from `high`, linear between; of float32, of the same shape as `out`."""
    step = 255 / (high - low)
    return cv2.addWeighted(values, step, values, 0.0, -low * step, out, cv2.CV_8U)


@lru_cache(maxsize=64)
def _smooth_steps(strength: float) -> np.ndarray:
    """(1, 256) uint8: strength * (3t^2 - 2t^3) of t = 0 to 1."""
    share = np.arange(256) / 255
    table = np.rint(255 * strength * share * share * (3 - 2 * share)).astype(np.uint8)[None]
    table.setflags(write=False)
    return table
