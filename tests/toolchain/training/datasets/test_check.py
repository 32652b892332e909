"""What is damaged is found by name, in a zip and in a folder, and what is only unusual is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from toolchain.errors import UnsupportedError
from toolchain.models.faces import LABELS
from toolchain.training.datasets import check_pairs, open_pairs, training_pairs, validation_pairs
from toolchain.training.datasets.crop import CroppedPairs
from toolchain.training.datasets.pairs import FacePairs

RANDOM = np.random.default_rng(0)
# 120 x 160; every index below 10 occurs.
PICTURE = cv2.blur(RANDOM.integers(0, 256, (120, 160, 3), dtype=np.uint8), (9, 9))
INDICES = np.repeat(np.repeat(RANDOM.integers(0, 10, (12, 16), dtype=np.uint8), 10, 0), 10, 1)


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind)
    return buffer.getvalue()


def sixteen_bits(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def with_palette(indices: np.ndarray) -> bytes:
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(RANDOM.integers(0, 256, 768, dtype=np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def with_index(value: int) -> bytes:
    indices = INDICES.copy()
    indices[5, 7] = value
    return encoded(indices)


JPEG, PNG, MAP = encoded(PICTURE, "JPEG"), encoded(PICTURE), encoded(INDICES)

DAMAGED = {
    "half a JPEG": (JPEG[: len(JPEG) // 2], MAP, "the end of the JPEG file is missing"),
    "JPEG without its end": (JPEG[:-2], MAP, "the end of the JPEG file is missing"),
    "half a PNG": (PNG[: len(PNG) // 2], MAP, "damaged"),
    "PNG with a changed byte": (PNG[:500] + bytes([PNG[500] ^ 1]) + PNG[501:], MAP, "damaged"),
    "empty picture": (b"", MAP, "not a picture"),
    "web page": (b"<html>404</html>", MAP, "not a picture"),
    "TIFF": (encoded(PICTURE, "TIFF"), MAP, "not a picture"),
    "empty label map": (JPEG, b"", "not a PNG"),
    "half a label map": (JPEG, MAP[: len(MAP) // 2], "damaged"),
    "unknown index": (JPEG, with_index(77), "unknown index 77"),
    "label map of another shape": (JPEG, encoded(INDICES[:60]), "160 x 120 and label map 160 x 60"),
    "nothing annotated": (JPEG, encoded(np.full_like(INDICES, 255)), "no annotated pixel|unknown index 255"),
    "label map with 16 bits": (JPEG, sixteen_bits(INDICES.astype(np.uint16)), "16 bits"),
    "coloured label map": (JPEG, PNG, "has colours"),
    "label map as JPEG": (JPEG, encoded(INDICES, "JPEG"), "not a PNG"),
}

UNUSUAL = {
    "PNG": (PNG, MAP),
    "gray JPEG": (encoded(PICTURE, "JPEG", "L"), MAP),
    "CMYK JPEG": (encoded(PICTURE, "JPEG", "CMYK"), MAP),
    "PNG with transparency": (encoded(PICTURE, "PNG", "RGBA"), MAP),
    "PNG with a palette": (encoded(PICTURE, "PNG", "P"), MAP),
    "PNG with 16 bits": (sixteen_bits(PICTURE[:, :, ::-1].astype(np.uint16) * 257), MAP),
    "label map with a palette": (JPEG, with_palette(INDICES)),
    "label map in three equal channels": (JPEG, encoded(INDICES, "PNG", "RGB")),
    "label map of half the size": (JPEG, encoded(np.ascontiguousarray(INDICES[::2, ::2]))),
}


def in_a_zip(folder: Path, pairs: dict[str, tuple[bytes, bytes]]) -> str:
    with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
        for name, (picture, indices) in pairs.items():
            archive.writestr(f"train/images/{name}.jpg", picture)
            archive.writestr(f"train/labels/{name}.png", indices)
    return f"celebamask:{folder / 'faces.zip'}"


def in_a_folder(folder: Path, pairs: dict[str, tuple[bytes, bytes]]) -> str:
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for name, (picture, indices) in pairs.items():
        (folder / "images" / f"{name}.jpg").write_bytes(picture)
        (folder / "labels" / f"{name}.png").write_bytes(indices)
    # Drawn at random, the indices have no left and right.
    names = ["skin" if " brow" in name or " eye" in name else name for name in LABELS]
    lines = [f'{index} = "{name}"' for index, name in enumerate(names)]
    tables = ["crop = false", "[train]", 'images = "images"', 'labels = "labels"', "[map]", '255 = "ignore"']
    (folder / "faces.toml").write_text("\n".join([*tables, *lines]))
    return f"folder:{folder / 'faces.toml'}"


Layout = Callable[[Path, dict[str, tuple[bytes, bytes]]], str]
LAYOUTS = pytest.mark.parametrize("layout", [in_a_zip, in_a_folder])


@LAYOUTS
@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_found_by_name(layout: Layout, kind: str, tmp_path: Path) -> None:
    picture, indices, reason = DAMAGED[kind]
    data = open_pairs(layout(tmp_path, {"a": (JPEG, MAP), "bad": (picture, indices)}), "train", 32)
    [damaged] = check_pairs(data)
    assert damaged.name == "bad"
    assert "bad" in damaged.reason
    with pytest.raises(UnsupportedError, match=reason):
        data.pair(1)
    rest = training_pairs(data)
    assert rest.names == ["a"]
    assert rest.skipped == (damaged,)


@LAYOUTS
@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_is_only_unusual_is_read(layout: Layout, kind: str, tmp_path: Path) -> None:
    data = open_pairs(layout(tmp_path, {"plain": (JPEG, MAP), "unusual": UNUSUAL[kind]}), "train", 32)
    assert check_pairs(data) == []
    (picture, label), (expected, truth) = data.pair(1), data.pair(0)
    np.testing.assert_array_equal(label, truth)
    gray = (picture.mean(2), expected.mean(2))
    assert np.abs(gray[0] - gray[1]).mean() < 5


class Sometimes(FacePairs):
    """Pairs of which some are damaged."""

    size, description = 4, "test faces"

    def __init__(self, count: int, damaged: int) -> None:
        self.names = [f"n{index:03d}" for index in range(count)]
        self.damaged = damaged

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index < self.damaged:
            raise UnsupportedError(f"'{self.names[index]}.jpg' is damaged")
        return np.full((4, 4, 3), index % 256, np.uint8), np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(("count", "damaged"), [(2, 1), (99, 1), (200, 2), (4, 0)])
def test_a_few_damaged_pairs_are_left_out_of_the_training(count: int, damaged: int) -> None:
    rest = training_pairs(Sometimes(count, damaged))
    assert len(rest) == count - damaged
    assert [entry.name for entry in rest.skipped] == [f"n{index:03d}" for index in range(damaged)]


@pytest.mark.parametrize(("count", "damaged"), [(1, 1), (99, 2), (200, 3), (300, 9)])
def test_many_damaged_pairs_are_refused(count: int, damaged: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"^{damaged} of {count} pairs of 'test faces'") as caught:
        training_pairs(Sometimes(count, damaged))
    assert "'n000.jpg' is damaged" in caught.value.message
    assert ("and 4 more" in caught.value.message) == (damaged == 9)


def test_one_damaged_validation_pair_is_refused() -> None:
    whole = Sometimes(400, 0)
    assert validation_pairs(whole) is whole
    with pytest.raises(UnsupportedError, match=r"1 of 400 .* cannot be measured on: 'n000.jpg' is damaged"):
        validation_pairs(Sometimes(400, 1))


class Drawing(CroppedPairs):
    """A face that is cropped at random."""

    size, random = 16, True
    names = ["a", "b"]  # noqa: RUF012

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((40, 40, 3), np.uint8), np.full((40, 40), 6, np.uint8)


def test_the_check_moves_nobody_s_random_numbers() -> None:
    state = torch.get_rng_state()
    assert check_pairs(Drawing()) == []
    assert torch.equal(torch.get_rng_state(), state)
