"""Whole photographs with a drawn face somewhere in them, as the datasets on disk have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.training.datasets.drawn import DrawnFaces

HEIGHT, WIDTH, FACE = 120, 160, 96


def photograph(number: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB picture (120, 160, 3) and label map (120, 160), all ten classes but those under glasses."""
    picture, label = DrawnFaces(100, "train", FACE, seed=7).pair(number)
    top, left = 6 + number % 12, 20 + 3 * number % 30
    whole = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    whole[top : top + FACE, left : left + FACE] = picture
    labels[top : top + FACE, left : left + FACE] = np.where(label == 255, 1, label)
    return whole, labels


def mirror_names(label: np.ndarray) -> np.ndarray:
    """The same with left and right exchanged in name."""
    table = np.arange(256, dtype=np.uint8)
    table[[2, 3, 4, 5]] = 3, 2, 5, 4
    return table[label]


def write_picture(path: Path, picture: np.ndarray) -> None:
    """An RGB picture or index map as a file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = picture[:, :, ::-1] if picture.ndim == 3 else picture
    path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes())


@pytest.fixture(scope="session")
def photo() -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """`photograph`."""
    return photograph


@pytest.fixture(scope="session")
def write() -> Callable[[Path, np.ndarray], None]:
    """`write_picture`."""
    return write_picture


@pytest.fixture(scope="session")
def renamed() -> Callable[[np.ndarray], np.ndarray]:
    """`mirror_names`."""
    return mirror_names
