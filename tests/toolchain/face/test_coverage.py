"""Opacities from class probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from toolchain.face.coverage import NEVER_FLOOR, Lead, coverage

SIZE, EDGE = 64, (0.3, 0.8)
SHAPE = (90, 100)
SAME = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def scaled(scale, x=0.0, y=0.0):
    """Picture to crop: `scale` pixels of the crop a pixel of the picture."""
    return np.array([[scale, 0.0, x], [0.0, scale, y]])


def whole(found, shape=SHAPE):
    opacity = np.zeros(shape[:2], np.uint8)
    if found is not None:
        opacity[found.rows, found.columns] = found.opacity
    return opacity


def half_plane(position, softness=6.0, size=SIZE):
    """Probability that falls from 1 to 0 around a column."""
    across = np.clip(0.5 - (np.arange(size) - position) / softness, 0, 1)
    return np.repeat(across[None], size, axis=0).astype(np.float32)


@pytest.mark.parametrize("strength", [0.3, 0.7, 1.0])
def test_opacity_is_the_stated_function_of_the_probability(strength):
    plane = np.linspace(0, 1, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    share = np.clip((plane - EDGE[0]) / (EDGE[1] - EDGE[0]), 0, 1)
    found = whole(coverage(plane, SAME, (SIZE, SIZE), EDGE, strength), (SIZE, SIZE))
    np.testing.assert_allclose(found, 255 * strength * (3 * share**2 - 2 * share**3), atol=1.3)
    assert (found[plane <= EDGE[0]] == 0).all()


@given(
    st_numpy.arrays(np.float32, (16, 16), elements=st.floats(0, 1, width=32)),
    st_numpy.arrays(np.float32, (16, 16), elements=st.floats(0, 1, width=32)),
    st_numpy.arrays(np.float32, (16, 16), elements=st.floats(0, 1, width=32)),
    st.sampled_from([0.0, 1.3]),
    st.floats(0.4, 2.0),
)
@settings(deadline=None)
def test_more_probability_never_means_less_opacity(one, other, never, feather, scale):
    less, more = np.minimum(one, other), np.maximum(one, other)
    arguments = (scaled(scale, -2.3, 1.7), (30, 30), EDGE, 0.8, feather)
    low, high = (
        whole(coverage(plane, *arguments, Lead((plane,), never)), (30, 30)).astype(int)
        for plane in (less, more)
    )
    # The box, and with it the smoothing at its border, may differ: by less than a step.
    assert (low <= high + 1).all()


@pytest.mark.parametrize("scale", [0.4, 0.85, 1.0, 1.9])
@pytest.mark.parametrize("feather", [0.0, 1.3])
@pytest.mark.parametrize("shift", [0.25, 0.5, 1.0])
def test_an_edge_moves_as_far_as_the_probabilities_do(scale, feather, shift):
    """Position of the edge: opacity summed along a row, in pixels of the picture."""

    def edge(position):
        plane = half_plane(position)
        found = whole(coverage(plane, scaled(scale, 4.0, 4.0), SHAPE, EDGE, 1.0, feather))
        return found[3].sum() / 255

    assert edge(40.0 + shift * scale) - edge(40.0) == pytest.approx(shift, abs=0.05)


@pytest.mark.parametrize("shift", [0.25, 0.5])
def test_an_edge_moves_as_far_as_the_crop_does(shift):
    plane = half_plane(30.0)
    edges = [
        whole(coverage(plane, scaled(0.8, 4.0 - 0.8 * moved, 4.0), SHAPE, EDGE, 1.0, 1.3))[20].sum() / 255
        for moved in (0.0, shift)
    ]
    assert edges[1] - edges[0] == pytest.approx(shift, abs=0.05)


@given(
    st_numpy.arrays(np.float32, (16, 16), elements=st.floats(0, 1, width=32)),
    st_numpy.arrays(np.float32, (16, 16), elements=st.floats(0, 1, width=32)),
)
@settings(deadline=None)
def test_nothing_is_painted_where_something_else_is_as_probable(plane, never):
    lead = Lead((plane / 3, 2 * plane / 3), never)
    found = whole(coverage(plane, SAME, (16, 16), EDGE, 1.0, 1.3, lead), (16, 16))
    assert (found[(never >= lead.rivals[1]) & (never >= NEVER_FLOOR)] == 0).all()


def test_what_must_not_be_painted_leaves_the_outer_edge_alone():
    plane, nothing = half_plane(30.0), np.zeros((SIZE, SIZE), np.float32)
    free = coverage(plane, SAME, SHAPE, EDGE, 1.0, 1.3)
    guarded = coverage(plane, SAME, SHAPE, EDGE, 1.0, 1.3, Lead((plane,), nothing))
    np.testing.assert_array_equal(guarded.opacity, free.opacity)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("feather", [0.0, 2.5])
def test_the_box_holds_all_that_the_whole_picture_would(rng, scale, feather):
    """A single probable pixel at the edge keeps the box from being cut."""
    plane = np.zeros((SIZE, SIZE), np.float32)
    plane[20:40, 25:35] = 1.0
    matrix = scaled(scale, 3.3, 2.1)
    small = whole(coverage(plane, matrix, SHAPE, EDGE, 1.0, feather))
    # Corners just above the lower edge make the box the whole crop and are hardly visible themselves.
    wide = plane.copy()
    wide[[0, -1], [0, -1]] = EDGE[0] + 1e-3
    np.testing.assert_allclose(whole(coverage(wide, matrix, SHAPE, EDGE, 1.0, feather)), small, atol=1)


@pytest.mark.parametrize(
    ("plane", "matrix", "strength"),
    [
        (np.full((SIZE, SIZE), 0.3, np.float32), SAME, 1.0),
        (np.ones((SIZE, SIZE), np.float32), scaled(1.0, 500.0), 1.0),
        (np.ones((SIZE, SIZE), np.float32), SAME, 0.0),
    ],
)
def test_there_is_none_where_all_is_zero(plane, matrix, strength):
    assert coverage(plane, matrix, SHAPE, EDGE, strength) is None
