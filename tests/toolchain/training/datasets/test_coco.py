"""COCO masks to the classes that were asked for."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.coco import open_coco
from toolchain.training.datasets.coco_classes import CATEGORIES, STUFF, THINGS, category_id

HEIGHT, WIDTH = 16, 24
# Four vertical stripes of six columns.
STRIPES = (0, 1, 17, 187)


def pair(number: int, stripes: tuple[int, ...] = STRIPES) -> tuple[bytes, bytes]:
    picture = np.full((HEIGHT, WIDTH, 3), number, np.uint8)
    mask = np.repeat(np.array(stripes, np.uint8), WIDTH // len(stripes))[None].repeat(HEIGHT, 0)
    return cv2.imencode(".jpg", picture)[1].tobytes(), cv2.imencode(".png", mask)[1].tobytes()


def write(path: Path, train: int = 10, test: int = 2, **replaced: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train2017", train), ("val2017", test)):
            for number in range(count):
                picture, mask = pair(number)
                name = f"{split}{number}"
                archive.writestr(f"{split}/images/{name}.jpg", replaced.get(f"{name}_picture", picture))
                archive.writestr(f"{split}/masks/{name}.png", replaced.get(name, mask))
    return path


def test_the_table_has_all_categories() -> None:
    assert (len(THINGS), len(STUFF)) == (80, 53)
    assert len(set(CATEGORIES.values())) == 133
    assert (CATEGORIES[1], CATEGORIES[90], CATEGORIES[92], CATEGORIES[200]) == (
        "person",
        "toothbrush",
        "banner",
        "rug-merged",
    )


@pytest.mark.parametrize(
    ("name", "number"),
    [("person", 1), ("tv", 72), ("tvmonitor", 72), ("sofa", 63), ("187", 187), (17, 17)],
)
def test_categories_by_name_and_id(name: str | int, number: int) -> None:
    assert category_id(name) == number


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["persn"], "no COCO category is called 'persn'"),
        (["12"], "no COCO category has the id 12"),
        ([], "no classes"),
        (["cat", 17], "'cat' is named twice"),
    ],
)
def test_wrong_classes(classes: list[str | int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        open_coco(write(tmp_path / "a.zip"), classes, 8)


@pytest.mark.parametrize(("unlabelled", "first"), [("ignore", 255), ("background", 0)])
def test_masks_become_classes(unlabelled: str, first: int, tmp_path: Path) -> None:
    data = open_coco(write(tmp_path / "a.zip"), ["cat", "1"], 12, unlabelled)
    assert data.labels == ("background", "cat", "person")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [8, 2, 2]
    assert data.train.images.shape == (8, 3, 12, 12)
    # Unlabelled, person, cat, sky: three columns each.
    wanted = torch.tensor([first, 2, 1, 0], dtype=torch.uint8).repeat_interleave(3)
    for split in (data.train, data.validation, data.test):
        assert (split.maps == wanted).all()
    # Pictures are told apart by their grey: none is in two splits.
    greys = [int(image.float().mean().round()) for image in (*data.train.images, *data.validation.images)]
    assert sorted(greys) == list(range(10))


def test_damage_is_named(tmp_path: Path) -> None:
    other = pair(0, (1, 12))[1]
    data = open_coco(write(tmp_path / "a.zip", train2017=other, train20173=other), ["cat"], 8)
    assert [entry.name for entry in data.skipped] == ["train20173"]
    assert "train20173.png" in data.skipped[0].reason
    with pytest.raises(UnsupportedError, match="1 of 2 pictures of 'val2017' are damaged"):
        open_coco(write(tmp_path / "b.zip", val20171_picture=b"\xff\xd8 none"), ["cat"], 8)
    with pytest.raises(UsageError, match="no pictures and masks of 'val2017'"):
        open_coco(write(tmp_path / "c.zip", test=0), ["cat"], 8)
