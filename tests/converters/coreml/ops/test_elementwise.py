"""Arithmetic with broadcasting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from toolchain.errors import UnsupportedError

ARITHMETIC = ["Add", "Sub", "Mul", "Div"]
SHAPES = {
    "same": ((2, 3, 4, 5), (2, 3, 4, 5)),
    "one element": ((2, 3, 4, 5), (1,)),
    "one element first": ((1,), (2, 3, 4)),
    "channel": ((2, 3, 4, 5), (3, 1, 1)),
    "row": ((2, 3, 4, 5), (5,)),
    "both": ((2, 1, 4, 1), (3, 1, 5)),
    "five axes": ((2, 1, 3, 1, 2), (2, 2, 1, 4, 1)),
}


def numbers(rng, shape, dtype: str) -> np.ndarray:
    """Floats between -4 and 4, integers between -100 and 100."""
    if dtype == "float32":
        return rng.uniform(-4, 4, shape).astype(dtype)
    return np.asarray(rng.integers(-100, 100, shape, endpoint=True)).astype(dtype)


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_shapes(check, make_model, rng, shapes):
    feeds = {name: numbers(rng, shape, "float32") for name, shape in zip("ab", shapes, strict=True)}
    nodes = [helper.make_node(op_type, ["a", "b"], [op_type], name=op_type) for op_type in ARITHMETIC]
    ops = check(make_model(nodes, feeds, ARITHMETIC), feeds)
    assert ops == {"add": 1, "sub": 1, "mul": 1, "real_div": 1}


@pytest.mark.parametrize("constant", [(3, 1, 1), (5,), (), (1, 1, 1, 1), (2, 3, 4, 5), (1, 3, 1, 5)])
def test_constants_on_either_side(check, make_model, rng, constant):
    x, k = numbers(rng, (2, 3, 4, 5), "float32"), numbers(rng, constant, "float32")
    nodes = [helper.make_node(op_type, ["x", "k"], [op_type]) for op_type in ARITHMETIC]
    nodes += [helper.make_node(op_type, ["k", "x"], [f"{op_type}2"]) for op_type in ARITHMETIC]
    outputs = [node.output[0] for node in nodes]
    check(make_model(nodes, {"x": x}, outputs, constants={"k": k}), {"x": x})


def test_a_constant_of_more_axes_than_the_other_operand(check, make_node_model, rng):
    x = numbers(rng, (3,), "float32")
    check(make_node_model("Add", {"x": x}, {"k": np.ones((1, 1, 1), np.float32)}), {"x": x})


def test_scalars_inside_of_the_network(check, make_model, rng):
    feeds = {"x": numbers(rng, (2, 3), "float32")}
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("ReduceMin", ["x"], ["low"], keepdims=0),
        helper.make_node("Sub", ["top", "low"], ["range"]),
        helper.make_node("Clip", ["x", "", "range"], ["clipped"]),
        helper.make_node("Div", ["clipped", "range"], ["y"]),
    ]
    check(make_model(nodes, feeds), feeds)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(check, make_model, rng, dtype):
    feeds = {name: numbers(rng, (3, 40), dtype) for name in "ab"}
    op_types = ["Add", "Sub", "Mul", "Max", "Min"]
    nodes = [helper.make_node(op_type, ["a", "b"], [op_type]) for op_type in op_types]
    check(make_model(nodes, feeds, op_types), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers_are_divided_towards_zero(check, make_node_model, rng, dtype):
    feeds = {name: numbers(rng, (200,), dtype) for name in "ab"}
    feeds["b"][feeds["b"] == 0] = 7
    check(make_node_model("Div", feeds), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("divisor", [7, -3, 1])
def test_integers_are_divided_by_a_constant(check, make_node_model, divisor):
    lowest = np.iinfo(np.int32).min
    feeds = {"a": np.array([lowest, lowest + 1, -8, -7, -6, -1, 0, 1, 6, 7, 8, 2**31 - 1], np.int32)}
    model = make_node_model("Div", feeds, {"k": np.array(divisor, np.int32)})
    check(model, feeds, rtol=0, atol=0, kinds=["mlprogram"])


@pytest.mark.parametrize(
    ("dtype", "fmod"), [("float32", 1), ("int32", 0), ("int32", 1), ("int64", 0), ("int64", 1)]
)
def test_mod(check, make_node_model, rng, dtype, fmod):
    feeds = {"a": numbers(rng, (4, 60), dtype), "b": numbers(rng, (60,), dtype)}
    feeds["b"][feeds["b"] == 0] = 3
    check(make_node_model("Mod", feeds, fmod=fmod), feeds, rtol=0, atol=1e-6 if dtype == "float32" else 0)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 0.5, -1.0, 4.0, -0.5, 2.5])
def test_pow_of_a_constant(check, make_node_model, rng, power):
    x = rng.uniform(0.1, 3, (2, 3, 4)).astype(np.float32)
    ops = check(make_node_model("Pow", {"x": x}, {"k": np.array([power], np.float32)}), {"x": x})
    assert ("pow" in ops) == (power in (4.0, 2.5))


@pytest.mark.parametrize("exponent", ["float32", "int64", "int32"])
def test_pow(check, make_node_model, rng, exponent):
    feeds = {"a": rng.uniform(0.5, 3, (3, 4)).astype(np.float32)}
    feeds["b"] = rng.integers(-3, 4, (4,)).astype(exponent)
    check(make_node_model("Pow", feeds), feeds)


@pytest.mark.parametrize("exponent", ["int32", "int64"])
def test_pow_of_integers(check, make_node_model, rng, exponent):
    feeds = {
        "a": rng.integers(1, 9, (60, 1)).astype(np.int32) * rng.choice([-1, 1], (60, 1)).astype(np.int32)
    }
    feeds["b"] = np.arange(-3, 5).astype(exponent)
    check(make_node_model("Pow", feeds), feeds, rtol=0, atol=0, kinds=["mlprogram"])


@pytest.mark.parametrize("power", [2.0, 3.0, 4.0])
def test_pow_of_an_integer_and_a_whole_constant(check, make_node_model, rng, power):
    x = rng.integers(-9, 9, (3, 4)).astype(np.int32)
    model = make_node_model("Pow", {"x": x}, {"k": np.float32(power)})
    check(model, {"x": x}, rtol=0, atol=0, kinds=["mlprogram"])


def test_pow_of_several_constants(check, make_node_model, rng):
    feeds = {"x": rng.uniform(0.5, 3, (3, 4)).astype(np.float32)}
    model = make_node_model("Pow", feeds, {"k": np.array([1, 2, 0.5, -1], np.float32)})
    check(model, feeds, kinds=["mlprogram"])


def test_pow_of_several_constants_is_refused_in_neural_networks(refusals, make_node_model):
    constants = {"k": np.array([1, 2, 0.5, -1], np.float32)}
    model = make_node_model("Pow", {"x": np.ones((3, 4), np.float32)}, constants)
    assert "constant exponent of several elements" in refusals(model, "neuralnetwork")[0]


def test_pow_of_an_integer_by_a_fraction_is_refused(refusals, make_node_model):
    model = make_node_model("Pow", {"x": np.ones((2, 3), np.int32)}, {"k": np.float32(0.5)})
    assert "by a fraction" in refusals(model)[0]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_inputs(check, make_model, rng, count):
    shapes, op_types = [(2, 3, 4, 5), (3, 1, 1), (1, 3, 4, 5), (5,)], ["Max", "Min", "Sum", "Mean"]
    feeds = {f"x{i}": numbers(rng, shapes[i], "float32") for i in range(count)}
    nodes = [helper.make_node(op_type, list(feeds), [op_type]) for op_type in op_types]
    check(make_model(nodes, feeds, op_types), feeds)


def test_uint8_is_refused(refusals, make_node_model):
    feeds = {name: np.ones(3, np.uint8) for name in "ab"}
    with pytest.raises(UnsupportedError, match="uint8"):
        refusals(make_node_model("Add", feeds))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_broadcasts(check, make_model, data):
    """Any two shapes that broadcast, of floats, so that both kinds of file compute the same."""
    whole = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    shapes = [
        [data.draw(st.sampled_from([1, size])) for size in whole[data.draw(st.integers(0, len(whole) - 1)) :]]
        for _ in range(2)
    ]
    rng = np.random.default_rng(len(whole))
    feeds = {name: numbers(rng, shape, "float32") for name, shape in zip("ab", shapes, strict=True)}
    op_types = ["Add", "Sub", "Mul", "Max"]
    nodes = [helper.make_node(op_type, ["a", "b"], [op_type]) for op_type in op_types]
    check(make_model(nodes, feeds, op_types), feeds)
