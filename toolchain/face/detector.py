"""Faces by OpenCV's bundled cascade of Haar features (Viola and Jones, CVPR 2001)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import MissingDependencyError
from toolchain.face.picture import check_picture
from toolchain.face.region import Box

# Of the bundled frontal cascades this one draws the fewest boxes where no face is, at equal recall: with
# the settings below 2 of 91 COCO pictures without a person, against 17 for "default" and 4 for "alt2";
# all three find 97 or 98 of 100 CelebAMask-HQ validation pictures.
CASCADE = "haarcascade_frontalface_alt.xml"
LONG_SIDE = 320
SMALLEST = 0.12
SCALE_STEP = 1.1
NEIGHBORS = 3
# The second look of a thorough search, for small faces: more pixels, and more agreement asked for.
THOROUGH_LONG_SIDE = 640
THOROUGH_SMALLEST = 0.06
THOROUGH_NEIGHBORS = 5


class FaceDetector:
    """Finds upright frontal faces. Not to be shared between threads.

    Args:
        thorough: look again at a higher resolution when nothing was found; for stills, about 4 times slower.

    Raises:
        MissingDependencyError: this OpenCV has no cascades.
    """

    name = "OpenCV's cascade"

    def __init__(self, thorough: bool = False) -> None:
        self.thorough = thorough
        path = cascade_path()
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise MissingDependencyError(
                f"OpenCV cannot load its face cascade '{path}'", 'pip install "opencv-python<5"'
            )

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Faces in a picture, the largest first; empty when there is none.

        Args:
            picture: (height, width, 3) RGB uint8.

        Raises:
            UsageError: `picture` is no such array.
        """
        check_picture(picture)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes = self._search(grey, LONG_SIDE, SMALLEST, NEIGHBORS)
        if not boxes and self.thorough:
            boxes = self._search(grey, THOROUGH_LONG_SIDE, THOROUGH_SMALLEST, THOROUGH_NEIGHBORS)
        return sorted(boxes, key=lambda box: (-box.width * box.height, box.x, box.y))

    def _search(self, grey: np.ndarray, long_side: int, smallest: float, neighbors: int) -> list[Box]:
        scale = min(1.0, long_side / max(grey.shape))
        if scale < 1.0:
            width, height = (max(1, round(size * scale)) for size in grey.shape[::-1])
            small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        else:
            small = grey
        side = max(self._cascade.getOriginalWindowSize()[0], int(min(small.shape) * smallest))
        if min(small.shape) < side:
            return []
        found = self._cascade.detectMultiScale(
            cv2.equalizeHist(small), SCALE_STEP, neighbors, minSize=(side, side)
        )
        across, down = grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]
        return [
            Box(float(x * across), float(y * down), float(w * across), float(h * down))
            for x, y, w, h in found
        ]


def cascade_path() -> Path:
    """Where OpenCV keeps the cascade.

    Raises:
        MissingDependencyError: this OpenCV has none (version 5 dropped them).
    """
    folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
    path = Path(folder or "") / CASCADE
    if folder is None or not hasattr(cv2, "CascadeClassifier") or not path.is_file():
        raise MissingDependencyError(
            f"OpenCV {cv2.__version__} has no face cascade '{CASCADE}'", 'pip install "opencv-python<5"'
        )
    return path


@cache
def detector(thorough: bool = False) -> FaceDetector:
    """The detector of this process; reading the cascade takes some 10 ms."""
    return FaceDetector(thorough)
