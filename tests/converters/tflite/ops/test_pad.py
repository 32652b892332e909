"""Pad in all its modes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

TYPES = ["float32", "int32", "int64", "int8", "uint8", "int16", "bool"]
PADS = [0, 1, 2, 0, 0, 2, 1, 0]


def numbers(rng, shape, dtype="float32") -> np.ndarray:
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_modes(check, make_node_model, rng, mode, dtype):
    feeds = {"x": numbers(rng, (2, 3, 4, 5), dtype)}
    model = make_node_model("Pad", feeds, {"pads": np.array(PADS)}, opset=19, mode=mode)
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", [0, 1, 7])
def test_values(check, make_node_model, rng, value, dtype):
    feeds = {"x": numbers(rng, (2, 3, 4, 5), dtype)}
    constants = {"pads": np.array(PADS), "value": np.array(value, dtype)}
    check(make_node_model("Pad", feeds, constants), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["edge", "wrap"])
def test_more_than_the_axis_has(check, make_node_model, rng, mode):
    feeds = {"x": numbers(rng, (1, 2, 3))}
    model = make_node_model("Pad", feeds, {"pads": np.array([0, 3, 5, 0, 2, 4])}, opset=19, mode=mode)
    check(model, feeds, rtol=0, atol=0)


def test_axes(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3, 4, 5))}
    constants = {"pads": np.array([1, 2, 3, 4]), "value": np.float32(3), "axes": np.array([-1, 1])}
    check(make_node_model("Pad", feeds, constants), feeds, rtol=0, atol=0)


def test_attributes_of_old_opsets(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3, 4))}
    check(make_node_model("Pad", feeds, opset=10, pads=[0, 1, 2, 1, 0, 0], value=1.5), feeds, rtol=0, atol=0)
    check(
        make_node_model("Pad", feeds, opset=10, pads=[0, 1, 0, 0, 1, 2], mode="edge"), feeds, rtol=0, atol=0
    )


def test_negative_pads_cut_off(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3, 4, 5))}
    model = make_node_model("Pad", feeds, {"pads": np.array([0, -1, 2, -2, 0, 1, -1, -1])})
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("axes", [[2], [0, 6], [1, 3, 5], [0, 2, 4, 6]], ids=str)
def test_seven_axes(check, make_node_model, rng, axes, mode):
    feeds = {"x": numbers(rng, (2, 3, 2, 2, 2, 3, 2))}
    pads = np.array([int(axis in axes) for axis in range(7)] * 2)
    model = make_node_model("Pad", feeds, {"pads": pads, "value": np.float32(2)}, mode=mode)
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_pictures_are_padded_as_they_are_stored(check, make_model, rng, mode):
    x, weights = numbers(rng, (1, 3, 4, 5)), numbers(rng, (2, 3, 3, 3))
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"], mode=mode),
        helper.make_node("Conv", ["p", "w"], ["y"]),
    ]
    constants = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w": weights}
    ops = check(make_model(nodes, {"x": x}, constants=constants), {"x": x}, rtol=0, atol=0)
    assert "TRANSPOSE" not in ops


@pytest.mark.parametrize(
    ("pads", "mode", "reason"),
    [
        ([0, -1, 0, 0], "reflect", "negative pads"),
        ([0, -4, 0, 0], "constant", "cut a whole axis off"),
        ([0, 4, 0, 0], "reflect", "as long as the axis"),
        ([0, 1, 0, 0], "mirror", "mode 'mirror'"),
    ],
)
def test_refusals(refusals, make_model, pads, mode, reason):
    info = helper.make_tensor_value_info
    model = make_model(
        [helper.make_node("Pad", ["x", "pads"], ["y"], mode=mode, name="node")],
        {"x": np.ones((2, 4), np.float32)},
        constants={"pads": np.array(pads)},
    )
    del model.graph.output[:]
    model.graph.output.append(info("y", 1, [2, max(4 + pads[1], 0)]))
    assert reason in refusals(model)[0]


def test_pads_at_run_time_are_refused(refusals, make_node_model):
    feeds = {"x": np.ones((2, 3), np.float32), "pads": np.zeros(4, np.int64)}
    assert "depends on the values" in refusals(make_node_model("Pad", feeds))[0]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_pads(check, make_node_model, data):
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    pads = [data.draw(st.integers(0, size - 1 if mode == "reflect" else 3)) for size in shape * 2]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    model = make_node_model("Pad", {"x": x}, {"pads": np.array(pads)}, opset=19, mode=mode)
    check(model, {"x": x}, rtol=0, atol=0)
