"""Calibration runs the graph once over the samples, and finds the same ranges each time."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize.calibrate import METHODS, calibrate
from toolchain.converters.quantize.place import place_pairs, stored_values
from toolchain.converters.quantize.scheme import Range
from toolchain.errors import UnsupportedError, UsageError

RNG = np.random.default_rng(0)
NET = (
    "(float[1,3,16,16] x) => (float[1,4,16,16] y)"
    " { c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) y = Add(r, b) }"
)
CONSTANTS = {
    "w": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "b": RNG.standard_normal((4, 1, 1)).astype(np.float32),
}


@pytest.fixture
def net(graph):
    return graph(NET, **CONSTANTS)


def test_extremes_are_those_of_all_values(net, kit):
    feeds = kit.random_feeds(net, 5)
    found = calibrate(net, feeds)
    assert found.samples == 5
    assert list(found.ranges) == ["x", "c", "r", "y"]
    x = np.stack([feed["x"] for feed in feeds])
    y = np.stack([kit.run(net, feed, kit.ALL)["y"] for feed in feeds])
    assert found.ranges["x"] == Range(float(x.min()), float(x.max()))
    assert found.ranges["y"] == Range(float(y.min()), float(y.max()))
    assert found.ranges["r"].low == 0
    assert found.ranges["r"].high == found.ranges["c"].high


@pytest.mark.parametrize("method", sorted(METHODS))
def test_same_samples_same_ranges(net, kit, method):
    first, second = (calibrate(net, iter(kit.random_feeds(net, 4)), method) for _ in range(2))
    assert first == second
    for name, found in calibrate(net, kit.random_feeds(net, 4)).ranges.items():
        assert found.low <= first.ranges[name].low <= first.ranges[name].high <= found.high


@pytest.mark.parametrize("method", sorted(METHODS))
def test_memory_in_parts_changes_nothing(net, kit, method):
    whole = calibrate(net, kit.random_feeds(net, 2), method)
    assert calibrate(net, kit.random_feeds(net, 2), method, memory=1) == whole


def test_squared_error_is_better_than_the_extremes_where_there_are_outliers(net, kit):
    feeds = kit.random_feeds(net, 20)
    for feed in feeds[:2]:
        feed["x"][0, 0, 3, 3] = 60

    def noise(method):
        made = net.clone()
        place_pairs(made, calibrate(net, feeds, method).ranges)
        return sum(float(((kit.run(made, f)["y"] - kit.run(net, f)["y"]) ** 2).mean()) for f in feeds[2:])

    assert noise("mse") < noise("minmax")


def test_only_the_values_asked_for(net, kit):
    names = stored_values(net)
    assert names == ["x", "r", "y"]
    assert list(calibrate(net, kit.random_feeds(net), names=names).ranges) == names


def test_the_graph_stays_as_it_was(net, kit):
    before = kit.run(net, kit.random_feeds(net)[0])
    calibrate(net, kit.random_feeds(net))
    assert [value.name for value in net.graph.outputs] == ["y"]
    np.testing.assert_array_equal(kit.run(net, kit.random_feeds(net)[0])["y"], before["y"])


def test_progress_counts_samples(net, kit):
    seen = []
    calibrate(net, kit.random_feeds(net, 3), progress=seen.append)
    assert seen == [1, 2, 3]


def test_warnings_come_with_the_ranges(net, kit):
    found = calibrate(net, [{"x": np.full((1, 3, 16, 16), 9, np.float32)}] * 3, expected={"x": Range(-1, 1)})
    assert [warning[:20] for warning in found.warnings] == ["3 calibration sample", "input 'x' is 9 every"]


def test_integer_inputs_have_no_range(graph):
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    model = graph("(int64[3] i) => (float[3,2] y) { y = Gather(t, i) }", t=table)
    found = calibrate(model, [{"i": np.array([0, 1, 2])}])
    assert found.ranges == {"y": Range(0, 5)}


def test_nothing_to_calibrate_on(net):
    with pytest.raises(UsageError, match="no calibration samples"):
        calibrate(net, [])


def test_unknown_method(net):
    with pytest.raises(UsageError, match="'best' is unknown") as caught:
        calibrate(net, [], "best")
    assert "entropy" in caught.value.hint


@pytest.mark.parametrize("names", [None, ["y"]])
def test_the_first_layer_that_overflows_is_named(graph, names):
    model = graph("(float[2] x) => (float[2] y) { a = Abs(x) b = Exp(a) c = Exp(b) y = Sub(c, c) }")
    samples = [{"x": np.array([value, 0], np.float32)} for value in (1, 2, 5)]
    with pytest.raises(UnsupportedError) as caught:
        calibrate(model, samples, names=names)
    assert "(Exp) makes 1 NaN or infinite values in 'c' on calibration sample 2" in caught.value.message
    assert "first of 2" in caught.value.message


def test_a_sample_of_another_layout(net):
    good = np.zeros((1, 3, 16, 16), np.float32)
    with pytest.raises(UsageError, match="sample 1: 'x' is 1x16x16x3"):
        calibrate(net, [{"x": good}, {"x": good.transpose(0, 2, 3, 1)}])
