"""Cutting the region out, and putting the result back where it came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.face.region import (
    Box,
    Square,
    central_square,
    crop,
    crop_matrix,
    face_square,
    unwarp_labels,
    whole_square,
)

squares = st.builds(Square, st.floats(-300, 300), st.floats(-300, 300), st.floats(4, 900))


def one_hot(labels, classes=3):
    """(classes, height, width) float32."""
    return np.stack([labels == label for label in range(classes)]).astype(np.float32)


def ramp(height, width):
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x, y, np.zeros_like(x)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "margin", "shift", "square"),
    [
        (Box(10, 20, 40, 40), 1.0, 0.0, Square(10, 20, 40)),
        (Box(10, 20, 40, 40), 2.0, 0.0, Square(-10, 0, 80)),
        (Box(10, 20, 40, 40), 1.5, -0.1, Square(0, 6, 60)),
        (Box(10, 20, 40, 20), 1.0, 0.25, Square(10, 20, 40)),
    ],
)
def test_region_of_a_box(box, margin, shift, square):
    assert face_square(box, margin, shift) == square


def test_regions_of_a_whole_picture():
    assert whole_square(100, 160) == Square(0, -30, 160)
    assert central_square(100, 160) == Square(30, 0, 100)


@given(squares, st.integers(8, 512))
def test_the_edges_of_the_square_are_the_edges_of_the_crop(square, size):
    matrix = crop_matrix(square, size)
    corners = np.array([[square.x, square.y], [square.x + square.side, square.y + square.side]]) - 0.5
    mapped = corners @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(mapped, [[-0.5, -0.5], [size - 0.5, size - 0.5]], atol=1e-6 * size)


@pytest.mark.parametrize("resize", ["bilinear", "area"])
def test_a_crop_of_the_same_size_copies_pixels(resize):
    picture = ramp(60, 50)
    cut = crop(picture, crop_matrix(Square(7, 12, 30), 30), 30, resize)
    np.testing.assert_array_equal(cut, picture[12:42, 7:37])


def test_outside_of_the_picture_a_crop_is_black():
    picture = np.full((20, 20, 3), 200, np.uint8)
    cut = crop(picture, crop_matrix(Square(-10, -5, 40), 40), 40)
    expected = np.zeros((40, 40, 3), np.uint8)
    expected[5:25, 10:30] = 200
    np.testing.assert_array_equal(cut, expected)


@given(squares, st.sampled_from([32, 64]), st.sampled_from(["bilinear", "area"]))
def test_every_pixel_of_a_crop_shows_its_place_in_the_picture(square, size, resize):
    picture = ramp(240, 250)
    matrix = crop_matrix(square, size)
    cut = crop(picture, matrix, size, resize)
    step = square.side / size
    x, y = (start + (np.arange(size) + 0.5) * step - 0.5 for start in (square.x, square.y))
    # Up to two steps from the edge, blocks and the black surroundings mix with the picture.
    edge = 2 * step + 1
    across = np.flatnonzero((x > edge) & (x < 249 - edge))
    down = np.flatnonzero((y > edge) & (y < 239 - edge))
    inside = cut[np.ix_(down, across)].astype(float)
    # Values are rounded once by the interpolation, which takes places to 1/32 of a pixel, and once more
    # by the average over blocks, whose pixels are larger.
    atol = 0.6 if resize == "bilinear" else 1.0 + step / 32
    np.testing.assert_allclose(inside[:, :, 0], np.broadcast_to(x[across], inside.shape[:2]), atol=atol)
    np.testing.assert_allclose(inside[:, :, 1], np.broadcast_to(y[down, None], inside.shape[:2]), atol=atol)


@pytest.mark.parametrize("step", [2, 3, 4, 6, 8, 11])
def test_area_averages_what_bilinear_skips(rng, step):
    picture = rng.integers(0, 256, (32 * step, 32 * step, 3)).astype(np.uint8)
    matrix = crop_matrix(Square(0, 0, 32 * step), 32)
    means = picture.reshape(32, step, 32, step, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop(picture, matrix, 32, "area"), means, atol=1)
    if step > 2:
        assert np.abs(crop(picture, matrix, 32, "bilinear") - means).mean() > 20


def test_an_unknown_resize_rule_is_refused():
    with pytest.raises(UnsupportedError, match="'cubic'"):
        crop(ramp(9, 9), crop_matrix(Square(0, 0, 9), 9), 9, "cubic")


@given(
    x=st.integers(-30, 80),
    y=st.integers(-30, 60),
    classes=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(8, 24),
)
def test_labels_come_back_to_the_pixels_they_were_cut_from(x, y, classes, seed, size):
    labels = np.random.default_rng(seed).integers(0, classes, (50, 70)).astype(np.uint8)
    square = Square(x, y, size)
    cut = np.zeros((size, size), np.uint8)
    expected = np.zeros_like(labels)
    rows = slice(np.clip(y, 0, 50), np.clip(y + size, 0, 50))
    columns = slice(np.clip(x, 0, 70), np.clip(x + size, 0, 70))
    expected[rows, columns] = labels[rows, columns]
    if rows.start < rows.stop and columns.start < columns.stop:
        cut[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = labels[rows, columns]
    back = unwarp_labels(one_hot(cut, classes), crop_matrix(square, size), labels.shape)
    np.testing.assert_array_equal(back, expected)


@given(
    block=st.sampled_from([1, 2, 4]),
    scale=st.sampled_from([1, 2]),
    sharpness=st.floats(0.5, 12),
    spots=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(1, 3)), max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_means_of_blocks_find_the_same_labels(block, scale, sharpness, spots, seed):
    """Also those of a class that is probable in a single pixel."""
    scores = np.random.default_rng(seed).normal(size=(4, 16, 16)) * sharpness
    scores[0] += 2 * sharpness
    for x, y, label in spots:
        scores[label, y, x] += 8 * sharpness
    planes = (np.exp(scores) / np.exp(scores).sum(axis=0)).astype(np.float32)
    side = 16 // block
    means = planes.reshape(4, side, block, side, block).mean(axis=(2, 4))
    matrix = crop_matrix(Square(3, 5, 16 * scale), 16)
    found = unwarp_labels(planes, matrix, (50, 50), overview=means)
    np.testing.assert_array_equal(found, unwarp_labels(planes, matrix, (50, 50)))


def disc(size, radius):
    """Probability of a centred disc of `radius` (share of the side), as averages over the pixels."""
    fine = (np.arange(size * 8) + 0.5) / (size * 8) - 0.5
    inside = np.hypot(fine[:, None], fine) < radius
    return inside.reshape(size, 8, size, 8).mean(axis=(1, 3)).astype(np.float32)


def test_outlines_of_an_enlarged_map_are_smooth():
    probability = disc(32, 0.3)
    planes = np.stack([1 - probability, probability])
    large = unwarp_labels(planes, crop_matrix(Square(0, 0, 512), 32), (512, 512))
    truth = disc(512, 0.3) > 0.5
    wrong = (large != truth).mean()
    steps = np.kron(planes.argmax(0), np.ones((16, 16)))
    assert wrong < 0.004
    assert wrong < 0.3 * (steps != truth).mean()


def test_rotated_regions_come_back_too():
    labels = np.zeros((80, 80), np.uint8)
    labels[30:50, 20:60] = 1
    turn = np.deg2rad(30)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.hstack([rotation, (31.5 - rotation @ [39.5, 39.5])[:, None]])
    cut = crop(np.dstack([labels * 255] * 3), matrix, 64)[:, :, 0].astype(np.float32) / 255
    back = unwarp_labels(np.stack([1 - cut, cut]), matrix, labels.shape)
    assert (back != labels).mean() < 0.005
