"""LaPa as it lies on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets import check_pairs, open_pairs
from toolchain.training.datasets.lapa import LaPa


@pytest.fixture
def lapa(tmp_path: Path, photo, write, renamed):
    def build(viewer: bool = False) -> Path:
        for split, numbers in {"train": range(4), "val": range(4, 6), "test": range(6, 7)}.items():
            for number in numbers:
                picture, label = photo(number)
                # Hair, index 10, in a corner.
                label = renamed(label) if viewer else label.copy()
                label[:3, :3] = 10
                write(tmp_path / split / "images" / f"f{number}.jpg", picture)
                write(tmp_path / split / "labels" / f"f{number}.png", label)
                (tmp_path / split / "landmarks").mkdir(exist_ok=True)
                (tmp_path / split / "landmarks" / f"f{number}.txt").write_text("106\n")
        return tmp_path

    return build


@pytest.mark.parametrize("viewer", [False, True])
def test_classes_sides_and_splits(lapa, photo, viewer: bool) -> None:
    path = lapa(viewer)
    for split, numbers in {"train": range(4), "val": range(4, 6), "test": range(6, 7)}.items():
        data = LaPa(path, split, 64)
        assert data.names == [f"f{number}" for number in numbers]
        assert data.random == (split == "train")
        for index, number in enumerate(numbers):
            np.testing.assert_array_equal(data.read(index)[1], photo(number)[1])
    assert "non-commercial" in data.terms


def test_items_are_crops_of_the_size_asked_for(lapa) -> None:
    image, label = open_pairs(f"lapa:{lapa()}", "train", 48)[0]
    assert image.shape == (3, 48, 48)
    assert {1, 2, 3, 6} <= set(label.unique().tolist())


def test_bad_pairs(lapa, write) -> None:
    path = lapa()
    (path / "train/labels/f0.png").unlink()
    (path / "train/images/f1.jpg").unlink()
    write(path / "train/labels/f2.png", np.full((120, 160), 11, np.uint8))
    whole = path / "train/images/f3.jpg"
    data = LaPa(path, "train", 64)
    assert [(entry.name, entry.reason) for entry in data.skipped] == [
        ("f0", "no label map"),
        ("f1", "no picture"),
    ]
    whole.write_bytes(whole.read_bytes()[:-200])
    damaged = check_pairs(data)
    assert [entry.name for entry in damaged] == ["f2", "f3"]
    assert "unknown index 11" in damaged[0].reason


def test_pictures_without_a_face_are_named(lapa, write) -> None:
    path = lapa()
    write(path / "val/labels/f4.png", np.ones((120, 160), np.uint8))
    with pytest.raises(UnsupportedError, match="'f4' has no facial part"):
        LaPa(path, "val", 64)[0]


def test_a_mixture_of_conventions_is_refused(lapa, photo, write, renamed) -> None:
    path = lapa()
    for number in (0, 2):
        write(path / f"train/labels/f{number}.png", renamed(photo(number)[1]))
    with pytest.raises(UnsupportedError, match=r"left is the subject's in .*, the viewer's in others"):
        LaPa(path, "train", 64)


def test_a_wrong_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder val/images"):
        LaPa(tmp_path, "val", 64)
