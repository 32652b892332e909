"""The loader against drawn faces whose labels are known, and against damaged data."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.celebamask import CLASS_OF_INDEX, CelebAMask
from toolchain.training.datasets.pairs import IGNORE


def test_pairs_have_the_classes_of_the_contract(faces: Path) -> None:
    data = CelebAMask(faces, "train", 64)
    image, label = data[0]
    assert len(data) == 8
    assert image.shape == (3, 64, 64)
    assert image.dtype == label.dtype == torch.uint8
    # Left brow 6 -> 2, right brow 7 -> 3, eyes keep 4 and 5, nose 2 -> 6, lips 11 and 12 -> 7 and 9.
    assert set(label.unique().tolist()) == {0, 1, 2, 3, 4, 5, 6, 7, 9}
    left, right = (label == 4).nonzero()[:, 1].float().mean(), (label == 5).nonzero()[:, 1].float().mean()
    assert left > right


def test_mapping_is_the_one_that_the_data_states() -> None:
    names = {0: 0, 1: 1, 2: 6, 3: IGNORE, 4: 4, 5: 5, 6: 2, 7: 3, 10: 8, 11: 7, 12: 9}
    assert {index: CLASS_OF_INDEX[index] for index in names} == names
    assert all(CLASS_OF_INDEX[index] == 0 for index in (8, 9, 13, 14, 15, 16, 17, 18))


def test_colours_are_rgb(faces: Path) -> None:
    image, label = CelebAMask(faces, "val", 64).pair(0)
    skin = image[label == 1].reshape(-1, 3).mean(0)
    assert skin[0] > skin[1] > skin[2]


def test_resizing_keeps_labels_exact(faces: Path) -> None:
    _, label = CelebAMask(faces, "val", 32)[1]
    assert label.shape == (32, 32)
    assert set(label.unique().tolist()) <= {0, 1, 2, 3, 4, 5, 6, 7, 9}


def test_workers_get_a_copy_without_the_open_file(faces: Path) -> None:
    data = CelebAMask(faces, "val", 64)
    first = data[0]
    again = pickle.loads(pickle.dumps(data))[0]
    assert torch.equal(first[0], again[0])


def test_real_pairs(data_folder: Path | None) -> None:
    if data_folder is None:
        return
    data = CelebAMask(data_folder / "celebamask_hq_256.zip", "val", 256)
    assert len(data) == 400
    image, label = data[0]
    assert image.shape == (3, 256, 256)
    assert {1, 4, 5, 6} <= set(label.unique().tolist())


def test_missing_file_and_split(tmp_path: Path, faces: Path) -> None:
    with pytest.raises(UsageError, match="no data"):
        CelebAMask(tmp_path / "none.zip", "train", 64)
    with pytest.raises(UsageError, match="no pairs"):
        CelebAMask(faces, "test", 64)


def test_a_file_that_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"nothing")
    with pytest.raises(UnsupportedError, match="not a zip"):
        CelebAMask(tmp_path / "bad.zip", "train", 64)


@pytest.mark.parametrize(
    ("picture", "label", "message"),
    [
        (b"no jpeg", None, "not a picture"),
        (None, np.full((64, 64), 40, np.uint8), "unknown index 40"),
    ],
)
def test_damaged_pairs_are_named(tmp_path: Path, picture: bytes | None, label, message: str) -> None:
    path = tmp_path / "d.zip"
    good = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    indices = label if label is not None else np.zeros((64, 64), np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/images/pair7.jpg", picture or good)
        archive.writestr("train/labels/pair7.png", cv2.imencode(".png", indices)[1].tobytes())
    with pytest.raises(UnsupportedError, match=message) as caught:
        CelebAMask(path, "train", 64)[0]
    assert "pair7" in caught.value.message
