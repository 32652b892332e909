"""The function in front of all datasets."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets import check_pairs, open_pairs, schemes
from toolchain.training.datasets.celebamask import CelebAMask


def test_schemes() -> None:
    assert list(schemes) == ["carved", "celebamask", "drawn", "folder", "helen", "lapa"]


@pytest.mark.parametrize(
    ("data", "split", "size", "message", "hint"),
    [
        ("celebamsk:x", "train", 64, "unknown data scheme 'celebamsk'", "celebamask"),
        ("nonsense:x", "train", 64, "unknown data scheme 'nonsense'", "known are carved, celebamask, drawn"),
        ("mnist:x", "train", 64, "classes of pictures, not of pixels", "`toolchain train classification`"),
        ("images:x", "val", 64, "classes of pictures, not of pixels", "schemes of faces are carved"),
        ("faces.zip", "train", 64, "not of the form SCHEME:PATH", "drawn"),
        ("drawn:", "train", 64, "not of the form SCHEME:PATH", "drawn"),
        ("drawn:10", "training", 64, "unknown split 'training'", "train"),
        ("drawn:10", "train", 0, "size 0", "128"),
        ("celebamask:none.zip", "train", 64, "no data at 'none.zip'", "celebamask:PATH"),
        ("helen:none", "train", 64, "no list", "helen:PATH"),
        ("lapa:none", "train", 64, "no folder train/images", "lapa:PATH"),
        ("folder:none.toml", "train", 64, "cannot be read", "folder:PATH.toml"),
    ],
)
def test_mistakes(data: str, split: str, size: int, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_pairs(data, split, size)
    assert hint in caught.value.hint


def test_the_zip_is_opened_by_its_scheme(faces: Path) -> None:
    data = open_pairs(f"celebamask:{faces}", "train", 64)
    assert isinstance(data, CelebAMask)
    assert check_pairs(data) == []
    with pytest.raises(UsageError, match="no pairs test/images") as caught:
        open_pairs(f"celebamask:{faces}", "test", 64)
    assert caught.value.hint == "splits are train, val"


def test_lonely_members_of_the_zip_are_skipped(tmp_path: Path, faces: Path) -> None:
    with zipfile.ZipFile(faces) as whole, zipfile.ZipFile(tmp_path / "part.zip", "w") as part:
        for name in whole.namelist():
            if name not in ("train/labels/t00002.png", "train/images/t00005.jpg"):
                part.writestr(name, whole.read(name))
    data = open_pairs(f"celebamask:{tmp_path / 'part.zip'}", "train", 64)
    assert len(data) == 6
    assert [(entry.name, entry.reason) for entry in data.skipped] == [
        ("t00002", "no label map"),
        ("t00005", "no picture"),
    ]


def test_changed_bytes_in_the_zip_are_damage(tmp_path: Path, faces: Path) -> None:
    raw = bytearray(faces.read_bytes())
    with zipfile.ZipFile(faces) as archive:
        place = archive.getinfo("train/images/t00003.jpg")
    raw[place.header_offset + 30 + len(place.filename) + place.compress_size // 2] ^= 0x55
    (tmp_path / "bad.zip").write_bytes(raw)
    data = open_pairs(f"celebamask:{tmp_path / 'bad.zip'}", "train", 64)
    damaged = check_pairs(data)
    assert [entry.name for entry in damaged] == ["t00003"]
    assert "t00003.jpg" in damaged[0].reason
    assert check_pairs(data.without(damaged)) == []


def test_zip_bombs_are_refused(tmp_path: Path, faces: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(faces) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/images/a.jpg", source.read("train/images/t00000.jpg"))
        archive.writestr("train/labels/a.png", bytes(65 * 2**20))
        large = bytearray(source.read("train/labels/t00000.png"))
        large[16:24] = struct.pack(">II", 30000, 30000)
        archive.writestr("train/images/b.jpg", source.read("train/images/t00000.jpg"))
        archive.writestr("train/labels/b.png", bytes(large))
    data = open_pairs(f"celebamask:{path}", "train", 64)
    with pytest.raises(UnsupportedError, match=r"a\.png' in .* is larger than 64 MiB"):
        data[0]
    with pytest.raises(UnsupportedError, match=r"b\.png' in .* has 30000 x 30000 pixels"):
        data[1]


def test_forked_workers_do_not_share_the_open_zip(faces: Path) -> None:
    data = open_pairs(f"celebamask:{faces}", "train", 64)
    wanted = [data[index][1] for index in range(8)]
    owner, archive = data._owner, data._archive
    for _ in range(3):
        for index, (_, label) in enumerate(DataLoader(data, None, num_workers=2)):
            assert torch.equal(label, wanted[index])
    assert (data._owner, data._archive) == (owner, archive)
    data._owner = -1
    assert torch.equal(data[3][1], wanted[3])
    assert data._archive is not archive


def test_real_pairs_are_whole(data_folder: Path | None) -> None:
    if data_folder is None:
        return
    data = open_pairs(f"celebamask:{data_folder / 'celebamask_hq_256.zip'}", "val", 128)
    assert len(data) == 400
    assert data.skipped == ()
    assert check_pairs(data) == []
