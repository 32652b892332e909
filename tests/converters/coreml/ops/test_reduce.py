"""Reductions and running sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

REDUCTIONS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]
FLOAT_ONLY = ["L2", "LogSum", "LogSumExp"]
FLOATS = [f"Reduce{name}" for name in REDUCTIONS]
INTEGERS = [f"Reduce{name}" for name in REDUCTIONS if name not in FLOAT_ONLY]
AXES = [[1], [2, 3], [-1], [0, 2], [0, 1, 2, 3], [-3, -1]]


def positive(rng, shape) -> np.ndarray:
    return rng.uniform(0.5, 2, shape).astype(np.float32)


def reductions(op_types, axes=None, **attributes):
    inputs = ["x"] if axes is None else ["x", "axes"]
    return [helper.make_node(op_type, inputs, [op_type], name=op_type, **attributes) for op_type in op_types]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", AXES, ids=str)
def test_floats(check, make_model, rng, axes, keepdims):
    feeds = {"x": positive(rng, (2, 3, 4, 2))}
    nodes = reductions(FLOATS, axes, keepdims=keepdims)
    check(make_model(nodes, feeds, FLOATS, {"axes": np.array(axes)}), feeds)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (2, 1, 3, 2, 2)])
def test_over_everything(check, make_model, rng, shape, keepdims):
    feeds = {"x": positive(rng, shape)}
    check(make_model(reductions(FLOATS, keepdims=keepdims), feeds, FLOATS), feeds)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(check, make_model, rng, dtype):
    feeds = {"x": rng.integers(-6, 7, (2, 5, 3)).astype(dtype)}
    model = make_model(reductions(INTEGERS, [1]), feeds, INTEGERS, {"axes": np.array([1])})
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_booleans(check, make_node_model, rng, op_type):
    feeds = {"x": rng.integers(0, 2, (3, 4, 2)).astype(bool)}
    check(make_node_model(op_type, feeds, {"axes": np.array([1])}, opset=20), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("opset", [11, 13])
def test_axes_as_an_attribute(check, make_model, rng, opset):
    feeds = {"x": positive(rng, (2, 3, 4, 2))}
    op_types = [op_type for op_type in FLOATS if op_type != "ReduceSum"]
    check(make_model(reductions(op_types, axes=None, keepdims=0), feeds, op_types, opset=opset), feeds)
    check(make_model(_with_attribute(op_types), feeds, op_types, opset=opset), feeds)


def _with_attribute(op_types):
    return [helper.make_node(op_type, ["x"], [op_type], name=op_type, axes=[-1, 1]) for op_type in op_types]


def test_no_axes_and_noop(check, make_model, rng):
    feeds, op_types = {"x": positive(rng, (2, 3, 4))}, ["ReduceSum", "ReduceMean", "ReduceMax"]
    nodes = reductions(op_types, noop_with_empty_axes=1)
    check(make_model(nodes, feeds, op_types), feeds, rtol=0, atol=0)


def test_log_sum_exp_of_large_numbers(check, make_node_model):
    feeds = {"x": np.array([[1000, 999.5], [-1000, -1001], [3e38, 1], [-3e38, -3e38]], np.float32)}
    check(make_node_model("ReduceLogSumExp", feeds, {"axes": np.array([1])}), feeds)


@pytest.mark.parametrize("op_type", [f"Reduce{name}" for name in FLOAT_ONLY])
def test_roots_and_logarithms_of_integers_are_refused(refusals, make_node_model, op_type):
    model = make_node_model(op_type, {"x": np.ones((2, 3), np.int32)}, {"axes": np.array([1])})
    assert f"{op_type} of int32" in refusals(model)[0]


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@pytest.mark.parametrize("axis", [0, 2, -2])
def test_cum_sum(check, make_model, rng, axis, dtype):
    feeds = {"x": rng.integers(0, 9, (2, 3, 4)).astype(dtype)}
    nodes = [
        helper.make_node("CumSum", ["x", "axis"], [f"y{e}{r}"], exclusive=e, reverse=r)
        for e in (0, 1)
        for r in (0, 1)
    ]
    outputs = [node.output[0] for node in nodes]
    model = make_model(nodes, feeds, outputs, {"axis": np.array(axis)})
    check(model, feeds, rtol=0, atol=0, kinds=["mlprogram"])


def test_cum_sum_is_refused_in_neural_networks(refusals, make_node_model):
    model = make_node_model("CumSum", {"x": np.ones((2, 3), np.float32)}, {"axis": np.array(1)})
    assert "CumSum" in refusals(model, "neuralnetwork")[0]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_reductions_are_exact(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    op_type = data.draw(st.sampled_from(["ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1"]))
    feeds = {"x": np.random.default_rng(len(axes)).integers(-9, 9, shape).astype(np.float32)}
    constants = {"axes": np.array(sorted(axes))}
    model = make_node_model(op_type, feeds, constants, keepdims=data.draw(st.integers(0, 1)))
    check(model, feeds, rtol=0, atol=0)
