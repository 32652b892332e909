"""Drawn faces in the layout of the CelebAMask-HQ subset."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

SIDE = 64


def draw_face(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB picture (SIDE, SIDE, 3) and CelebAMask-HQ index map (SIDE, SIDE) of a simple face."""
    random = np.random.default_rng(seed)
    picture = np.full((SIDE, SIDE, 3), random.integers(0, 120, 3), np.uint8)
    index = np.zeros((SIDE, SIDE), np.uint8)
    x, y = (int(v) for v in random.integers(-4, 5, 2) + SIDE // 2)

    def paint(code: int, color: tuple[int, int, int], center: tuple[int, int], axes: tuple[int, int]) -> None:
        cv2.ellipse(picture, center, axes, 0, 0, 360, color, -1)
        cv2.ellipse(index, center, axes, 0, 0, 360, code, -1)

    paint(1, (220, 170, 140), (x, y), (20, 26))
    # The subject's left is the viewer's right.
    paint(4, (40, 60, 120), (x + 8, y - 6), (4, 2))
    paint(5, (40, 120, 60), (x - 8, y - 6), (4, 2))
    paint(6, (90, 50, 20), (x + 8, y - 11), (5, 1))
    paint(7, (60, 50, 20), (x - 8, y - 11), (5, 1))
    paint(2, (240, 140, 110), (x, y + 2), (3, 6))
    paint(11, (200, 40, 60), (x, y + 13), (7, 2))
    paint(12, (160, 20, 60), (x, y + 17), (7, 2))
    return picture, index


def write_zip(path: Path, train: int, val: int) -> Path:
    """A zip of drawn faces."""
    with zipfile.ZipFile(path, "w") as archive:
        for split, count, start in (("train", train, 0), ("val", val, 1000)):
            for number in range(count):
                picture, index = draw_face(start + number)
                name = f"{split[0]}{number:05d}"
                archive.writestr(
                    f"{split}/images/{name}.jpg", cv2.imencode(".jpg", picture[:, :, ::-1])[1].tobytes()
                )
                archive.writestr(f"{split}/labels/{name}.png", cv2.imencode(".png", index)[1].tobytes())
    return path


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four validation pairs."""
    return write_zip(tmp_path_factory.mktemp("faces") / "faces.zip", 8, 4)
