"""Crops around faces: the rule of the margin, what lies outside, and the random part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.face.region import Square
from toolchain.training.datasets.crop import (
    MARGINS,
    MIDDLE,
    CroppedPairs,
    cut,
    parts_box,
    parts_square,
    same_shape,
)


class OneFace(CroppedPairs):
    """A white box of facial parts, 40 x 20 pixels, on gray skin."""

    def __init__(self, size: int, random: bool, crops: bool = True) -> None:
        self.size, self.random, self.crops = size, random, crops
        self.names = ["face"]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        label = np.ones((200, 300), np.uint8)
        label[90:110, 120:160] = 6
        picture = np.where(label[..., None] == 6, np.uint8(255), np.uint8(100)).repeat(3, 2)
        return picture, label


@given(
    x=st.integers(0, 50),
    y=st.integers(0, 50),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    margin=st.floats(0.3, 0.7),
)
def test_the_square_has_the_margin_on_the_longer_side(x, y, width, height, margin) -> None:
    label = np.ones((100, 100), np.uint8)
    label[y, x] = 2
    label[y + height - 1, x + width - 1] = 9
    box = parts_box(label)
    assert box is not None
    assert (box.x, box.y, box.width, box.height) == (x, y, width, height)
    square = parts_square(label, margin, "'f'")
    longer = max(width, height)
    assert square.side == pytest.approx(longer * (1 + 2 * margin))
    assert square.x + square.side / 2 == pytest.approx(x + width / 2)
    assert square.y + square.side / 2 == pytest.approx(y + height / 2)


def test_skin_hair_and_ignored_pixels_are_no_facial_parts() -> None:
    label = np.array([[0, 1, 255]], np.uint8)
    assert parts_box(label) is None
    with pytest.raises(UnsupportedError, match="'f' has no facial part"):
        parts_square(label, 0.5, "'f'")


def test_evaluation_always_has_the_middle_margin() -> None:
    data = OneFace(80, random=False)
    _, label = data.pair(0)
    # The box is 40 wide, the crop 80 pixels at a margin of one half.
    assert MIDDLE == 0.5
    assert (label == 6).sum() == 40 * 20
    np.testing.assert_array_equal(label[30:50, 20:60], 6)
    for first, second in zip(data.pair(0), data.pair(0), strict=True):
        np.testing.assert_array_equal(first, second)


def test_training_draws_margins_from_the_whole_range() -> None:
    data = OneFace(80, random=True)
    torch.manual_seed(0)
    shares = [80 / np.count_nonzero((data.pair(0)[1] == 6).any(axis=0)) for _ in range(200)]
    margins = (np.array(shares) - 1) / 2
    assert margins.min() == pytest.approx(MARGINS[0], abs=0.03)
    assert margins.max() == pytest.approx(MARGINS[1], abs=0.03)
    assert np.mean(margins) == pytest.approx(0.5, abs=0.03)


def test_random_crops_follow_torch_s_seed() -> None:
    data = OneFace(64, random=True)
    torch.manual_seed(5)
    first = data.pair(0)[1]
    assert not np.array_equal(first, data.pair(0)[1])
    torch.manual_seed(5)
    np.testing.assert_array_equal(first, data.pair(0)[1])


def test_picture_and_label_stay_together() -> None:
    data = OneFace(50, random=True)
    torch.manual_seed(1)
    for _ in range(20):
        picture, label = data.pair(0)
        white = picture[..., 0] > 177
        assert np.count_nonzero(white != (label == 6)) <= 0.03 * label.size


def test_outside_of_the_picture_is_black_background() -> None:
    picture, label = cut(
        np.full((10, 10, 3), 200, np.uint8), np.ones((10, 10), np.uint8), Square(-5, -5, 20), 20
    )
    assert label.sum() == 100
    np.testing.assert_array_equal(label[5:15, 5:15], 1)
    assert picture[label == 0].max() == 0
    assert picture[label == 1].min() == 200


def test_uncropped_pictures_keep_their_proportions() -> None:
    picture, label = OneFace(60, random=True, crops=False).pair(0)
    # 300 x 200 in a square of 60: bars of ten rows above and below.
    assert label[:10].max() == label[50:].max() == 0
    assert label[10:50].min() == 1
    assert picture.shape == (60, 60, 3)


@settings(max_examples=30)
@given(height=st.integers(20, 60), width=st.integers(20, 60), times=st.integers(1, 3))
def test_label_maps_of_another_scale_are_enlarged(height: int, width: int, times: int) -> None:
    label = np.random.default_rng(0).integers(0, 10, (height, width), dtype=np.uint8)
    picture = np.zeros((height * times, width * times, 3), np.uint8)
    np.testing.assert_array_equal(same_shape(picture, label, "'f'"), label.repeat(times, 0).repeat(times, 1))


def test_label_maps_of_another_picture_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="30 x 20 and label map 20 x 30 of 'f'"):
        same_shape(np.zeros((20, 30, 3), np.uint8), np.zeros((30, 20), np.uint8), "'f'")
