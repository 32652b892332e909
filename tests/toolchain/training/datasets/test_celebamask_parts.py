"""The official folder of CelebAMask-HQ: painting order, splits, and missing or damaged masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets import check_pairs, open_pairs
from toolchain.training.datasets.celebamask import CLASS_OF_INDEX as CLASS_OF_ZIP_INDEX
from toolchain.training.datasets.celebamask_parts import CLASS_OF_PART, CelebAMaskParts

SIDE = 64
PARTS = {
    1: "skin",
    2: "l_brow",
    3: "r_brow",
    4: "l_eye",
    5: "r_eye",
    6: "nose",
    7: "u_lip",
    8: "mouth",
    9: "l_lip",
}


def masks(folder: Path, number: int) -> Path:
    return folder / "CelebAMask-HQ-mask-anno" / str(number // 2000)


@pytest.fixture
def official(tmp_path: Path, write) -> Path:
    """Pictures 0 to 9, 2000 and 29999, twice as large as their masks."""
    from toolchain.training.datasets.drawn import DrawnFaces

    faces = DrawnFaces(100, "train", SIDE, seed=3)
    for place, number in enumerate([*range(10), 2000, 29999]):
        picture, label = faces.pair(place)
        write(tmp_path / "CelebA-HQ-img" / f"{number}.jpg", picture.repeat(2, 0).repeat(2, 1))
        for code, part in {**PARTS, 255: "eye_g"}.items():
            if (label == code).any() or part == "skin":
                # The skin's mask covers the whole face, as theirs does.
                inside = label > 0 if part == "skin" else label == code
                write(masks(tmp_path, number) / f"{number:05d}_{part}.png", inside.astype(np.uint8) * 255)
    return tmp_path


def expected(place: int) -> np.ndarray:
    from toolchain.training.datasets.drawn import DrawnFaces

    return DrawnFaces(100, "train", SIDE, seed=3).pair(place)[1]


def test_parts_become_one_label_map(official: Path) -> None:
    data = open_pairs(f"celebamask:{official}", "train", SIDE)
    assert data.names == [f"{number:05d}" for number in (*range(8), 2000)]
    for place in range(8):
        np.testing.assert_array_equal(data.pair(place)[1], expected(place))
    assert data[0][0].shape == (3, SIDE, SIDE)


def test_the_index_of_the_zip_is_the_position_of_the_part() -> None:
    names = (
        "skin",
        "nose",
        "eye_g",
        "l_eye",
        "r_eye",
        "l_brow",
        "r_brow",
        "l_ear",
        "r_ear",
        "mouth",
        "u_lip",
    )
    names += ("l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth")
    assert tuple(CLASS_OF_PART) == names
    assert CLASS_OF_ZIP_INDEX == (0, 1, 6, 255, 4, 5, 2, 3, 0, 0, 8, 7, 9, 0, 0, 0, 0, 0, 0)


def test_later_parts_cover_earlier_ones(official: Path, write) -> None:
    everything = np.full((SIDE, SIDE), 255, np.uint8)
    half = everything.copy()
    half[:, : SIDE // 2] = 0
    write(masks(official, 0) / "00000_hair.png", half)
    # An earlier part never covers.
    write(masks(official, 0) / "00000_skin.png", everything)
    label = CelebAMaskParts(official, "train", SIDE).pair(0)[1]
    assert label[:, SIDE // 2 :].max() == 0
    wanted = np.where(expected(0) == 0, 1, expected(0))
    np.testing.assert_array_equal(label[:, : SIDE // 2], wanted[:, : SIDE // 2])


def test_without_the_mapping_the_last_digit_is_the_split(official: Path) -> None:
    assert CelebAMaskParts(official, "val", SIDE).names == ["00008"]
    assert CelebAMaskParts(official, "test", SIDE).names == ["00009", "29999"]


def test_the_official_split(official: Path) -> None:
    originals = {0: 162770, 1: 162771, 2: 182637, 3: 182638, 4: 0, 29999: 202598}
    lines = ["idx          orig_idx         orig_file"]
    lines += [f"{number:<12} {other:<16} {other + 1:06d}.jpg" for number, other in originals.items()]
    (official / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")
    names = {split: CelebAMaskParts(official, split, SIDE).names for split in ("train", "val", "test")}
    assert names == {"train": ["00000", "00004"], "val": ["00001", "00002"], "test": ["00003", "29999"]}
    (official / "CelebA-HQ-to-CelebA-mapping.txt").write_text("0 one\n")
    with pytest.raises(UnsupportedError, match="line 1 of"):
        CelebAMaskParts(official, "train", SIDE)


def test_missing_partners_are_skipped_by_name(official: Path, write) -> None:
    (official / "CelebA-HQ-img" / "1.jpg").unlink()
    (masks(official, 2) / "00002_skin.png").unlink()
    write(masks(official, 3) / "00003_beard.png", np.zeros((4, 4), np.uint8))
    data = CelebAMaskParts(official, "train", SIDE)
    assert [(entry.name, entry.reason) for entry in data.skipped] == [
        ("00001", "no picture"),
        ("00002", "no mask of the skin"),
        ("00003_beard.png", "no such part"),
    ]
    assert not {"00001", "00002"} & set(data.names)


def test_damaged_masks_are_named(official: Path, write) -> None:
    data = CelebAMaskParts(official, "train", SIDE)
    (masks(official, 4) / "00004_nose.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write(masks(official, 5) / "00005_nose.png", np.zeros((9, 9), np.uint8))
    damaged = check_pairs(data)
    assert [entry.name for entry in damaged] == ["00004", "00005"]
    assert "00004_nose.png" in damaged[0].reason
    assert "another size" in damaged[1].reason


def test_wrong_folders(tmp_path: Path, official: Path) -> None:
    with pytest.raises(UsageError, match="no folder CelebA-HQ-img"):
        CelebAMaskParts(tmp_path / "none", "train", SIDE)
    for path in (official / "CelebA-HQ-img").glob("*8.jpg"):
        path.unlink()
    with pytest.raises(UsageError, match="no pairs of the split 'val'"):
        CelebAMaskParts(official, "val", SIDE)
