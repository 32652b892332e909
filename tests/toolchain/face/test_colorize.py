"""The overlay."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UsageError
from toolchain.face.colorize import colorize

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
