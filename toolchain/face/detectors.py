"""Which detector finds the faces: the bundled cascade, or a model file that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from toolchain.errors import UsageError
from toolchain.face.detector import FaceDetector
from toolchain.face.region import Box

HINT = "give a YuNet .onnx file or a short-range BlazeFace .tflite file, or leave it out"


class Detector(Protocol):
    """Finds faces in single pictures. Not to be shared between threads."""

    name: str

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Faces in a picture, the largest first, as boxes like those of the bundled cascade.

        Args:
            picture: (height, width, 3) RGB uint8.
        """


def open_detector(path: Path | str | None = None, threads: int | None = None) -> Detector:
    """The detector of a model file; without one OpenCV's bundled cascade.

    Args:
        path: a YuNet `.onnx` file or a short-range BlazeFace `.tflite` file.
        threads: of one operator, for BlazeFace; OpenCV's own threads are cv2.setNumThreads.

    Raises:
        UsageError: no such file, or another suffix.
        UnsupportedError: the file is no such network, or damaged.
        MissingDependencyError: what runs it is not installed.
    """
    if path is None:
        return FaceDetector()
    path = Path(path)
    if path.suffix.lower() not in (".onnx", ".tflite"):
        raise UsageError(f"'{path}' is no face detector that is known here", HINT)
    if not path.is_file():
        raise UsageError(f"no face detector at '{path}'", HINT)
    if path.suffix.lower() == ".onnx":
        from toolchain.face.yunet import YuNet

        return YuNet(path)
    from toolchain.face.blazeface import BlazeFace

    return BlazeFace(path, threads)
