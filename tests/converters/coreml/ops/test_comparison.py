"""Comparisons, logic and choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

COMPARISONS = ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]
LOGIC = ["And", "Or", "Xor", "Equal"]
SHAPES = [((2, 3, 4, 5), (2, 3, 4, 5)), ((2, 3, 4, 5), (3, 1, 1)), ((2, 1, 3, 1, 2), (2, 2, 1, 4, 1))]
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, 1, -3e38], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_comparisons(check, make_model, rng, dtype, shapes):
    feeds = {n: rng.integers(0, 4, shape).astype(dtype) for n, shape in zip("ab", shapes, strict=True)}
    nodes = [helper.make_node(op_type, ["a", "b"], [op_type]) for op_type in COMPARISONS]
    check(make_model(nodes, feeds, COMPARISONS), feeds)


@pytest.mark.parametrize("constant", [np.float32(1), np.array([0, 1, 2], np.float32), np.float32(np.inf)])
def test_comparisons_with_a_constant_on_either_side(check, make_model, rng, constant):
    feeds = {"x": rng.integers(0, 3, (4, 3)).astype(np.float32)}
    nodes = [helper.make_node(op_type, ["x", "k"], [op_type]) for op_type in COMPARISONS]
    nodes += [helper.make_node(op_type, ["k", "x"], [f"{op_type}2"]) for op_type in COMPARISONS]
    check(make_model(nodes, feeds, [node.output[0] for node in nodes], {"k": constant}), feeds)


@pytest.mark.parametrize("shapes", SHAPES)
def test_logic(check, make_model, rng, shapes):
    feeds = {n: rng.integers(0, 2, shape).astype(bool) for n, shape in zip("ab", shapes, strict=True)}
    nodes = [helper.make_node(op_type, ["a", "b"], [op_type]) for op_type in LOGIC]
    nodes.append(helper.make_node("Not", ["a"], ["Not"]))
    check(make_model(nodes, feeds, [*LOGIC, "Not"]), feeds)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "bool"])
@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 4), (2, 3, 4), (2, 3, 4)),
        ((2, 1, 4, 1), (1, 3, 1, 5), (2, 3, 4, 5)),
        ((4, 1), (1,), (3, 1, 5)),
        ((1,), (2, 1, 3, 1, 2), (2, 2, 1, 4, 1)),
        ((2, 3, 4), (1, 1), (4,)),
    ],
)
def test_where(check, make_node_model, rng, dtype, shapes):
    feeds = {"condition": rng.integers(0, 2, shapes[0]).astype(bool)}
    feeds |= {n: rng.integers(0, 9, s).astype(dtype) for n, s in zip("ab", shapes[1:], strict=True)}
    check(make_node_model("Where", feeds), feeds, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("a", "b"), [(1.5, -2.0), (0.0, None), (None, -np.inf), ([1, 2, 3], [[4], [5]])], ids=str
)
def test_where_of_constants(check, make_node_model, rng, a, b):
    feeds = {"condition": rng.integers(0, 2, (2, 3)).astype(bool)}
    constants = {name: np.array(v, np.float32) for name, v in (("a", a), ("b", b)) if v is not None}
    feeds |= {name: rng.normal(size=(2, 3)).astype(np.float32) for name in "ab" if name not in constants}
    model = make_node_model("Where", feeds, constants, order=["condition", "a", "b"])
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("IsNaN", {}),
        ("IsInf", {}),
        ("IsInf", {"detect_negative": 0}),
        ("IsInf", {"detect_positive": 0}),
    ],
)
def test_special_numbers(check, make_node_model, op_type, attributes):
    check(make_node_model(op_type, {"x": SPECIAL}, **attributes), {"x": SPECIAL})


def test_is_inf_of_neither_sign_is_refused(refusals, make_node_model):
    model = make_node_model("IsInf", {"x": SPECIAL}, detect_positive=0, detect_negative=0)
    assert "detect_negative=0" in refusals(model)[0]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_where(check, make_node_model, data):
    whole = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    shapes = [
        [data.draw(st.sampled_from([1, size])) for size in whole[data.draw(st.integers(0, len(whole) - 1)) :]]
        for _ in range(3)
    ]
    rng = np.random.default_rng(len(whole))
    feeds = {"condition": rng.integers(0, 2, shapes[0]).astype(bool)}
    feeds |= {n: rng.normal(size=s).astype(np.float32) for n, s in zip("ab", shapes[1:], strict=True)}
    check(make_node_model("Where", feeds), feeds, rtol=0, atol=0)
