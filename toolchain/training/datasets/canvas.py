"""A canvas that paints a picture and its label map with the same strokes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# Coordinates go to OpenCV in sixteenths of a pixel.
_SHIFT = 4

Color = Sequence[float] | np.ndarray


class Canvas:
    """Picture and label map of the same size, painted with shapes in the coordinates of a face.

    Attributes:
        picture: (side, side, 3) RGB uint8.
        label: (side, side) uint8.

    Args:
        picture: what is there at first; it is painted on.
        matrix: (2, 3) from face coordinates to pixels.
    """

    def __init__(self, picture: np.ndarray, matrix: np.ndarray) -> None:
        self.picture = picture
        self.label = np.zeros(picture.shape[:2], np.uint8)
        self.unit = float(np.hypot(*matrix[:, 0]))
        self._turn = matrix[:, :2].T * (1 << _SHIFT)
        self._start = matrix[:, 2] * (1 << _SHIFT)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(n, 1, 2) int32 in sixteenths of a pixel, of (n, 2) points of the face."""
        moved = points @ self._turn + self._start
        return np.rint(moved).astype(np.int32)[:, None]

    def fill(self, points: np.ndarray, color: Color, label: int | None = None) -> None:
        """Fill a polygon; the label map stays where `label` is None."""
        place = [self.pixels(points)]
        cv2.fillPoly(self.picture, place, _rgb(color), cv2.LINE_8, _SHIFT)
        if label is not None:
            cv2.fillPoly(self.label, place, label, cv2.LINE_8, _SHIFT)

    def mark(self, points: np.ndarray, label: int) -> None:
        """Fill a polygon of the label map only."""
        cv2.fillPoly(self.label, [self.pixels(points)], label, cv2.LINE_8, _SHIFT)

    def line(
        self, points: np.ndarray, color: Color, width: float, label: int | None = None, closed: bool = False
    ) -> None:
        """Draw a line of `width` face units."""
        place = [self.pixels(points)]
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.picture, place, closed, _rgb(color), thickness, cv2.LINE_8, _SHIFT)
        if label is not None:
            cv2.polylines(self.label, place, closed, label, thickness, cv2.LINE_8, _SHIFT)

    def strands(self, points: np.ndarray, color: Color, width: float) -> None:
        """Draw lines into the picture only, given as (n, 2, 2): n times start and end."""
        place = self.pixels(points.reshape(-1, 2)).reshape(-1, 2, 1, 2)
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.picture, list(place), False, _rgb(color), thickness, cv2.LINE_8, _SHIFT)

    def tint(self, points: np.ndarray, color: Color, share: float, only: int | None = None) -> None:
        """Mix a colour into a polygon, where the label is `only`; its outline is soft."""
        place = self.pixels(points)
        soft = max(3, round(0.08 * self.unit)) | 1
        left, top, width, height = cv2.boundingRect(place >> _SHIFT)
        right, bottom = min(left + width + soft, len(self.label)), min(top + height + soft, len(self.label))
        left, top = max(left - soft, 0), max(top - soft, 0)
        if right <= left or bottom <= top:
            return
        mask = np.zeros((bottom - top, right - left), np.float32)
        place -= np.array((left << _SHIFT, top << _SHIFT), np.int32)
        cv2.fillPoly(mask, [place], share, cv2.LINE_8, _SHIFT)
        weight = cv2.blur(mask, (soft, soft), borderType=cv2.BORDER_REPLICATE)
        part = slice(top, bottom), slice(left, right)
        if only is not None:
            weight *= self.label[part] == only
        below = np.ascontiguousarray(self.picture[part])
        above = np.empty_like(below)
        above[:] = np.asarray(_rgb(color), np.uint8)
        self.picture[part] = cv2.blendLinear(above, below, weight, 1 - weight)


def _rgb(color: Color) -> list[float]:
    return [min(255.0, max(0.0, float(value))) for value in color]
