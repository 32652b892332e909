"""The square region of interest around a face, cut out and put back.

A 2x3 matrix maps pixel coordinates of the picture to those of the crop; pixel centres are at whole numbers,
as in OpenCV, and areas meet half a pixel further out, so that a crop of the same size changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from toolchain.errors import UnsupportedError

RESIZE_RULES = ("bilinear", "area")
BACKGROUND = 0
# OpenCV interpolates with weights of 1/32 pixel, and sums of probabilities are rounded.
LEAST_SLACK = 1e-3
# How many pixels OpenCV resizes while it maps one affinely.
RESIZE_GAIN = 4
# Pixels by which the edges of a whole square may miss the whole numbers, by rounding.
WHOLE = 1e-6


@dataclass(frozen=True)
class Box:
    """A face in pixels of the picture; `x` and `y` are its left and its upper edge."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Square:
    """An upright square in the picture, which may reach beyond it.

    Attributes:
        x: left edge in pixels, measured from the left edge of the picture.
        y: upper edge in pixels.
        side: length of the sides in pixels.
    """

    x: float
    y: float
    side: float

    def whole(self) -> Square:
        """The nearest square whose edges lie between pixels: what is cut out there goes back fastest."""
        side = max(1, round(self.side))
        middle_x, middle_y = self.x + self.side / 2, self.y + self.side / 2
        return Square(round(middle_x - side / 2), round(middle_y - side / 2), side)


def face_square(box: Box, margin: float, shift: float) -> Square:
    """Region of interest of a face.

    Args:
        box: what the detector found.
        margin: side of the region in units of the longer side of the box.
        shift: downward shift of the centre in the same units.
    """
    unit = max(box.width, box.height)
    side = margin * unit
    return Square(box.x + box.width / 2 - side / 2, box.y + box.height / 2 + shift * unit - side / 2, side)


def whole_square(height: int, width: int) -> Square:
    """The smallest square that holds the whole picture, centred on it."""
    side = max(height, width)
    return Square((width - side) / 2, (height - side) / 2, side)


def central_square(height: int, width: int) -> Square:
    """The largest square inside the picture, centred."""
    side = min(height, width)
    return Square((width - side) / 2, (height - side) / 2, side)


def crop_matrix(square: Square, size: int) -> np.ndarray:
    """(2, 3) float64 matrix from picture pixels to pixels of a crop of `size` x `size`."""
    scale = size / square.side
    return np.array(
        [
            [scale, 0.0, scale * (0.5 - square.x) - 0.5],
            [0.0, scale, scale * (0.5 - square.y) - 0.5],
        ]
    )


def crop(
    picture: np.ndarray,
    matrix: np.ndarray,
    size: int,
    resize: str = "bilinear",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Cut a region out; what lies outside of the picture is black, as in training.

    Args:
        picture: (height, width, 3) uint8.
        matrix: (2, 3) from `crop_matrix`, or any other affine map from picture to crop.
        size: side of the crop.
        resize: "bilinear", or "area": average whole blocks of pixels first where the picture is more than
            twice as fine as the crop, so that nothing is skipped.
        out: (size, size, 3) uint8 to write into; None for a new array.

    Returns:
        (size, size, 3) uint8.

    Raises:
        UnsupportedError: another resize rule.
    """
    if resize not in RESIZE_RULES:
        raise UnsupportedError(f"unknown resize rule '{resize}'", f"rules are {', '.join(RESIZE_RULES)}")
    if resize == "area":
        picture, matrix = _shrunk(picture, matrix, size)
    return cv2.warpAffine(picture, matrix, (size, size), dst=out, flags=cv2.INTER_LINEAR)


def _shrunk(picture: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that the crop shows, averaged over blocks, and the matrix from there."""
    # Rounding must not turn 8 whole pixels into 7.
    (a, b, _), (c, d, _) = matrix.tolist()
    block = int(1 / math.sqrt(abs(a * d - b * c)) + 1e-6)
    if block < 2:
        return picture, matrix
    left, top, right, bottom = _bounds(matrix, size, picture.shape, spare=2 * block)
    # Whole blocks only: cv2.resize would otherwise stretch the last ones.
    wide, high = (right - left) // block, (bottom - top) // block
    if wide < 1 or high < 1:
        return picture, matrix
    part = picture[top : top + high * block, left : left + wide * block]
    small = cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA)
    middle = (block - 1) / 2
    to_picture = np.array([[block, 0.0, left + middle], [0.0, block, top + middle], [0.0, 0.0, 1.0]])
    return small, matrix @ to_picture


