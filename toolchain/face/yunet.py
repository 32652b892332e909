"""Faces by YuNet (Wu, Peng, Yu: A Tiny Millisecond-level Face Detector, 2023), run by OpenCV.

The file is OpenCV Zoo's face_detection_yunet: BGR in, scores, boxes and five points at strides 8, 16 and 32
out, which cv2.FaceDetectorYN decodes.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import MissingDependencyError, UnsupportedError
from toolchain.face.landmarks import box_of_landmarks
from toolchain.face.picture import check_picture
from toolchain.face.region import Box
from toolchain.runtimes.native_output import captured_stderr

LONG_SIDE = 320
# OpenCV's own defaults are 0.9 and 0.3; its demonstration of live video lowers the first.
SCORE, OVERLAP = 0.7, 0.3
MOST = 100
# Columns of a face: box, then right eye, left eye, nose tip, right and left corner of the mouth, score.
RIGHT_EYE, LEFT_EYE, MOUTH_RIGHT, MOUTH_LEFT = slice(4, 6), slice(6, 8), slice(10, 12), slice(12, 14)
COLUMNS = 15


class YuNet:
    """A YuNet file. Not to be shared between threads.

    Its boxes are drawn by other rules than the cascade's, so that the boxes here come from its points.

    Args:
        path: the `.onnx` file.

    Raises:
        MissingDependencyError: this OpenCV has no FaceDetectorYN.
        UnsupportedError: the file is no YuNet.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"YuNet {path.name}"
        self._path = path
        if not hasattr(cv2, "FaceDetectorYN"):
            raise MissingDependencyError(
                f"OpenCV {cv2.__version__} has no FaceDetectorYN", 'pip install "opencv-python>=4.10,<5"'
            )
        self._size = (LONG_SIDE, LONG_SIDE)
        with captured_stderr():
            try:
                self._network = cv2.FaceDetectorYN.create(str(path), "", self._size, SCORE, OVERLAP, MOST)
                self._network.detect(np.zeros((LONG_SIDE, LONG_SIDE, 3), np.uint8))
            except cv2.error as error:
                raise self._no_yunet(error) from error

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Faces in a picture, the largest first; empty when there is none.

        Args:
            picture: (height, width, 3) RGB uint8.

        Raises:
            UsageError: `picture` is no such array.
            UnsupportedError: the network failed.
        """
        check_picture(picture)
        # One square size, whatever the picture's: files with a fixed input size run as well.
        scale = LONG_SIDE / max(picture.shape[:2])
        width, height = (max(1, round(side * scale)) for side in picture.shape[1::-1])
        rule = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(picture, (width, height), interpolation=rule)
        right, bottom = LONG_SIDE - width, LONG_SIDE - height
        padded = cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        try:
            _, found = self._network.detect(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise self._no_yunet(error) from error
        boxes = [] if found is None else [_box(row, scale) for row in found]
        return sorted(boxes, key=lambda box: (-box.width * box.height, box.x, box.y))

    def _no_yunet(self, error: cv2.error) -> UnsupportedError:
        return UnsupportedError(
            f"'{self._path}' is no YuNet that OpenCV can run: {error.err or error}".replace("\n", " "),
            "give face_detection_yunet_2023mar.onnx of the OpenCV Zoo, or leave --detector out",
        )


def _box(row: np.ndarray, scale: float) -> Box:
    points = row[:COLUMNS] / scale
    right, left = points[RIGHT_EYE].tolist(), points[LEFT_EYE].tolist()
    mouth = ((points[MOUTH_RIGHT] + points[MOUTH_LEFT]) / 2).tolist()
    return box_of_landmarks(right, left, mouth)
