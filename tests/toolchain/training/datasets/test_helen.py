"""Helen as it lies on disk: probability maps, the three lists, and both conventions of left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets import check_pairs, open_pairs
from toolchain.training.datasets.helen import Helen


@pytest.fixture
def helen(tmp_path: Path, photo, write, renamed):
    """Writes pairs: five for training, two for tuning, three for testing."""

    def build(viewer: bool = False) -> Path:
        lists = {"exemplars.txt": range(5), "tuning.txt": range(5, 7), "testing.txt": range(7, 10)}
        for name, numbers in lists.items():
            text = "".join(f"{count} , face{number}_1\n" for count, number in enumerate(numbers, 1))
            (tmp_path / name).write_text(text + "\n")
        for number in range(10):
            picture, label = photo(number)
            label = renamed(label) if viewer else label
            name = f"face{number}_1"
            write(tmp_path / "images" / f"{name}.jpg", picture)
            for index in range(11):
                # Not certain: 140 against at most 90 elsewhere.
                soft = np.where(label == index, 140, (7 * index) % 91).astype(np.uint8)
                write(tmp_path / "labels" / name / f"{name}_lbl{index:02d}.png", soft)
        return tmp_path

    return build


def test_the_published_lists_are_the_splits(helen) -> None:
    path = helen()
    names = {split: open_pairs(f"helen:{path}", split, 64).names for split in ("train", "val", "test")}
    assert names["train"] == [f"face{number}_1" for number in range(5)]
    assert names["val"] == ["face5_1", "face6_1"]
    assert names["test"] == ["face7_1", "face8_1", "face9_1"]


@pytest.mark.parametrize("viewer", [False, True])
def test_the_most_probable_label_wins_and_left_is_the_subjects(helen, photo, viewer: bool) -> None:
    data = Helen(helen(viewer), "val", 96)
    for index in range(2):
        picture, label = data.read(index)
        wanted, expected = photo(5 + index)
        np.testing.assert_array_equal(label, expected)
        assert np.abs(picture.astype(int) - wanted).mean() < 12
        cropped = data.pair(index)[1]
        assert cropped.shape == (96, 96)
        assert np.nonzero(cropped == 2)[1].mean() > np.nonzero(cropped == 3)[1].mean()


def test_hair_is_background(tmp_path: Path, helen, photo, write) -> None:
    path = helen()
    _, label = photo(5)
    folder = path / "labels" / "face5_1"
    write(folder / "face5_1_lbl10.png", np.where(label == 1, 255, 0).astype(np.uint8))
    found = Helen(path, "val", 64).read(0)[1]
    np.testing.assert_array_equal(found, np.where(label == 1, 0, label))


def test_incomplete_pairs_are_skipped_by_name(helen) -> None:
    path = helen()
    (path / "images" / "face0_1.jpg").unlink()
    (path / "labels" / "face1_1" / "face1_1_lbl07.png").unlink()
    data = Helen(path, "train", 64)
    assert data.names == ["face2_1", "face3_1", "face4_1"]
    assert [(entry.name, entry.reason) for entry in data.skipped] == [
        ("face0_1", "no picture"),
        ("face1_1", "no face1_1_lbl07.png"),
    ]


def test_damaged_maps_are_found_by_the_check_and_can_be_left_out(helen, write) -> None:
    path = helen()
    data = Helen(path, "train", 64)
    (path / "labels" / "face3_1" / "face3_1_lbl04.png").write_bytes(b"nothing")
    write(path / "labels" / "face4_1" / "face4_1_lbl09.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(UnsupportedError, match="face3_1_lbl04"):
        data[3]
    damaged = check_pairs(data)
    assert [entry.name for entry in damaged] == ["face3_1", "face4_1"]
    assert "another size" in damaged[1].reason
    rest = data.without(damaged)
    assert rest.names == ["face0_1", "face1_1", "face2_1"]
    assert rest.skipped == tuple(damaged)
    assert len(data) == 5
    assert check_pairs(rest) == []


def test_wrong_folders_and_lists(tmp_path: Path, helen) -> None:
    with pytest.raises(UsageError, match=r"no list .*exemplars\.txt"):
        Helen(tmp_path / "none", "train", 64)
    path = helen()
    for line in ("face1_1", "x , face1_1", "1 , ../face1_1", "1 , "):
        (path / "tuning.txt").write_text(line)
        with pytest.raises(UnsupportedError, match=r"line 1 of .*tuning\.txt"):
            Helen(path, "val", 64)
    (path / "tuning.txt").write_text("1 , other")
    with pytest.raises(UsageError, match="'other' has no picture"):
        Helen(path, "val", 64)


def test_left_and_right_must_be_told_apart(helen, write) -> None:
    path = helen()
    for number in (5, 6):
        for index in (2, 3, 4, 5):
            name = f"face{number}_1"
            write(path / "labels" / name / f"{name}_lbl{index:02d}.png", np.zeros((120, 160), np.uint8))
    with pytest.raises(UnsupportedError, match="do not tell whether left"):
        Helen(path, "val", 64)
