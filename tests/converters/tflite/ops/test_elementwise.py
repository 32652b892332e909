"""Arithmetic with broadcasting, in all element types."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

ARITHMETIC = ["Add", "Sub", "Mul", "Div"]
SMALL_TYPES = ["int8", "uint8", "int16", "uint16"]
SHAPES = {
    "same": ((2, 3, 4, 5), (2, 3, 4, 5)),
    "scalar": ((2, 3, 4, 5), ()),
    "scalar first": ((), (2, 3, 4)),
    "channel": ((2, 3, 4, 5), (3, 1, 1)),
    "row": ((2, 3, 4, 5), (5,)),
    "both": ((2, 1, 4, 1), (3, 1, 5)),
    "five axes": ((2, 1, 3, 1, 2), (2, 2, 1, 4, 1)),
    "six axes": ((2, 1, 3, 1, 2, 1), (1, 2, 1, 3, 1, 2)),
    "seven axes": ((2, 1, 3, 1, 2, 1, 2), (1, 2, 1, 3, 1, 2, 1)),
    "seven alike": ((2, 1, 3, 1, 2, 2, 2), (2, 1, 3, 1, 2, 2, 2)),
}


def numbers(rng, shape, dtype: str) -> np.ndarray:
    """Numbers over the range of a small type, between -100 and 100 for others."""
    if dtype == "float32":
        return rng.uniform(-4, 4, shape).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -100), min(limits.max, 255)
    return np.asarray(rng.integers(low, high, shape, endpoint=True)).astype(dtype)


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("op_type", ARITHMETIC)
def test_shapes(check, make_node_model, rng, op_type, shapes):
    feeds = {name: numbers(rng, shape, "float32") for name, shape in zip("ab", shapes, strict=True)}
    ops = check(make_node_model(op_type, feeds), feeds)
    assert "TRANSPOSE" not in ops


@pytest.mark.parametrize("dtype", [*SMALL_TYPES, "int32", "int64", "uint32"])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul"])
def test_integers_wrap_around(check, make_node_model, rng, op_type, dtype):
    feeds = {name: numbers(rng, (3, 40), dtype) for name in "ab"}
    check(make_node_model(op_type, feeds), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [*SMALL_TYPES, "int32"])
def test_integers_are_divided_towards_zero(check, make_node_model, dtype):
    values = [7, 7, 100, 1] if dtype.startswith("u") else [7, -7, -7, 7]
    others = [2, 3, 7, 2] if dtype.startswith("u") else [2, 2, -2, -2]
    feeds = {"a": np.array(values, dtype), "b": np.array(others, dtype)}
    check(make_node_model("Div", feeds), feeds, rtol=0, atol=0)


def test_division_of_int64_is_refused(refusals, make_node_model):
    feeds = {name: np.ones(3, np.int64) for name in "ab"}
    assert "Div of int64" in refusals(make_node_model("Div", feeds))[0]


@pytest.mark.parametrize("constant", [(3, 1, 1), (5,), (), (1, 1, 1, 1), (2, 3, 4, 5), (1, 3, 1, 5)])
@pytest.mark.parametrize("op_type", ["Add", "Mul"])
def test_constants_need_no_operator_of_their_own(check, make_node_model, make_model, rng, op_type, constant):
    x, weights = numbers(rng, (2, 3, 4, 5), "float32"), numbers(rng, (3, 3, 1, 1), "float32")
    nodes = [helper.make_node("Conv", ["x", "w"], ["v"]), helper.make_node(op_type, ["v", "k"], ["y"])]
    constants = {"w": weights, "k": numbers(rng, constant, "float32")}
    ops = check(make_model(nodes, {"x": x}, constants=constants), {"x": x})
    assert set(ops) <= {"CONV_2D", op_type.upper()}


@pytest.mark.parametrize(
    ("dtype", "fmod"),
    [
        ("float32", 1),
        *((dtype, fmod) for dtype in ("int32", "int64", "int8", "uint8", "uint16") for fmod in (0, 1)),
    ],
)
def test_mod(check, make_node_model, rng, dtype, fmod):
    feeds = {"a": numbers(rng, (4, 30), dtype), "b": numbers(rng, (30,), dtype)}
    feeds["b"][feeds["b"] == 0] = 3
    model = make_node_model("Mod", feeds, fmod=fmod)
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 0.5, -1.0, 4.0, -0.5, 2.5])
def test_pow_of_a_constant(check, make_node_model, rng, power):
    x = rng.uniform(0.1, 3, (2, 3, 4)).astype(np.float32)
    ops = check(make_node_model("Pow", {"x": x}, {"k": np.array([power], np.float32)}), {"x": x})
    assert ("POW" in ops) == (power in (4.0, -0.5, 2.5))


@pytest.mark.parametrize(
    ("base", "exponent"),
    [
        ("float32", "float32"),
        ("float32", "int64"),
        ("float32", "int32"),
        ("int32", "int32"),
        ("int32", "int64"),
    ],
)
def test_pow(check, make_node_model, rng, base, exponent):
    feeds = {"a": rng.integers(-9, 9, (3, 4)).astype(base), "b": rng.integers(0, 4, (4,)).astype(exponent)}
    check(make_node_model("Pow", feeds), feeds)


@pytest.mark.parametrize("power", [2.0, 3.0, 4.0])
def test_pow_of_an_integer_and_a_whole_constant(check, make_node_model, rng, power):
    x = rng.integers(-9, 9, (3, 4)).astype(np.int32)
    check(make_node_model("Pow", {"x": x}, {"k": np.float32(power)}), {"x": x}, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("base", "exponent", "reason"),
    [
        ("int32", np.float32(0.5), "exponent of float32"),
        ("int32", np.int32(-1), "negative exponent"),
        ("int64", np.int64(5), "Pow of int64"),
    ],
)
def test_pow_is_refused(refusals, make_node_model, base, exponent, reason):
    x = np.ones((2, 3), base)
    assert reason in refusals(make_node_model("Pow", {"x": x}, {"k": exponent}))[0]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
def test_any_number_of_inputs(check, make_node_model, rng, op_type, count):
    shapes = [(2, 3, 4, 5), (3, 1, 1), (1, 3, 4, 5), (5,)]
    feeds = {f"x{i}": numbers(rng, shapes[i], "float32") for i in range(count)}
    check(make_node_model(op_type, feeds), feeds)


@pytest.mark.parametrize("dtype", [*SMALL_TYPES, "int32", "int64", "uint32"])
@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_max_of_integers(check, make_node_model, rng, op_type, dtype):
    feeds = {name: numbers(rng, (3, 20), dtype) for name in "ab"}
    check(make_node_model(op_type, feeds), feeds, rtol=0, atol=0)


def test_an_operand_of_lower_rank_moves_once_at_most(check, make_model, rng):
    """(C, H, W) made from (N, C, H, W) has the same order of axes and is not moved at all."""
    x, w = numbers(rng, (1, 3, 4, 5), "float32"), numbers(rng, (3, 3, 1, 1), "float32")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("ReduceMax", ["v", "axes"], ["m"], keepdims=0),
        helper.make_node("Add", ["v", "m"], ["y"]),
    ]
    model = make_model(nodes, {"x": x}, constants={"w": w, "axes": np.array([0])})
    assert "TRANSPOSE" not in check(model, {"x": x})


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_broadcasts_are_exact(check, make_model, data):
    rank = data.draw(st.integers(0, 6))
    shape = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    feeds = {}
    for name in "abc":
        own = [data.draw(st.sampled_from([size, 1])) for size in shape][data.draw(st.integers(0, rank)) :]
        feeds[name] = np.random.default_rng(len(own)).integers(-9, 9, own).astype(np.float32)
    ops = [data.draw(st.sampled_from(["Add", "Sub", "Mul", "Max"])) for _ in range(2)]
    nodes = [
        helper.make_node(ops[0], ["a", "b"], ["v"]),
        helper.make_node(ops[1], data.draw(st.permutations(["v", "c"])), ["y"]),
    ]
    check(make_model(nodes, feeds), feeds, rtol=0, atol=0)
