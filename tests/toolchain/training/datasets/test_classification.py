"""Labelled pictures in memory: what is in which split, and what is refused."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.classification import ClassificationData, Split, carve, open_classification

SIDE = 8
COLORS = {"blue": (200, 20, 20), "red": (20, 20, 200)}
TRAIN, TEST = 20, 3


def png(color: tuple[int, int, int], height: int = SIDE, width: int = SIDE) -> bytes:
    return cv2.imencode(".png", np.full((height, width, 3), color, np.uint8))[1].tobytes()


def members(splits: dict[str, int]) -> dict[str, bytes]:
    return {
        f"{split}/{label}/{number:03d}.png": png(color)
        for split, count in splits.items()
        for label, color in COLORS.items()
        for number in range(count)
    }


def written(path: Path, files: dict[str, bytes]) -> str:
    """As a zip file, or as a folder where the path has no suffix."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return f"images:{path}"


@pytest.mark.parametrize("name", ["pictures.zip", "pictures"])
def test_pictures_of_folders_and_zip_files(name: str, tmp_path: Path) -> None:
    data = open_classification(written(tmp_path / name, members({"train": TRAIN, "test": TEST})))
    assert data.labels == ("blue", "red")
    assert data.shape == (3, SIDE, SIDE)
    # A fifth of a small data set.
    assert [len(split) for split in (data.train, data.validation, data.test)] == [32, 8, 6]
    for split in (data.train, data.validation, data.test):
        assert split.images.dtype == torch.uint8
        for label, (blue, green, red) in COLORS.items():
            pixels = split.images[split.targets == data.labels.index(label)]
            assert (pixels == torch.tensor([red, green, blue], dtype=torch.uint8).view(1, 3, 1, 1)).all()
        assert split.targets.bincount().tolist() == [len(split) // 2] * 2


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        pytest.param({"train": 20, "validation": 3}, [32, 8, 6], id="validation is the test"),
        pytest.param({"train": 20, "val": 2, "test": 3}, [40, 4, 6], id="all three"),
    ],
)
def test_which_split_is_which(splits: dict[str, int], sizes: list[int], tmp_path: Path) -> None:
    data = open_classification(written(tmp_path / "a.zip", members(splits)))
    assert [len(split) for split in (data.train, data.validation, data.test)] == sizes


def test_pictures_are_brought_to_a_size(tmp_path: Path) -> None:
    files = members({"train": 4, "test": 1}) | {"train/red/wide.png": png((9, 9, 9), 6, 20)}
    place = written(tmp_path / "a.zip", files)
    assert open_classification(place, size=16).shape == (3, 16, 16)
    with pytest.raises(UsageError, match=r"wide\.png' in .* has 20 x 6 pixels, others 8 x 8"):
        open_classification(place)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=1, max_size=4),
    share=st.one_of(st.none(), st.floats(0.01, 0.9)),
    seed=st.integers(0, 99),
)
def test_validation_takes_the_same_share_of_each_class(
    counts: list[int], share: float | None, seed: int
) -> None:
    targets = torch.tensor([number for number, count in enumerate(counts) for _ in range(count)])
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))]
    # Every picture is its own number.
    whole = Split(torch.arange(len(targets)).view(-1, 1, 1, 1), targets)
    train, validation = carve(whole, share)
    own = torch.cat([train.images, validation.images]).flatten()
    assert sorted(own.tolist()) == list(range(len(targets)))
    for number, count in enumerate(counts):
        wanted = min(count - 1, max(1, round((0.2 if share is None else share) * count)))
        assert int((validation.targets == number).sum()) == wanted
    again = carve(whole, share)
    assert torch.equal(again[1].images, validation.images)


