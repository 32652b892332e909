"""Places of the largest and smallest elements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 3, -2])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_arg(check, make_node_model, rng, op_type, axis, keepdims, last):
    """Few different values, so that many are equal."""
    feeds = {"x": rng.integers(0, 3, (2, 5, 3, 4)).astype(np.float32)}
    model = make_node_model(op_type, feeds, axis=axis, keepdims=keepdims, select_last_index=last)
    assert "TRANSPOSE" not in check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int16"])
def test_arg_of_integers(check, make_node_model, rng, dtype):
    feeds = {"x": rng.integers(0, 100, (4, 9)).astype(dtype)}
    check(make_node_model("ArgMax", feeds, axis=1), feeds, rtol=0, atol=0)


def test_arg_of_int64_is_refused(refusals, make_node_model):
    assert "ArgMax of int64" in refusals(make_node_model("ArgMax", {"x": np.ones((2, 3), np.int64)}))[0]


def test_labels_of_a_segmentation_network(check, make_model, rng):
    feeds = {"x": rng.standard_normal((1, 3, 8, 6)).astype(np.float32)}
    weights = rng.standard_normal((5, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("ArgMax", ["v"], ["y"], axis=1, keepdims=0),
    ]
    ops = check(make_model(nodes, feeds, constants={"w": weights}), feeds, rtol=0, atol=0)
    assert ops == {"CONV_2D": 1, "ARG_MAX": 1}


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "int8", "uint8"])
def test_top_k(check, make_node_model, rng, dtype, axis, largest):
    feeds = {"x": rng.integers(0, 4, (4, 6, 5)).astype(dtype)}
    model = make_node_model(
        "TopK", feeds, {"k": np.array([3])}, outputs=("values", "places"), axis=axis, largest=largest
    )
    check(model, feeds, rtol=0, atol=0)


def test_top_k_of_the_lowest_integers(check, make_node_model):
    feeds = {"x": np.array([[5, -(2**31), 2**31 - 1, 0, -1]], np.int32)}
    model = make_node_model("TopK", feeds, {"k": np.array([4])}, outputs=("v", "i"), largest=0)
    check(model, feeds, rtol=0, atol=0)


def test_top_k_at_run_time_is_refused(make_model, to_tflite):
    """The size of its output would depend on a value."""
    from toolchain.errors import UnsupportedOpsError

    feeds = {"x": np.ones((2, 3), np.float32), "k": np.array([2])}
    node = helper.make_node("TopK", ["x", "k"], ["v", "i"], name="node")
    with pytest.raises(UnsupportedOpsError, match="depends on the values"):
        to_tflite(make_model(node, feeds, ["v", "i"]))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_top_k(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.integers(1, shape[axis]))
    feeds = {"x": np.random.default_rng(count).integers(-3, 3, shape).astype(np.float32)}
    model = make_node_model(
        "TopK",
        feeds,
        {"k": np.array([count])},
        outputs=("v", "i"),
        axis=axis,
        largest=data.draw(st.integers(0, 1)),
    )
    check(model, feeds, rtol=0, atol=0)
