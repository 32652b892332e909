"""Functions of each element, of one or several inputs, against numpy."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X = normal(2, 3, 4, 5)
POSITIVE = np.abs(X) + 0.1


@pytest.mark.parametrize(
    ("mode", "options", "x", "function"),
    [
        ("sqrt", {}, POSITIVE, np.sqrt),
        ("rsqrt", {"epsilon": 0.0}, POSITIVE, lambda x: 1 / np.sqrt(x + 1e-6)),
        ("rsqrt", {"epsilon": 0.5}, POSITIVE, lambda x: 1 / np.sqrt(x + 0.5)),
        ("inverse", {"epsilon": 0.25}, POSITIVE, lambda x: 1 / (x + 0.25)),
        ("power", {"alpha": 3.0}, X, lambda x: x**3),
        ("power", {"alpha": 2.0, "scale": 0.5, "shift": 1.0}, X, lambda x: (0.5 * x + 1) ** 2),
        ("exp", {}, X, np.exp),
        ("log", {}, POSITIVE, np.log),
        ("log", {"epsilon": 0.5}, POSITIVE, lambda x: np.log(x + 0.5)),
        ("abs", {"scale": -2.0}, X, lambda x: np.abs(2 * x)),
        ("threshold", {"alpha": 0.3}, X, lambda x: np.maximum(x, 0.3)),
    ],
)
def test_unary(check_layers, mode, options, x, function):
    check_layers(lambda b: b.add_unary("u", "x", "y", mode, **options), [x], function(x), 1e-4)


@pytest.mark.parametrize(
    ("name", "x", "function"),
    [
        ("ceil", X, np.ceil),
        ("floor", X, np.floor),
        ("round", np.array([-1.5, -0.5, 0.5, 1.5, 2.4], np.float32), np.round),
        ("sign", np.array([-2.0, 0.0, 3.0], np.float32), np.sign),
        ("exp2", X, np.exp2),
        ("sin", X, np.sin),
        ("cos", X, np.cos),
        ("tan", X / 3, np.tan),
        ("asin", X / 5, np.arcsin),
        ("acos", X / 5, np.arccos),
        ("atan", X, np.arctan),
        ("sinh", X, np.sinh),
        ("cosh", X, np.cosh),
        ("tanh", X, np.tanh),
        ("asinh", X, np.arcsinh),
        ("acosh", POSITIVE + 1, np.arccosh),
        ("atanh", X / 5, np.arctanh),
        ("erf", X, np.vectorize(math.erf)),
        ("copy", X, lambda x: x),
    ],
)
def test_function(check_layers, name, x, function):
    check_layers(lambda b: getattr(b, f"add_{name}")("f", "x", "y"), [x], function(x), 1e-4)


def test_clip(check_layers):
    check_layers(lambda b: b.add_clip("c", "x", "y", -0.5, 0.25), [X], np.clip(X, -0.5, 0.25))


@pytest.mark.parametrize(
    ("mode", "function"),
    [
        ("ADD", np.add),
        ("MULTIPLY", np.multiply),
        ("MAX", np.maximum),
        ("MIN", np.minimum),
        ("AVE", None),
    ],
)
def test_several_inputs(check_layers, mode, function):
    inputs = [normal(1, 3, 4, 5) for _ in range(3)]
    want = np.mean(inputs, axis=0) if function is None else functools.reduce(function, inputs)
    check_layers(lambda b: b.add_elementwise("e", ["x", "x1", "x2"], "y", mode), inputs, want)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 4, 5), (1, 1, 1, 1), (3, 4, 5), (1,)])
@pytest.mark.parametrize("mode", ["ADD", "MULTIPLY"])
def test_smaller_input(check_layers, mode, shape):
    inputs = [normal(1, 3, 4, 5), normal(*shape)]
    want = np.add(*inputs) if mode == "ADD" else np.multiply(*inputs)
    check_layers(lambda b: b.add_elementwise("e", ["x", "x1"], "y", mode), inputs, want)


def test_shapes_that_are_both_smaller_than_the_result(run_layers):
    with pytest.raises(UnsupportedError, match=r"add 'e': the shapes .* do not broadcast to one of them"):
        inputs = [normal(1, 3, 1, 1), normal(1, 1, 4, 5)]
        run_layers(lambda b: b.add_elementwise("e", ["x", "x1"], "y", "ADD"), inputs)


@pytest.mark.parametrize(("mode", "want"), [("ADD", X + 2.5), ("MULTIPLY", X * 2.5)])
def test_scalar(check_layers, mode, want):
    check_layers(lambda b: b.add_elementwise("e", ["x"], "y", mode, alpha=2.5), [X], want)


@pytest.mark.parametrize("mode", ["DOT", "COS"])
def test_dot_product(check_layers, mode):
    a, b = normal(2, 6, 1, 1), normal(2, 6, 1, 1)
    want = (a * b).sum(1, keepdims=True)
    if mode == "COS":
        want = want / (np.linalg.norm(a, axis=1, keepdims=True) * np.linalg.norm(b, axis=1, keepdims=True))
    check_layers(lambda builder: builder.add_elementwise("e", ["x", "x1"], "y", mode), [a, b], want)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 4, 5), (3, 4, 5)])
def test_bias_and_scale(check_layers, shape):
    factor, offset = normal(*shape), normal(*shape)
    spread = (-1, 1, 1) if len(shape) == 1 else shape
    want = X + offset.reshape(spread)
    check_layers(lambda b: b.add_bias("b", offset, "x", "y", list(shape)), [X], want)
    want = X * factor.reshape(spread)
    check_layers(lambda b: b.add_scale("s", factor, None, False, "x", "y", list(shape)), [X], want)
    want = want + offset.reshape(spread)
    check_layers(
        lambda b: b.add_scale("s", factor, offset, True, "x", "y", list(shape), list(shape)), [X], want
    )


A, B = normal(2, 1, 4), normal(3, 1)


@pytest.mark.parametrize(
    ("name", "inputs", "function"),
    [
        ("add", [A, B], np.add),
        ("subtract", [A, B], np.subtract),
        ("multiply", [A, B], np.multiply),
        ("divide", [A, B], np.divide),
        ("max", [A, B], np.maximum),
        ("min", [A, B], np.minimum),
        ("pow", [np.abs(A), B], np.power),
        ("mod", [A * 5, B], np.mod),
        ("floor_div", [A * 5, B], np.floor_divide),
    ],
)
def test_broadcastable(check_layers, name, inputs, function):
    want = function(*inputs)
    check_layers(lambda b: getattr(b, f"add_{name}_broadcastable")("e", ["x", "x1"], "y"), inputs, want)


INTEGERS = np.array([[-1, 0, 1], [2, 3, 0]], np.float32)
OTHER = np.array([1, 0, 0], np.float32)


@pytest.mark.parametrize(
    ("name", "options", "function"),
    [
        ("equal", {}, np.equal),
        ("not_equal", {}, np.not_equal),
        ("greater_than", {}, np.greater),
        ("greater_than", {"use_greater_than_equal": True}, np.greater_equal),
        ("less_than", {}, np.less),
        ("less_than", {"use_less_than_equal": True}, np.less_equal),
    ],
)
def test_comparisons(check_layers, name, options, function):
    def build(inputs, **alpha):
        return lambda b: getattr(b, f"add_{name}")("e", inputs, "y", **options, **alpha)

    check_layers(build(["x", "x1"]), [INTEGERS, OTHER], function(INTEGERS, OTHER))
    check_layers(build(["x"], alpha=1.0), [INTEGERS], function(INTEGERS, 1.0))


@pytest.mark.parametrize(
    ("mode", "function"), [("AND", np.logical_and), ("OR", np.logical_or), ("XOR", np.logical_xor)]
)
def test_logic(check_layers, mode, function):
    want = function(INTEGERS, OTHER)
    check_layers(lambda b: b.add_logical("e", ["x", "x1"], "y", mode), [INTEGERS, OTHER], want)


def test_logical_not(check_layers):
    check_layers(lambda b: b.add_logical("e", ["x"], "y", "NOT"), [INTEGERS], INTEGERS == 0)


def test_where(check_layers):
    a, b = normal(2, 3), normal(2, 1)
    want = np.where(OTHER != 0, a, b)
    check_layers(lambda c: c.add_where_broadcastable("w", ["x", "x1", "x2"], "y"), [OTHER, a, b], want)
