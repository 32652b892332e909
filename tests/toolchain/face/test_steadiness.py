"""Label maps whose changes are known, on pictures whose motion is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.face.steadiness import (
    Match,
    changed_pixels,
    face_agreement,
    frames_to_recover,
    match_frames,
    moved_labels,
)

SIDE = 96


def texture(rng):
    """Smooth noise with a margin of 16 pixels to cut frames from, RGB."""
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE + 32, SIDE + 32)).astype(np.float32), (0, 0), 3)
    grey = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def view(plane, down, across):
    """What a camera sees of a plane that moved by so many pixels."""
    return plane[16 - down : 16 - down + SIDE, 16 - across : 16 - across + SIDE]


def standing():
    y, x = np.mgrid[:SIDE, :SIDE]
    return Match(y, x, np.ones((SIDE, SIDE), bool))


@pytest.mark.parametrize(("down", "across"), [(0, 0), (0, 3), (-5, 2), (7, -6)])
def test_labels_that_move_with_the_picture_do_not_flicker(rng, down, across):
    picture = texture(rng)
    labels = (picture[:, :, 0] // 64).astype(np.uint8)
    match = match_frames(view(picture, 0, 0), view(picture, down, across))
    before, now = view(labels, 0, 0), view(labels, down, across)
    middle = np.s_[16:-16, 16:-16]
    assert match.usable[middle].mean() > 0.99
    np.testing.assert_allclose(match.rows[middle] - np.mgrid[:SIDE, :SIDE][0][middle], -down, atol=1)
    # The flow is off by a fraction of a pixel, which now and then is rounded to the wrong side.
    assert changed_pixels(before, now, match)[middle].mean() < 0.002
    assert not changed_pixels(before, now, match, 1)[middle].any()
    if (down, across) != (0, 0):
        assert (before != now)[middle].mean() > 0.1


def test_the_share_of_pixels_that_change_is_counted(rng):
    picture = texture(rng)
    match = match_frames(view(picture, 0, 0), view(picture, 2, 4))
    before = np.ones((SIDE, SIDE), np.uint8)
    now = before.copy()
    now[30:50, 40:60] = 2
    changed = changed_pixels(before, now, match)
    np.testing.assert_array_equal(changed, now == 2)
    assert changed_pixels(before, now, match, 1).sum() == 400


def test_what_comes_in_from_outside_is_not_compared(rng):
    picture = texture(rng)
    match = match_frames(view(picture, 0, 0), view(picture, 0, 8))
    assert match.usable[:, :6].mean() < 0.05
    assert match.usable[20:-20, 20:-20].all()
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:, 40:] = True
    match = match_frames(view(picture, 0, 0), view(picture, 0, 8), inside)
    # Neither now nor in the frame before, eight pixels to the left.
    assert not match.usable[:, :47].any()
    assert match.usable[20:-20, 50:-20].all()


def test_a_cut_leaves_little_to_compare(rng):
    before, now = texture(rng), texture(rng)
    match = match_frames(before, now)
    assert match.usable.mean() < 0.5


def test_an_outline_that_moves_by_one_pixel_is_within_the_tolerance():
    before, now = np.zeros((2, SIDE, SIDE), np.uint8)
    before[20:60, 20:60], now[21:61, 21:61] = 3, 3
    assert changed_pixels(before, now, standing()).sum() == 2 * (40 + 39)
    assert not changed_pixels(before, now, standing(), 1).any()
    far = np.zeros((SIDE, SIDE), np.uint8)
    far[22:62, 20:60] = 3
    # Two rows go and two come; of each pair one is out of reach, but for the ends of the one that goes.
    assert changed_pixels(before, far, standing(), 1).sum() == 38 + 40
    assert not changed_pixels(before, far, standing(), 2).any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_changes_against_a_search_of_every_neighbour(seed, tolerance):
    rng = np.random.default_rng(seed)
    before, now = rng.integers(0, 5, (2, 9, 7)).astype(np.uint8)
    match = Match(rng.integers(0, 9, (9, 7)), rng.integers(0, 7, (9, 7)), rng.random((9, 7)) < 0.7)
    changed = changed_pixels(before, now, match, tolerance)
    for row, column in np.ndindex(9, 7):
        y, x = match.rows[row, column], match.columns[row, column]
        near = before[max(0, y - tolerance) : y + tolerance + 1, max(0, x - tolerance) : x + tolerance + 1]
        assert changed[row, column] == (match.usable[row, column] and now[row, column] not in near)


def test_moved_labels_read_where_the_match_says():
    before = np.arange(6, dtype=np.uint8).reshape(2, 3)
    rows, columns = np.array([[1, 1, 0], [0, 0, 0]]), np.array([[2, 0, 0], [1, 1, 2]])
    match = Match(rows, columns, np.ones((2, 3), bool))
    np.testing.assert_array_equal(moved_labels(before, match), [[5, 3, 0], [1, 1, 2]])


def test_agreement_leaves_out_what_is_background_in_both():
    first, second = np.zeros((2, 4, 4), np.uint8)
    assert face_agreement(first, second) == 1
    first[0, :3] = 1
    second[0, 1:] = 1
    assert face_agreement(first, second) == 2 / 4
    second[0, 1] = 2
    assert face_agreement(first, second) == 1 / 4


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([0.9, 0.9, 0.9], 0),
        ([0.891, 0.895, 0.89], 0),
        ([0.1, 0.9, 0.9], 1),
        ([0.1, 0.5, 0.9], 2),
        ([0.9, 0.5, 0.9], 2),
        ([0.9, 0.9, 0.5], None),
        ([0.1, 0.2, 0.3], None),
    ],
)
def test_frames_to_recover(after, expected):
    assert frames_to_recover(after, [0.9] * 3, 0.011) == expected
