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


def crop(picture: np.ndarray, matrix: np.ndarray, size: int, resize: str = "bilinear") -> np.ndarray:
    """Cut a region out; what lies outside of the picture is black, as in training.

    Args:
        picture: (height, width, 3) uint8.
        matrix: (2, 3) from `crop_matrix`, or any other affine map from picture to crop.
        size: side of the crop.
        resize: "bilinear", or "area": average whole blocks of pixels first where the picture is more than
            twice as fine as the crop, so that nothing is skipped.

    Returns:
        (size, size, 3) uint8.

    Raises:
        UnsupportedError: another resize rule.
    """
    if resize not in RESIZE_RULES:
        raise UnsupportedError(f"unknown resize rule '{resize}'", f"rules are {', '.join(RESIZE_RULES)}")
    if resize == "area":
        picture, matrix = _shrunk(picture, matrix, size)
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _shrunk(picture: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that the crop shows, averaged over blocks, and the matrix from there."""
    # Rounding must not turn 8 whole pixels into 7.
    block = int(1 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2])))) + 1e-6)
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
    inverse = cv2.invertAffineTransform(matrix)
    ends = np.array([[x, y, 1.0] for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)])
    corners = ends @ inverse.T
    low = np.floor(corners.min(axis=0)).astype(int) - spare
    high = np.ceil(corners.max(axis=0)).astype(int) + 1 + spare
    left, top = np.clip(low, 0, (shape[1], shape[0]))
    right, bottom = np.clip(high, 0, (shape[1], shape[0]))
    return int(left), int(top), int(right), int(bottom)


def unwarp_labels(probabilities: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Label of every pixel of the picture: the most probable class after bilinear interpolation.

    Interpolating probabilities gives smooth outlines where interpolating labels would give steps.

    Args:
        probabilities: (classes, size, size) float32, of the crop.
        matrix: (2, 3), picture to crop.
        shape: height and width of the picture, and anything after them.

    Returns:
        (height, width) uint8; outside of the crop label 0, the background.
    """
    size = probabilities.shape[1]
    labels = np.zeros(shape[:2], np.uint8)
    left, top, right, bottom = _bounds(matrix, size, shape)
    if right <= left or bottom <= top:
        return labels
    local = matrix @ np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
    best = np.zeros((bottom - top, right - left), np.float32)
    part = labels[top:bottom, left:right]
    for label, plane in enumerate(probabilities):
        moved = _moved(plane, local, best.shape)
        np.copyto(part, label, where=moved > best)
        np.maximum(best, moved, out=best)
    return labels


def move_probabilities(probabilities: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Class probabilities of one crop as seen in another crop of the same size.

    Args:
        probabilities: (classes, size, size) float32.
        old: (2, 3), picture to the crop that they belong to.
        new: (2, 3), picture to the crop that they are wanted in.

    Returns:
        (classes, size, size) float32; zero for all classes where the old crop shows nothing.
    """
    if np.allclose(old, new, atol=1e-6):
        return probabilities
    size = probabilities.shape[1]
    to_old = old @ np.vstack([cv2.invertAffineTransform(new), [0.0, 0.0, 1.0]])
    return np.stack([_moved(plane, to_old, (size, size)) for plane in probabilities])


def _moved(plane: np.ndarray, to_source: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(height, width) float32 of that shape, read from `plane` where the matrix says; 0 outside of it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, to_source, shape[::-1], flags=flags)