def _bounds(
    matrix: np.ndarray, size: int, shape: tuple[int, ...], spare: int = 1
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel bounds of the crop in the picture, clipped to it."""
    ends = (-0.5, -0.5, size - 0.5, size - 0.5)
    return _bounds_of(cv2.invertAffineTransform(matrix).tolist(), ends, shape, spare)


def _bounds_of(
    to_picture: list[list[float]],
    ends: tuple[float, float, float, float],
    shape: tuple[int, ...],
    spare: int = 1,
) -> tuple[int, int, int, int]:
    """The same of a part of the crop: its left, top, right and bottom. (Plain numbers: numpy is slower.)"""
    bounds = []
    for (a, b, c), length in zip(to_picture, (shape[1], shape[0]), strict=True):
        places = [a * x + b * y + c for x in ends[::2] for y in ends[1::2]]
        low, high = math.floor(min(places)) - spare, math.ceil(max(places)) + 1 + spare
        bounds.append((min(max(low, 0), length), min(max(high, 0), length)))
    (left, right), (top, bottom) = bounds
    return left, top, right, bottom


def unwarp_labels(
    probabilities: np.ndarray,
    matrix: np.ndarray,
    shape: tuple[int, ...],
    out: np.ndarray | None = None,
    overview: np.ndarray | None = None,
) -> np.ndarray:
    """Label of every pixel of the picture: the most probable class after bilinear interpolation.

    Interpolating probabilities gives smooth outlines where interpolating labels would give steps.

    Args:
        probabilities: (classes, size, size) float32, of the crop; they add up to one.
        matrix: (2, 3), picture to crop.
        shape: height and width of the picture, and anything after them.
        out: (height, width) uint8 of labels, which stay where this crop shows the background or nothing;
            None for a new array.
        overview: (classes, size / n, size / n) float32, means of blocks of n x n pixels of `probabilities`,
            when they are at hand: the same labels, found faster (but for OpenCV's rounding).

    Returns:
        (height, width) uint8; in a new array label 0, the background, outside of the crop.
    """
    labels = np.zeros(shape[:2], np.uint8) if out is None else out
    # The most probable of n classes has at least 1 / n in one of the pixels that it is interpolated from:
    # outside of their frame a class need not be looked at.
    least = 1 / len(probabilities) - LEAST_SLACK
    to_picture = cv2.invertAffineTransform(matrix).tolist()
    looked_at = probabilities if overview is None else overview
    block = probabilities.shape[1] // looked_at.shape[1]
    frames = {
        label: frame
        for label, plane in enumerate(looked_at)
        if label != BACKGROUND
        and (frame := _frame_above(plane, least, block, to_picture, labels.shape)) is not None
    }
    if not frames:
        return labels
    lefts, tops, rights, bottoms = zip(*frames.values(), strict=True)
    left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
    put_back = _Resized(matrix, probabilities.shape[1])
    best = put_back.part(probabilities[BACKGROUND], (left, top, right, bottom))
    for label, (x0, y0, x1, y1) in frames.items():
        moved = put_back.part(probabilities[label], (x0, y0, x1, y1))
        before = best[y0 - top : y1 - top, x0 - left : x1 - left]
        # OpenCV takes a third of the time of numpy's copyto and maximum.
        here = cv2.compare(moved, before, cv2.CMP_GT)
        cv2.copyTo(np.full(here.shape, label, np.uint8), here, labels[y0:y1, x0:x1])
        cv2.max(before, moved, before)
    return labels


class _Resized:
    """Parts of the picture, read from planes of the crop.

    Args:
        matrix: (2, 3), picture to crop.
        size: side of the crop.
    """

    def __init__(self, matrix: np.ndarray, size: int) -> None:
        self._matrix = matrix
        self._square = _whole_square_of(matrix, size)

    def part(self, plane: np.ndarray, frame: tuple[int, int, int, int]) -> np.ndarray:
        """(bottom - top, right - left) float32 of a frame in the picture; 0 outside of the crop.

        Between pixels of the crop it is interpolated.
        """
        left, top, right, bottom = frame
        if self._square is not None:
            x, y, side = self._square
            inside = left >= x and top >= y and right <= x + side and bottom <= y + side
            # OpenCV resizes in a quarter of the time that it needs for an affine map of as many pixels.
            if inside and (right - left) * (bottom - top) * RESIZE_GAIN > side * side:
                return cv2.resize(plane, (side, side))[top - y : bottom - y, left - x : right - x]
        return _moved(plane, _shifted(self._matrix, left, top), (bottom - top, right - left))


def _whole_square_of(matrix: np.ndarray, size: int) -> tuple[int, int, int] | None:
    """Left, top and side of the square of the picture that an upright crop shows, if these are whole."""
    (a, b, c), (d, e, f) = matrix.tolist()
    if b or d or a != e or a <= 0:
        return None
    exact = 0.5 - (c + 0.5) / a, 0.5 - (f + 0.5) / a, size / a
    x, y, side = (round(value) for value in exact)
    off = max(abs(value - whole) for value, whole in zip(exact, (x, y, side), strict=True))
    return (x, y, side) if off < WHOLE else None


def _frame_above(
    means: np.ndarray, least: float, block: int, to_picture: list[list[float]], shape: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom bounds in the picture of what is interpolated from `least` or more.

    Args:
        means: of `block` x `block` pixels of the crop, none of which is negative: where one of them has
            `least`, the mean has its share of that.
        least: value of a pixel.
        block: side of the blocks in pixels of the crop.
        to_picture: from crop to picture.
        shape: height and width of the picture.
    """
    likely = cv2.compare(means, least / block**2, cv2.CMP_GE)  # type: ignore[call-overload]
    x, y, width, height = (block * value for value in cv2.boundingRect(likely))
    if width == 0:
        return None
    ends = (x - 1.0, y - 1.0, x + float(width), y + float(height))
    left, top, right, bottom = _bounds_of(to_picture, ends, shape)
    return (left, top, right, bottom) if right > left and bottom > top else None


def _shifted(matrix: np.ndarray, left: int, top: int) -> np.ndarray:
    """The same map for a part of the picture that begins at `left`, `top`."""
    moved = matrix.copy()
    moved[:, 2] += matrix[:, 0] * left + matrix[:, 1] * top
    return moved


def _moved(plane: np.ndarray, to_source: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(height, width) float32 of that shape, read from `plane` where the matrix says; 0 outside of it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, to_source, shape[::-1], flags=flags)
