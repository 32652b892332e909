"""Elements read from, or written to, places that are given by indices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

TYPES = ["float32", "int32", "int64", "int8", "uint8", "int16", "bool"]
INDICES = {
    "scalar": np.array(1),
    "negative scalar": np.array(-1),
    "neighbours": np.array([1, 2]),
    "any": np.array([2, 0, -1]),
    "matrix": np.array([[0, 2], [-2, 1]]),
}


def numbers(rng, shape, dtype="float32") -> np.ndarray:
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", INDICES.values(), ids=INDICES)
def test_gather(check, make_node_model, rng, indices, axis, constant):
    feeds = {"x": numbers(rng, (3, 4, 5))}
    given = {"indices": indices}
    if not constant:
        feeds, given = feeds | given, {}
    check(make_node_model("Gather", feeds, given, axis=axis), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", TYPES)
def test_types(check, make_node_model, rng, dtype):
    feeds = {"x": numbers(rng, (3, 4), dtype), "indices": np.array([2, -3, 0], np.int32)}
    check(make_node_model("Gather", feeds, axis=1), feeds, rtol=0, atol=0)


def test_neighbours_are_sliced(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (3, 4))}
    assert "GATHER" not in check(make_node_model("Gather", feeds, {"i": np.array([1, 2, 3])}, axis=1), feeds)


def test_channels_are_gathered_where_they_are_stored(check, make_model, rng):
    x, weights = numbers(rng, (1, 3, 4, 5)), numbers(rng, (3, 3, 1, 1))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("Gather", ["v", "i"], ["y"], axis=1),
    ]
    model = make_model(nodes, {"x": x}, constants={"w": weights, "i": np.array([2, 1, 0])})
    assert check(model, {"x": x}, rtol=0, atol=0) == {"CONV_2D": 1, "GATHER": 1}


def test_seven_axes(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 1, 2, 3, 2, 1, 2))}
    check(make_node_model("Gather", feeds, {"i": np.array([[2, 0]])}, axis=3), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_gather_elements(check, make_node_model, rng, dtype, axis, constant):
    feeds = {"x": numbers(rng, (3, 3, 3), dtype)}
    given = {"indices": rng.integers(-3, 3, (2, 3, 2))}
    if not constant:
        feeds, given = feeds | given, {}
    check(make_node_model("GatherElements", feeds, given, axis=axis), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("depth", "batch"),
    [((4, 1), 0), ((4, 2), 0), ((2, 2, 3), 0), ((2, 1), 1), ((2, 5, 2), 1), ((2, 3, 1), 2)],
)
def test_gather_nd(check, make_node_model, rng, depth, batch, constant):
    feeds = {"x": numbers(rng, (2, 3, 4))}
    limit = np.array((2, 3, 4)[batch : batch + depth[-1]])
    given = {"indices": rng.integers(-limit, limit, depth)}
    if not constant:
        feeds, given = feeds | given, {}
    check(make_node_model("GatherND", feeds, given, batch_dims=batch), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("reduction", ["none", "add"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int8"])
def test_scatter_nd(check, make_node_model, rng, dtype, reduction, constant):
    feeds = {"x": numbers(rng, (4, 3), dtype), "updates": numbers(rng, (2, 3), dtype)}
    indices = {"indices": np.array([[-1], [1]])}
    given = indices if constant else {}
    feeds = feeds if constant else feeds | indices
    order = ["x", "indices", "updates"]
    model = make_node_model("ScatterND", feeds, given, order=order, reduction=reduction)
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("reduction", ["none", "add"])
@pytest.mark.parametrize("axis", [0, -1])
def test_scatter_elements(check, make_node_model, rng, axis, reduction, constant):
    feeds = {"x": numbers(rng, (4, 3)), "updates": numbers(rng, (2, 2))}
    indices = {"indices": np.array([[0, -2], [2, 1]])}
    given = indices if constant else {}
    feeds = feeds if constant else feeds | indices
    order = ["x", "indices", "updates"]
    model = make_node_model("ScatterElements", feeds, given, order=order, axis=axis, reduction=reduction)
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("op_type", ["ScatterND", "ScatterElements"])
def test_other_reductions_are_refused(refusals, make_node_model, op_type):
    feeds = {"x": np.ones((4, 1), np.float32), "i": np.array([[1]]), "u": np.ones((1, 1), np.float32)}
    assert "reduction 'max'" in refusals(make_node_model(op_type, feeds, reduction="max"))[0]


@pytest.mark.parametrize("op_type", ["Gather", "GatherElements"])
def test_indices_beyond_the_axis_are_refused(refusals, make_node_model, op_type):
    model = make_node_model(op_type, {"x": np.ones((4, 1), np.float32)}, {"i": np.array([[4]])})
    assert "beyond the axis" in refusals(model)[0]


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "uint8"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("indices", ["int64", "int32", "float32", "uint8"])
def test_one_hot(check, make_node_model, indices, axis, dtype):
    given = [0, 3, 2, 9] if indices == "uint8" else [0, -1, 2, 7, -9]
    feeds = {"indices": np.array(given, indices)}
    constants = {"depth": np.array(4), "values": np.array([0, 5]).astype(dtype)}
    check(make_node_model("OneHot", feeds, constants, axis=axis), feeds, rtol=0, atol=0)


def test_one_hot_of_values_at_run_time_is_refused(refusals, make_node_model):
    feeds = {"indices": np.array([1, 2]), "values": np.array([0, 1], np.float32)}
    order = ["indices", "depth", "values"]
    model = make_node_model("OneHot", feeds, {"depth": np.array(4)}, order=order)
    assert "pair of values" in refusals(model)[0]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_gathers(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    form = data.draw(st.lists(st.integers(1, 3), max_size=2))
    limit = shape[axis]
    indices = np.random.default_rng(limit).integers(-limit, limit, form)
    feeds = {"x": np.arange(np.prod(shape), dtype=np.float32).reshape(shape)}
    given = {"indices": np.asarray(indices)}
    if data.draw(st.booleans()):
        feeds, given = feeds | given, {}
    check(make_node_model("Gather", feeds, given, axis=axis), feeds, rtol=0, atol=0)
