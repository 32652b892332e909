"""Square crops around faces, after the published rule.

The rule: a margin of 30 to 70 % around the box of the facial parts, that is brows, eyes, nose and mouth. It
does not say of what; here it is on every side, as share of the longer side of the box, so that the crop's
side is 1.6 to 2.4 times the box's. The pictures of CelebAMask-HQ, cropped by their authors, have 2.27 times
(median of the 400 validation pairs; 5th to 95th percentile 2.06 to 2.59), at the upper end of that range;
were the margin the sum of both sides, they would lie far outside of it.
"""

from __future__ import annotations

from abc import abstractmethod

import cv2
import numpy as np
import torch

from toolchain.errors import UnsupportedError
from toolchain.face.region import Box, Square, crop, crop_matrix, face_square, whole_square
from toolchain.training.datasets.pairs import FacePairs

MARGINS = (0.3, 0.7)
MIDDLE = sum(MARGINS) / 2

# Left brow to lower lip.
_FIRST_PART, _LAST_PART = 2, 9


def parts_box(label: np.ndarray) -> Box | None:
    """The box around brows, eyes, nose and mouth in pixels; None when there are none.

    Args:
        label: (height, width) uint8.
    """
    parts = (label >= _FIRST_PART) & (label <= _LAST_PART)
    x, y, width, height = cv2.boundingRect(parts.astype(np.uint8))
    return Box(x, y, width, height) if width else None


def parts_square(label: np.ndarray, margin: float, where: str) -> Square:
    """The square crop with that margin on every side of the box of the facial parts.

    Raises:
        UnsupportedError: there are no facial parts.
    """
    box = parts_box(label)
    if box is None:
        raise UnsupportedError(f"label map {where} has no facial part to crop around")
    return face_square(box, 1 + 2 * margin, 0.0)


def cut(picture: np.ndarray, label: np.ndarray, square: Square, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and label map inside a square, `size` x `size`; outside of the picture black and background."""
    matrix = crop_matrix(square, size)
    return (
        crop(picture, matrix, size, "area"),
        cv2.warpAffine(label, matrix, (size, size), flags=cv2.INTER_NEAREST, borderValue=0),
    )


def same_shape(picture: np.ndarray, label: np.ndarray, where: str) -> np.ndarray:
    """The label map, enlarged or shrunk to the picture's size.

    Raises:
        UnsupportedError: they differ in proportion, so that they do not belong together.
    """
    (height, width), (rows, columns) = picture.shape[:2], label.shape
    if abs(height * columns - width * rows) > 0.01 * height * columns:
        raise UnsupportedError(
            f"picture {width} x {height} and label map {columns} x {rows} of {where} differ"
        )
    if (height, width) == (rows, columns):
        return label
    return cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)


class CroppedPairs(FacePairs):
    """Pairs of whole pictures, of which faces are cut out.

    The margin is random in training, drawn from torch's generator, else the middle one.

    Attributes:
        crops: cut the face out; else the whole picture, with black bars where it is not square.
        random: draw the margin anew every time.
    """

    crops: bool = True
    random: bool = False

    @abstractmethod
    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole picture (height, width, 3) RGB uint8 and its label map (rows, columns) uint8."""

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8."""
        where = f"'{self.names[index]}'"
        picture, label = self.read(index)
        label = same_shape(picture, label, where)
        if not self.crops:
            return cut(picture, label, whole_square(*label.shape), self.size)
        return cut(picture, label, parts_square(label, self._margin(), where), self.size)

    def _margin(self) -> float:
        if not self.random:
            return MIDDLE
        return MARGINS[0] + (MARGINS[1] - MARGINS[0]) * float(torch.rand(()))
