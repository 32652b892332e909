"""Reductions and running sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REDUCTIONS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]
FLOAT_ONLY = ["L2", "LogSum", "LogSumExp"]
FLOAT_REDUCTIONS = [f"Reduce{name}" for name in REDUCTIONS]
INTEGER_REDUCTIONS = [f"Reduce{name}" for name in REDUCTIONS if name not in FLOAT_ONLY]
AXES = [[1], [2, 3], [-1], [0, 2], [0, 1, 2, 3], [-3, -1]]


def positive(rng, shape) -> np.ndarray:
    return rng.uniform(0.5, 2, shape).astype(np.float32)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("op_type", FLOAT_REDUCTIONS)
def test_floats(check, make_node_model, rng, op_type, axes, keepdims):
    feeds = {"x": positive(rng, (2, 3, 4, 2))}
    model = make_node_model(op_type, feeds, {"axes": np.array(axes)}, keepdims=keepdims)
    assert "TRANSPOSE" not in check(model, feeds)


@pytest.mark.parametrize("op_type", FLOAT_REDUCTIONS)
def test_over_everything(check, make_node_model, rng, op_type):
    feeds = {"x": positive(rng, (2, 3, 4))}
    check(make_node_model(op_type, feeds), feeds)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("op_type", INTEGER_REDUCTIONS)
def test_integers(check, make_node_model, rng, op_type, dtype):
    feeds = {"x": rng.integers(-6, 7, (2, 5, 3)).astype(dtype)}
    check(make_node_model(op_type, feeds, {"axes": np.array([1])}), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool"])
@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_small_types(check, make_node_model, rng, op_type, dtype):
    feeds = {"x": rng.integers(0, 2, (3, 4, 2)).astype(dtype)}
    check(make_node_model(op_type, feeds, {"axes": np.array([1])}, opset=20), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes_as_an_attribute(check, make_node_model, rng, opset, keepdims):
    feeds = {"x": positive(rng, (2, 3, 4, 2))}
    check(make_node_model("ReduceMean", feeds, opset=opset, axes=[-1, 1], keepdims=keepdims), feeds)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean", "ReduceMax"])
def test_no_axes_and_noop(check, make_node_model, rng, op_type):
    feeds = {"x": positive(rng, (2, 3, 4))}
    check(make_node_model(op_type, feeds, noop_with_empty_axes=1), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceMean"])
@pytest.mark.parametrize("axes", [[1, 3, 5], [0, 1], [2, 3], [6], [0, 2, 4, 6]], ids=str)
def test_seven_axes(check, make_node_model, rng, op_type, axes):
    feeds = {"x": positive(rng, (2, 2, 1, 3, 2, 2, 2))}
    check(make_node_model(op_type, feeds, {"axes": np.array(axes)}, keepdims=0), feeds)


def test_log_sum_exp_of_large_numbers(check, make_node_model):
    feeds = {"x": np.array([[1000, 999.5], [-1000, -1001], [3e38, 1], [-3e38, -3e38]], np.float32)}
    check(make_node_model("ReduceLogSumExp", feeds, {"axes": np.array([1])}), feeds)


@pytest.mark.parametrize("op_type", [f"Reduce{name}" for name in FLOAT_ONLY])
def test_roots_and_logarithms_of_integers_are_refused(refusals, make_node_model, op_type):
    model = make_node_model(op_type, {"x": np.ones((2, 3), np.int32)}, {"axes": np.array([1])})
    assert f"{op_type} of int32" in refusals(model)[0]


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "uint32"])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("axis", [0, 2, -2])
def test_cum_sum(check, make_node_model, rng, axis, exclusive, reverse, dtype):
    feeds = {"x": rng.integers(0, 9, (2, 3, 4)).astype(dtype)}
    model = make_node_model("CumSum", feeds, {"axis": np.array(axis)}, exclusive=exclusive, reverse=reverse)
    check(model, feeds, rtol=0, atol=0)


def test_means_of_integers_over_many_parted_axes_are_refused(refusals, make_node_model):
    feeds = {"x": np.ones((2,) * 8, np.int32)}
    model = make_node_model("ReduceMean", feeds, {"axes": np.array([0, 2, 4, 6])})
    assert "int32 over 4 parted axes" in refusals(model)[0]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_reductions_are_exact(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    op_type = data.draw(st.sampled_from(["ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1"]))
    feeds = {"x": np.random.default_rng(len(axes)).integers(-9, 9, shape).astype(np.float32)}
    constants = {"axes": np.array(sorted(axes))}
    model = make_node_model(op_type, feeds, constants, keepdims=data.draw(st.integers(0, 1)))
    check(model, feeds, rtol=0, atol=0)
