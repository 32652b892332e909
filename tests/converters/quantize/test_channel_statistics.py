"""Figures per channel, whatever the shape, are those of numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize.channel_statistics import BLOCK, channel_statistics, figures_of

SHAPES = [
    ((1, 3, 70, 70), 1),
    ((1, 3, 64, BLOCK // 64), 1),
    ((2, 5, 3), 1),
    ((4, 7), 1),
    ((2, 6, 5), 2),
    ((1, 4, 1, 1), 1),
]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_figures_are_those_of_the_numbers(shape, axis):
    array = (np.random.default_rng(0).standard_normal(shape) + 3).astype(np.float32)
    found = figures_of(array, axis)
    wide, others = array.astype(np.float64), tuple(a for a in range(len(shape)) if a != axis)
    np.testing.assert_array_equal(found.low, wide.min(axis=others))
    np.testing.assert_array_equal(found.high, wide.max(axis=others))
    np.testing.assert_allclose(found.mean, wide.mean(axis=others), rtol=1e-6)
    np.testing.assert_allclose(found.mean_square, (wide**2).mean(axis=others), rtol=1e-6)


def test_figures_of_inputs_and_of_values_inside(graph, kit):
    model = graph("(float[2,3,4] x) => (float[2,3,4] y) { a = Abs(x) y = Sqrt(a) }")
    feeds = kit.random_feeds(model, 3)
    found = channel_statistics(model, {"x": 1, "a": 2}, feeds)
    x = np.stack([feed["x"] for feed in feeds]).astype(np.float64)
    np.testing.assert_allclose(found["x"].mean, x.mean(axis=(0, 1, 3)), rtol=1e-5)
    np.testing.assert_array_equal(found["a"].high, np.abs(x).max(axis=(0, 1, 2)))
    np.testing.assert_allclose(found["a"].mean_square, (x**2).mean(axis=(0, 1, 2)), rtol=1e-6)