def test_classes_in_another_order_and_fewer() -> None:
    split = Split(torch.arange(6).view(-1, 1, 1, 1).to(torch.uint8), torch.tensor([0, 1, 2, 0, 1, 2]))
    data = ClassificationData(("a", "b", "c"), split, split, split)
    chosen = data.ordered(["c", "a"])
    assert chosen.labels == ("c", "a")
    assert chosen.train.images.flatten().tolist() == [0, 2, 3, 5]
    assert chosen.train.targets.tolist() == [1, 0, 1, 0]
    with pytest.raises(UsageError, match="no class 'd'"):
        data.ordered(["a", "d"])
    with pytest.raises(UsageError, match="each once"):
        data.ordered(["a", "a"])


def test_a_damaged_training_picture_is_left_out_and_named(tmp_path: Path) -> None:
    files = members({"train": 5, "test": 1}) | {"train/red/004.png": png((1, 2, 3))[:60]}
    data = open_classification(written(tmp_path / "a.zip", files))
    assert [entry.name for entry in data.skipped] == ["train/red/004.png"]
    assert "004.png' in" in data.skipped[0].reason
    assert len(data.train) + len(data.validation) == 9


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (["test/red/000.png"], "1 of 2 pictures of 'test' are damaged: .*test/red/000"),
        (["train/red/000.png", "train/blue/001.png"], "2 of 10 pictures of 'train' are damaged"),
    ],
)
def test_too_much_damage_is_refused(damaged: list[str], message: str, tmp_path: Path) -> None:
    files = members({"train": 5, "test": 1}) | dict.fromkeys(damaged, b"\x89PNG\r\n\x1a\n no picture")
    with pytest.raises(UnsupportedError, match=message):
        open_classification(written(tmp_path / "a.zip", files))


def test_a_zip_member_with_a_wrong_checksum_is_damaged(tmp_path: Path) -> None:
    place = written(tmp_path / "a.zip", members({"train": 5, "test": 1}))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        at = archive.getinfo("train/blue/000.png").header_offset + 60
    content[at] ^= 255
    (tmp_path / "a.zip").write_bytes(content)
    assert [entry.name for entry in open_classification(place).skipped] == ["train/blue/000.png"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("celebamask:x", UsageError, "classes of pixels, not of pictures"),
        ("cifar", UsageError, "neither mnist:FOLDER nor images:PATH"),
        ("images:", UsageError, "neither mnist:FOLDER nor images:PATH"),
        ("images:nowhere.zip", UsageError, "no data at"),
        ("mnist:nowhere", UsageError, "no file"),
    ],
)
def test_what_is_not_there(data: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_classification(data)


@pytest.mark.parametrize(
    ("splits", "more", "message"),
    [
        ({"test": 2}, {}, "no pictures train/CLASS"),
        ({"train": 4}, {}, "no test pictures"),
        ({"train": 4, "test": 1}, {"test/green/1.png": png((0, 255, 0))}, "class 'green' is not in both"),
    ],
)
def test_missing_splits_and_classes(
    splits: dict[str, int], more: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        open_classification(written(tmp_path / "a.zip", members(splits) | more))


def test_no_zip_file(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(UnsupportedError, match="is not a zip file"):
        open_classification(f"images:{tmp_path / 'a.zip'}")


def test_mnist_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = {}
    for prefix, count in (("train", 100), ("t10k", 20)):
        pixels[prefix] = random.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, rank, array in (("images-idx3", 3, pixels[prefix]), ("labels-idx1", 1, labels)):
            content = bytes((0, 0, 8, rank)) + struct.pack(f">{rank}I", *array.shape) + array.tobytes()
            (tmp_path / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    data = open_classification(f"mnist:{tmp_path}")
    assert data.labels == tuple("0123456789")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [80, 20, 20]
    assert torch.equal(data.test.images[:, 0], torch.from_numpy(pixels["t10k"]))
    with pytest.raises(UsageError, match="MNIST has 28 pixels"):
        open_classification(f"mnist:{tmp_path}", size=32)


def test_real_data_have_the_stated_sizes(data_folder: Path | None) -> None:
    if data_folder is None:
        return
    data = open_classification(f"mnist:{data_folder / 'mnist'}")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [54_001, 5_999, 10_000]
