"""Equalizing in the middle of a calibration shows the same as calibrating the equalized graph."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize import ledger
from toolchain.converters.quantize.calibrate import METHODS, calibrate
from toolchain.converters.quantize.equalize import equalize
from toolchain.converters.quantize.ledger import samples_enough
from toolchain.converters.quantize.place import stored_values
from toolchain.errors import UnsupportedError

NETS = {
    "depthwise": """(float[1,3,64,64] x) => (float[1,4,64,64] y) {
        c = Conv(x, w, b) r = Relu(c) d = Conv<group=8, pads=[1,1,1,1]>(r, k) s = Clip(d, low, six)
        y = Conv(s, v)
    }""",
    "moved": """(float[2,3,64,64] x) => (float[2,4,64,64] y) {
        c = Conv(x, w, b) d = Conv(x, w2) s = Add(c, d) y = Conv(s, v)
    }""",
}


def network(graph, name):
    random = np.random.default_rng(0)
    widths = (10 ** random.uniform(-2, 0, 8)).reshape(-1, 1, 1, 1)
    constants = {
        "w": random.standard_normal((8, 3, 1, 1)) * widths,
        "w2": random.standard_normal((8, 3, 1, 1)) * widths,
        "b": random.standard_normal(8) * 3 * widths.reshape(-1),
        "k": random.standard_normal((8, 1, 3, 3)) / 3,
        "v": random.standard_normal((4, 8, 1, 1)),
        "low": np.zeros(()),
        "six": np.array(6.0),
    }
    text = NETS[name]
    used = {
        key: array.astype(np.float32)
        for key, array in constants.items()
        if f"{key}," in text or f"{key})" in text
    }
    return graph(text, **used)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("name", sorted(NETS))
def test_first_samples_need_no_second_run(graph, kit, name, method):
    once, twice = network(graph, name), network(graph, name)
    feeds = kit.random_feeds(once, 6)
    names = stored_values(once)
    found = calibrate(once, iter(feeds), method, names=names, equalized=3)
    assert equalize(twice, feeds[:3])
    wanted = calibrate(twice, feeds, method, names=names)
    for one, other in zip(once.graph.initializers.values(), twice.graph.initializers.values(), strict=True):
        np.testing.assert_allclose(one.const_value.numpy(), other.const_value.numpy(), rtol=1e-6)
    assert found.samples == wanted.samples == 6
    assert list(found.ranges) == list(wanted.ranges) == names
    for value, expected in wanted.ranges.items():
        span = expected.high - expected.low
        # What lies at the edge of a bin is rounded into either.
        tolerance = 1e-5 * span if method == "minmax" else 0.02 * span
        assert found.ranges[value].low == pytest.approx(expected.low, abs=tolerance)
        assert found.ranges[value].high == pytest.approx(expected.high, abs=tolerance)


def test_a_graph_with_nothing_to_equalize_is_calibrated(graph, kit):
    model = graph("(float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Abs(x) }")
    feeds = kit.random_feeds(model, 5)
    assert calibrate(model, feeds, equalized=3) == calibrate(model, feeds)


@pytest.mark.parametrize(
    ("text", "names", "samples"),
    [
        ("(float[1,128,256] x) => (float[1,128,256] y) { y = Abs(x) }", {"x", "y"}, 32),
        ("(float[1,16,16] x) => (float[1,16,16] y) { y = Abs(x) }", {"x", "y"}, 128),
        ("(float[1,16,16] x) => (float[1,1,1] y) { y = ReduceMax(x) }", {"x"}, 128),
        ("(float[1,16,16] x) => (float[1,1,1] y) { y = ReduceMax(x) }", {"x", "y"}, 32768),
        ("(float[1,0] x) => (float[1,0] y) { y = Abs(x) }", {"x"}, 32),
    ],
)
def test_so_many_samples_that_every_value_shows_enough_numbers(graph, text, names, samples):
    assert samples_enough(graph(text), names) == samples


def test_values_whose_sizes_vary_have_no_number_of_samples_that_is_enough(graph):
    model = graph("(float[1,4] x) => (float[1,4] y) { c = Abs(x) y = Neg(c) }")
    model.graph.node(0).outputs[0].shape = None
    assert samples_enough(model, {"x", "y"}) is not None
    assert samples_enough(model, {"x", "c"}) is None


@pytest.mark.parametrize(
    ("method", "count", "told"), [("mse", 60, False), ("mse", 30, True), ("minmax", 60, True)]
)
def test_extremes_that_still_grow_are_told_where_more_samples_would_help(
    graph, monkeypatch, method, count, told
):
    monkeypatch.setattr(ledger, "SHOWN", 40)
    model = graph("(float[1,4] x) => (float[1,4] y) { y = Abs(x) }")
    feeds = [{"x": np.array([[-1, 0, 1, number]], np.float32)} for number in range(count)]
    found = calibrate(model, feeds, method)
    assert found.samples == count
    assert any("have not settled" in warning for warning in found.warnings) is told


@pytest.mark.parametrize("names", [["c", "y"], ["y"]])
def test_infinity_on_the_first_samples_is_refused(graph, kit, names):
    model = graph(
        "(float[1,3,4,4] x) => (float[1,4,4,4] y) { c = Conv(x, w) r = Relu(c) y = Conv(r, v) }",
        w=np.full((8, 3, 1, 1), 10, np.float32),
        v=np.ones((4, 8, 1, 1), np.float32),
    )
    feeds = kit.random_feeds(model, 3)
    feeds[1]["x"][:, :, 0, 0] = 3e38
    with pytest.raises(UnsupportedError, match="NaN or infinite values in 'c' on calibration sample 1"):
        calibrate(model, feeds, "mse", names=names, equalized=3)


def test_values_beyond_the_squares_of_floats_are_left_unequalized(graph, kit):
    model = network(graph, "depthwise")
    before = [tensor.const_value.numpy().copy() for tensor in model.graph.initializers.values()]
    feeds = kit.random_feeds(model, 3)
    feeds[1]["x"][0, 0, 0, 0] = 3e30
    assert calibrate(model, feeds, "mse", equalized=3).samples == 3
    for tensor, array in zip(model.graph.initializers.values(), before, strict=True):
        np.testing.assert_array_equal(tensor.const_value.numpy(), array)
