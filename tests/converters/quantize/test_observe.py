"""Histograms are exact in any order; extremes, samples and runs in parts give what one run of all would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.quantize.observe import (
    BINS,
    SAMPLED,
    Extremes,
    Histogram,
    Watcher,
    optimization_level,
    spread_sample,
)

FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)


def filled(parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(np.array(part, np.float32))
    return histogram


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(FLOATS, min_size=1, max_size=8), min_size=1, max_size=6), st.randoms())
def test_counts_do_not_depend_on_the_order(parts, random):
    once = filled([[value for part in parts for value in part]])
    random.shuffle(parts)
    other = filled(parts)
    assert (once.exponent, once.first, once.zeros) == (other.exponent, other.first, other.zeros)
    np.testing.assert_array_equal(once.counts, other.counts)
    assert once.counts.sum() == sum(len(part) for part in parts)


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_every_value_lies_in_its_bin(values):
    histogram = filled([values])
    expected, _ = np.histogram(np.array(values, np.float32).astype(np.float64), histogram.edges)
    # The last bin of np.histogram is closed, ours are half open; no value lies on the last edge.
    np.testing.assert_array_equal(histogram.counts, expected)


def test_bins_are_narrow():
    histogram = filled([[0.0], [1.0], [100.0]])
    assert histogram.width == 2.0**-6
    assert 100 / histogram.width < BINS <= 2 * 100 / histogram.width
    assert histogram.zeros == 1


@pytest.mark.parametrize("value", [0.0, 5.0, -1e-40, 3e38])
def test_one_value(value):
    histogram = filled([[value], [value]])
    assert histogram.counts.max() == 2


def test_samples_are_few_and_cover_all_columns():
    values = np.arange(1024 * 1024).reshape(1024, 1024)
    taken = [spread_sample(values, turn) for turn in range(20)]
    assert all(SAMPLED * 0.9 < sample.size <= SAMPLED for sample in taken)
    assert len({int(sample[0]) for sample in taken}) > 15
    assert len(set(taken[0] % 1024)) == 1024
    assert spread_sample(np.arange(7), 3).tolist() == list(range(7))


@pytest.mark.parametrize("samples", [2, 3, 10, 100, 1000])
def test_growth_is_that_since_half_of_the_samples(samples):
    extremes = Extremes(["grows", "settled", "wakes"])
    for number in range(1, samples + 1):
        late = 1.0 if number == samples else 0.0
        extremes.add(np.array([0.0, -1, 0]), np.array([number, 1.0, late]))
    count, growth = extremes.growth()
    assert count == pytest.approx(samples / 2, rel=0.15, abs=1)
    np.testing.assert_allclose(growth, [samples / count - 1, 0, np.inf])


def test_parts_give_the_same_values(graph, kit):
    model = graph("(float[2,3] x) => (float[2,3] y) { a = Abs(x) b = Exp(a) c = Sin(b) y = Add(c, x) }")
    feed = kit.random_feeds(model)[0]
    names = ["x", "a", "b", "c", "y"]
    whole, parts = Watcher(model, names), Watcher(model, names, memory=48)
    assert (len(whole.parts), len(parts.parts)) == (1, 2)
    first, second = dict(whole.run(feed)), dict(parts.run(feed))
    assert list(first) == list(second) == names
    for name in names:
        np.testing.assert_array_equal(first[name], second[name])
    np.testing.assert_array_equal(first["a"], np.abs(feed["x"]))


@pytest.mark.parametrize("memory", [48, 1 << 20])
def test_reused_memory_holds_the_same_values(graph, kit, memory):
    """Of all sizes, empty ones among them, in one part and in several."""
    model = graph(
        "(float[2,3] x, float[0,3] none) => (float[4,3] y, float[2,3] z, float[0,3] n)"
        " { a = Abs(x) n = Abs(none) b = Exp(a) y = Concat<axis=0>(b, x) z = Sin(b) }"
    )
    names = ["x", "a", "n", "b", "y", "z"]
    fresh, reused = Watcher(model, names, memory), Watcher(model, names, memory, reuse=True)
    assert len(fresh.parts) == len(reused.parts) == (3 if memory == 48 else 1)
    places: list[int] = []
    for _ in range(2):
        feed = {name: array + len(places) for name, array in kit.random_feeds(model)[0].items()}
        expected = dict(fresh.run(feed))
        for name, array in reused.run(feed):
            np.testing.assert_array_equal(array, expected[name])
            places += [array.ctypes.data] if name == "b" else []
    assert places[0] == places[1]


def test_the_runtimes_own_optimizations_keep_the_values(graph, kit):
    weights = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    model = graph(
        "(float[1,3,9,9] x) => (float[1,16,7,7] y)"
        " { c = Conv(x, w) r = Relu(c) s = Sigmoid(r) y = Add(s, r) }",
        w=weights,
    )
    names = ["c", "r", "y"]
    plain, fast = Watcher(model, names), Watcher(model, names, reuse=True, optimized=True)
    for feed in kit.random_feeds(model, 2):
        expected = dict(plain.run(feed))
        for name, array in fast.run(feed):
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("side", "level"), [(10, "ORT_ENABLE_ALL"), (9, "ORT_ENABLE_EXTENDED")])
def test_layouts_are_chosen_where_each_weight_is_used_often(graph, side, level):
    """A kernel of 3 x 3 is used at 8 x 8 places of 10 x 10, and at 7 x 7 of 9 x 9."""
    model = graph(
        f"(float[1,3,{side},{side}] x) => (float[1,4,{side - 2},{side - 2}] y) {{ y = Conv(x, w) }}",
        w=np.zeros((4, 3, 3, 3), np.float32),
    )
    assert optimization_level(model, optimized=True) == level
    assert optimization_level(model, optimized=False) == "ORT_DISABLE_ALL"
