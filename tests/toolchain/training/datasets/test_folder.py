"""Any folder with a TOML file: the mapping, the pairing by name, and every mistake in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.faces import LABELS
from toolchain.training.datasets import check_pairs, open_pairs, training_pairs
from toolchain.training.datasets.folder import MappedFolder

OFFSET = 20
MAP = "[map]\n" + "".join(f'{index + OFFSET} = "{name}"\n' for index, name in enumerate(LABELS))
TABLES = '[train]\nimages = "pictures"\nlabels = "maps"\n'
GOOD = f'left = "subject"\n{TABLES}{MAP}'


@pytest.fixture
def place(tmp_path: Path, photo, write) -> Path:
    for number in range(3):
        picture, label = photo(number)
        write(tmp_path / f"pictures/f{number}.png", picture)
        write(tmp_path / f"maps/f{number}.png", label + OFFSET)
        write(tmp_path / f"mixed/f{number}.jpg", picture)
        write(tmp_path / f"mixed/f{number}_mask.png", label + OFFSET)
    return tmp_path


def opened(place: Path, text: str, split: str = "train") -> MappedFolder:
    (place / "faces.toml").write_text(text)
    data = open_pairs(f"folder:{place / 'faces.toml'}", split, 64)
    assert isinstance(data, MappedFolder)
    return data


def test_indices_become_classes(place: Path, photo) -> None:
    data = opened(place, 'terms = "ours"\n' + GOOD)
    assert data.names == ["f0", "f1", "f2"]
    assert (data.description, data.terms) == ("faces", "ours")
    for index in range(3):
        picture, label = data.read(index)
        np.testing.assert_array_equal(picture, photo(index)[0])
        np.testing.assert_array_equal(label, photo(index)[1])


def test_globs_pair_by_what_the_star_stands_for(place: Path, photo) -> None:
    tables = '[val]\nimages = "mixed/*.jpg"\nlabels = "mixed/*_mask.png"\n'
    data = opened(place, f'left = "subject"\n{tables}{MAP}', "val")
    assert data.names == ["f0", "f1", "f2"]
    np.testing.assert_array_equal(data.read(1)[1], photo(1)[1])


def test_left_of_the_viewer_is_exchanged_and_checked(place: Path, photo, write, renamed) -> None:
    with pytest.raises(UsageError, match="wrong side for left = 'viewer'") as caught:
        opened(place, GOOD.replace("subject", "viewer"))
    assert "subject" in caught.value.hint
    for number in range(3):
        write(place / f"maps/f{number}.png", renamed(photo(number)[1]) + OFFSET)
    with pytest.raises(UsageError, match="wrong side for left = 'subject'"):
        opened(place, GOOD)
    data = opened(place, GOOD.replace("subject", "viewer"))
    np.testing.assert_array_equal(data.read(2)[1], photo(2)[1])


@settings(max_examples=25, deadline=None)
@given(classes=st.lists(st.sampled_from([*LABELS, "ignore"]), min_size=1, max_size=30))
def test_any_mapping(tmp_path_factory, classes: list[str]) -> None:
    from toolchain.training.datasets.folder import _mapping

    table = {str(3 * index): name for index, name in enumerate(classes)}
    mapping = _mapping({"left": "subject", "map": table}, Path("f.toml"))
    assert mapping.mirrored().mirrored().classes == mapping.classes
    indices = np.array([[3 * index for index in range(len(classes))]], np.uint8)
    expected = [255 if name == "ignore" else LABELS.index(name) for name in classes]
    if set(classes) == {"ignore"}:
        with pytest.raises(UnsupportedError, match="'m' has no annotated pixel"):
            mapping.apply(indices, "'m'")
        return
    assert mapping.apply(indices, "'m'").tolist() == [expected]


def test_maps_without_sides_need_no_left(place: Path) -> None:
    plain = MAP.replace("left brow", "ignore").replace("right brow", "ignore")
    plain = plain.replace("left eye", "nose").replace("right eye", "nose")
    assert opened(place, "crop = false\n" + TABLES + plain).read(0)[1].max() == 255


def test_uncropped(place: Path) -> None:
    data = opened(place, "crop = false\n" + GOOD)
    image, label = data[0]
    # 160 x 120 in 64 x 64: bars of eight rows.
    assert image.shape == (3, 64, 64)
    assert image[:, :7].max() == 0
    assert label[:7].max() == 0


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("left = ", "not TOML", ""),
        (GOOD.replace("left =", "leftt ="), "unknown key 'leftt'", "left"),
        (GOOD.replace("images", "image"), "unknown key 'image' in \\[train\\]", "images"),
        (GOOD.replace('labels = "maps"\n', ""), "has no labels", "folder"),
        (GOOD.replace('"pictures"', "3"), "has no images", "folder"),
        (GOOD.replace("pictures", "photos"), "no folder .*photos", ""),
        (GOOD.replace("left brow", "left brown"), "unknown class 'left brown'", "left brow"),
        (GOOD.replace("20 =", "skin ="), "'skin' in \\[map\\]", "0 to 255"),
        (GOOD.replace("20 =", "256 ="), "'256' in \\[map\\]", "0 to 255"),
        (GOOD.replace('left = "subject"', ""), "whose left", "viewer"),
        (GOOD.replace('"subject"', '"mine"'), "left of .* is 'mine'", "viewer"),
        ('left = "subject"\n' + TABLES, "no table \\[map\\]", "skin"),
        ('crop = "no"\n' + GOOD, "crop of .* is 'no'", ""),
        ("train = 3\n" + MAP, "train of .* is not a table", "images"),
        (GOOD.replace("[train]", "[val]"), "no table \\[train\\]", "val"),
        (GOOD.replace('"maps"', '"mixed"'), "no pairs: 3 pictures and 3 label maps", ""),
        (GOOD.replace('"maps"', '"*/*"'), "labels of \\[train\\]", "one star"),
    ],
)
def test_mistakes_in_the_file_are_named(place: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        opened(place, text)
    assert hint in caught.value.hint


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        MappedFolder(tmp_path / "none.toml", "train", 64)


def test_unknown_indices_and_partners_are_named(place: Path, photo, write) -> None:
    label = photo(1)[1] + OFFSET
    label[0, 0] = 77
    write(place / "maps/f1.png", label)
    write(place / "pictures/alone.jpg", photo(0)[0])
    data = opened(place, GOOD)
    assert [(entry.name, entry.reason) for entry in data.skipped] == [("alone", "no label map")]
    with pytest.raises(UnsupportedError, match=r"f1\.png.* unknown index 77"):
        data[1]
    [damaged] = check_pairs(data)
    assert (damaged.name, damaged.unknown) == ("f1", (77,))


def test_the_hint_names_all_unknown_indices(place: Path, photo, write) -> None:
    for name, indices in {"f0": (78, 77), "f1": (90, 77)}.items():
        label = photo(1)[1] + OFFSET
        label[0, :2] = indices
        write(place / f"maps/{name}.png", label)
    with pytest.raises(
        UnsupportedError, match=r"f0\.png.* unknown indices 77, 78; .*f1\.png.* 77, 90"
    ) as caught:
        training_pairs(opened(place, GOOD))
    assert 'give 77, 78, 90 a class or "ignore" under [map]' in caught.value.hint


def test_a_picture_in_place_of_a_label_map(place: Path, photo, write) -> None:
    label = photo(0)[1]
    for name in ("f0", "f1"):
        write(place / f"maps/{name}.png", np.arange(label.size).astype(np.uint8).reshape(label.shape))
    with pytest.raises(UnsupportedError, match=r"unknown indices \d+(, \d+){7} and \d+ more; ") as caught:
        training_pairs(opened(place, GOOD))
    assert "so many indices are those of a picture" in caught.value.hint


def test_two_pictures_of_one_name(place: Path, photo, write) -> None:
    write(place / "pictures/f0.jpg", photo(0)[0])
    with pytest.raises(UnsupportedError, match="have the same name"):
        opened(place, GOOD)
