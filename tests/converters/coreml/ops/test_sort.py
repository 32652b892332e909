"""Places of the largest and smallest elements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper


def places(axis: int) -> list:
    """One node for each variant of ArgMax and ArgMin."""
    return [
        helper.make_node(
            op_type, ["x"], [f"{op_type}{keep}{last}"], axis=axis, keepdims=keep, select_last_index=last
        )
        for op_type in ("ArgMax", "ArgMin")
        for keep in (0, 1)
        for last in (0, 1)
    ]


@pytest.mark.parametrize("axis", [0, 1, 3, -2])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_arg(check, make_model, rng, dtype, axis):
    """Few different values, so that many are equal."""
    feeds, nodes = {"x": rng.integers(0, 3, (2, 5, 3, 4)).astype(dtype)}, places(axis)
    check(make_model(nodes, feeds, [node.output[0] for node in nodes]), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_arg_of_one_axis(check, make_model, rng, dtype):
    feeds, nodes = {"x": rng.integers(0, 100, (9,)).astype(dtype)}, places(0)
    check(make_model(nodes, feeds, [node.output[0] for node in nodes]), feeds, rtol=0, atol=0)


def test_labels_of_a_segmentation_network(check, make_node_model, rng):
    feeds = {"x": rng.standard_normal((1, 3, 8, 6)).astype(np.float32)}
    assert check(make_node_model("ArgMax", feeds, axis=1, keepdims=0), feeds) == {"reduce_argmax": 1}


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_top_k(check, make_model, rng, dtype, axis):
    feeds = {"x": rng.permutation(120).reshape(4, 6, 5).astype(dtype)}
    nodes = [
        helper.make_node("TopK", ["x", "k"], [f"v{n}", f"i{n}"], axis=axis, largest=n, name=f"node{n}")
        for n in (0, 1)
    ]
    outputs = ["v0", "i0", "v1", "i1"]
    check(make_model(nodes, feeds, outputs, {"k": np.array([3])}), feeds, rtol=0, atol=0)


def test_top_k_of_which_only_the_places_are_used(check, make_node_model, rng):
    feeds = {"x": rng.permutation(20).reshape(4, 5).astype(np.float32)}
    model = make_node_model("TopK", feeds, {"k": np.array([2])}, outputs=("", "i"))
    check(model, feeds, rtol=0, atol=0)


def test_top_k_with_k_as_an_attribute(check, make_node_model, rng):
    feeds = {"x": rng.permutation(20).reshape(4, 5).astype(np.float32)}
    check(make_node_model("TopK", feeds, outputs=("v", "i"), opset=9, k=2), feeds, rtol=0, atol=0)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_places(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    op_type = data.draw(st.sampled_from(["ArgMax", "ArgMin"]))
    feeds = {"x": np.random.default_rng(len(shape)).integers(-3, 3, shape).astype(np.float32)}
    attributes = {"keepdims": data.draw(st.integers(0, 1)), "select_last_index": data.draw(st.integers(0, 1))}
    check(make_node_model(op_type, feeds, axis=axis, **attributes), feeds, rtol=0, atol=0)
