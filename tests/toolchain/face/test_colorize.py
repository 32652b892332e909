"""The overlay."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from toolchain.errors import UsageError
from toolchain.face.colorize import blend, colorize

PALETTE = ((9, 9, 9), (250, 20, 0), (0, 100, 200))


def labels_of(shape=(30, 40)):
    labels = np.zeros(shape, np.uint8)
    labels[5:15, 5:20] = 1
    labels[15:25, 5:20] = 2
    return labels


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.55, 1.0])
def test_colours_are_blended_inside_and_nothing_changes_outside(rng, alpha):
    picture = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    before, labels = picture.copy(), labels_of()
    drawn = colorize(picture, labels, PALETTE, alpha)
    np.testing.assert_array_equal(picture, before)
    for label, rows in ((1, slice(6, 14)), (2, slice(16, 24))):
        expected = (1 - alpha) * picture[rows, 6:19] + alpha * np.array(PALETTE[label])
        np.testing.assert_allclose(drawn[rows, 6:19], expected, atol=1)
    far = np.ones((30, 40), bool)
    far[4:26, 4:21] = False
    np.testing.assert_array_equal(drawn[far], picture[far])


def test_an_outline_is_a_mixture_of_colour_and_picture_alone():
    picture = np.full((30, 40, 3), 255, np.uint8)
    drawn = colorize(picture, labels_of(), ((0, 0, 0), (255, 255, 255), (255, 255, 255)), 1.0)
    # White on white: black of the hidden label must not bleed in.
    assert drawn.min() >= 254
    inside, outside = colorize(picture, labels_of(), PALETTE, 1.0)[10, [5, 4], 1].astype(int)
    assert PALETTE[1][1] < inside < outside < 255


def test_labels_without_a_colour_are_not_drawn(rng):
    picture = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(colorize(picture, labels_of() * 100, PALETTE), picture)
    np.testing.assert_array_equal(colorize(picture, labels_of() * 0, PALETTE), picture)
    np.testing.assert_array_equal(colorize(picture, labels_of(), PALETTE, hidden=(0, 1, 2)), picture)


def test_the_background_can_be_drawn():
    drawn = colorize(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), PALETTE, 1.0, hidden=())
    np.testing.assert_array_equal(drawn, np.full((4, 4, 3), 9))


def test_a_label_in_the_corner_is_drawn():
    labels = np.zeros((8, 8), np.uint8)
    labels[:2, :2] = labels[6:, 6:] = 1
    drawn = colorize(np.zeros((8, 8, 3), np.uint8), labels, PALETTE, 1.0)
    np.testing.assert_array_equal(drawn[[0, 7], [0, 7]], [PALETTE[1]] * 2)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_an_opacity_out_of_range_is_refused(alpha):
    with pytest.raises(UsageError, match="opacity"):
        colorize(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), PALETTE, alpha)


def exact_overlay(picture, labels, palette, alpha, hidden):
    """The same in floating point."""
    shown = np.isin(labels, [label for label in range(len(palette)) if label not in hidden])
    weight = cv2.GaussianBlur(np.where(shown, 255, 0).astype(np.uint8), (3, 3), 0)[:, :, None] / 255
    colors = np.where(shown[:, :, None], np.array(palette)[np.minimum(labels, len(palette) - 1)], 0)
    color = cv2.GaussianBlur(colors.astype(np.uint8), (3, 3), 0)
    return picture * (1 - alpha * weight) + alpha * color.astype(float)


@given(
    st_numpy.arrays(np.uint8, (9, 11, 3)),
    st_numpy.arrays(np.uint8, (9, 11), elements=st.integers(0, 3)),
    st.floats(0, 1),
    st.sampled_from([(0,), (), (0, 2), (1,)]),
)
def test_whole_numbers_are_within_one_of_the_exact_overlay(picture, labels, alpha, hidden):
    drawn = colorize(picture, labels, PALETTE, alpha, hidden)
    np.testing.assert_allclose(drawn, exact_overlay(picture, labels, PALETTE, alpha, hidden), atol=1.5)


def test_the_result_can_replace_the_picture(rng):
    picture = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    drawn, other = colorize(picture, labels_of(), PALETTE), np.empty_like(picture)
    assert colorize(picture, labels_of(), PALETTE, out=other) is other
    np.testing.assert_array_equal(other, drawn)
    assert colorize(picture, labels_of(), PALETTE, out=picture) is picture
    np.testing.assert_array_equal(picture, drawn)
    with pytest.raises(UsageError, match="shape"):
        colorize(picture, labels_of(), PALETTE, out=picture[1:])


@given(
    st_numpy.arrays(np.uint8, (6, 7, 3)),
    st_numpy.arrays(np.uint8, (6, 7, 3)),
    st_numpy.arrays(np.uint8, (6, 7)),
)
def test_a_blend_is_rounded_exactly(below, above, weight):
    share = weight[:, :, None].astype(int)
    expected = (2 * (below * (255 - share) + above * share) + 255) // 510
    blend(below, above, weight)
    np.testing.assert_array_equal(below, expected)
