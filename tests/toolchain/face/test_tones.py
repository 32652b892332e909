"""Tables of a colour at every lightness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.face.tones import LARGEST_SHIFT, recolored, tones

COLORS = st.tuples(*[st.integers(0, 255)] * 3)


def lab_of(colors):
    return cv2.cvtColor(colors.astype(np.float32).reshape(-1, 1, 3) / 255, cv2.COLOR_RGB2LAB)[:, 0]


GREY = lab_of(np.repeat(np.arange(256)[:, None], 3, axis=1))[:, 0]


@settings(deadline=None, max_examples=40)
@given(COLORS, st.floats(0, 1))
def test_lightness_stays_near_the_grey_s_and_rises_with_it(color, shift):
    lightness = lab_of(tones(color, shift))[:, 0]
    # Half a step of 8 bits is below 0.4 in lightness.
    assert np.abs(lightness - GREY).max() <= LARGEST_SHIFT + 0.4
    assert (np.diff(lightness) >= -0.8).all()
    np.testing.assert_array_equal(tones(color, shift)[[0, 255], 0], [[0] * 3, [255] * 3])


@settings(deadline=None, max_examples=40)
@given(COLORS)
def test_without_a_shift_lightness_is_the_grey_s(color):
    np.testing.assert_allclose(lab_of(tones(color, 0.0))[:, 0], GREY, atol=0.8)


@pytest.mark.parametrize("color", [(176, 24, 56), (58, 40, 30), (20, 90, 200), (240, 200, 30)])
def test_hue_is_the_colour_s(color):
    _, a, b = lab_of(np.array(color))[0]
    found = lab_of(tones(color, 0.5))
    strong = np.hypot(found[:, 1], found[:, 2]) > 12
    angle = np.arctan2(found[strong, 2], found[strong, 1]) - np.arctan2(b, a)
    assert strong.any()
    # Rounding to 8 bits turns weak colours by a few degrees.
    assert np.abs(np.rad2deg((angle + np.pi) % (2 * np.pi) - np.pi)).max() < 4


def test_the_colour_itself_is_in_its_table():
    color = np.array((176, 24, 56))
    # At the grey of the colour's own lightness, which without a shift is its own tone.
    nearest = np.abs(GREY - lab_of(color)[0, 0]).argmin()
    np.testing.assert_allclose(tones(tuple(color), 0.0)[nearest, 0], color, atol=2)


def test_grey_has_no_hue():
    found = tones((128, 128, 128), 0.0)[:, 0].astype(int)
    np.testing.assert_allclose(found, np.repeat(np.arange(256)[:, None], 3, axis=1), atol=1)


def test_pixels_are_recoloured_by_their_luma(rng):
    pixels = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    luma = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(int)
    table = tones((176, 24, 56), 0.5)[:, 0].astype(int)
    found = recolored(pixels, (176, 24, 56), 0.5).astype(int)
    # OpenCV's luma is in fixed point, at most one step off.
    steps = np.abs(np.diff(table, axis=0)).max()
    np.testing.assert_allclose(found, table[luma], atol=steps)
