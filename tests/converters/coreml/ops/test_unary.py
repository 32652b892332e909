"""Functions of one operand against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

SIGNED = ["Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Reciprocal", "Round", "Sign", "Sin", "Tan"]
POSITIVE = ["Log", "Sqrt"]
SHAPES = [(1, 3, 4, 5), (7,), (2, 1, 3, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_floats(shape, check, make_model, rng):
    feeds = {"x": rng.normal(0, 2, shape).astype(np.float32)}
    feeds["p"] = rng.uniform(1e-3, 9, shape).astype(np.float32)
    nodes = [helper.make_node(op_type, ["x"], [op_type], name=op_type) for op_type in SIGNED]
    nodes += [helper.make_node(op_type, ["p"], [op_type], name=op_type) for op_type in POSITIVE]
    check(make_model(nodes, feeds, SIGNED + POSITIVE), feeds, rtol=1e-5, atol=1e-6)


def test_halves_are_rounded_to_even(check, make_node_model):
    feeds = {"x": np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4999], np.float32)}
    check(make_node_model("Round", feeds), feeds, rtol=0, atol=0)


def test_logarithms_of_small_numbers(check, make_node_model):
    """Neither format's own epsilon is added, so that the logarithm of 0 is minus infinity."""
    feeds = {"x": np.array([0, 1e-38, 1e-30, 1e-9, 1], np.float32)}
    check(make_node_model("Log", feeds), feeds, kinds=["mlprogram"])


def test_reciprocals_of_small_numbers(check, make_node_model):
    feeds = {"x": np.array([1e-5, -1e-5, 1e-30, 1, 0], np.float32)}
    check(make_node_model("Reciprocal", feeds), feeds)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers(dtype, check, make_model, rng):
    feeds = {"x": rng.integers(-99, 99, (3, 20)).astype(dtype)}
    op_types = ["Abs", "Neg", "Sign"]
    nodes = [helper.make_node(op_type, ["x"], [op_type]) for op_type in op_types]
    check(make_model(nodes, feeds, op_types), feeds, rtol=0, atol=0)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20),
    op_type=st.sampled_from(["Floor", "Ceil", "Round", "Sign", "Abs", "Neg"]),
)
def test_random_numbers_are_exact(values, op_type, check, make_node_model):
    feeds = {"x": np.array(values, np.float32)}
    check(make_node_model(op_type, feeds), feeds, rtol=0, atol=0, kinds=["mlprogram"])
