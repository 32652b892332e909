"""Operators without an integer kernel are written by others that compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize.integer_forms import write_integer_forms

ROWS = [
    ("Neg", "y = Neg(x)", 18, ["Mul"]),
    ("Div", "y = Div(x, c)", 18, ["Mul"]),
    ("Div of two tensors", "a = Abs(x) b = Exp(a) y = Div(x, b)", 18, ["Abs", "Exp", "Div"]),
    ("Div of a constant", "a = Exp(x) y = Div(c, a)", 18, ["Exp", "Div"]),
    ("Div by tiny", "y = Div(x, tiny)", 18, ["Div"]),
    ("Swish", "y = Swish(x)", 24, ["Sigmoid", "Mul"]),
    ("Swish with a factor", "y = Swish<alpha=1.5>(x)", 24, ["Mul", "Sigmoid", "Mul"]),
    ("HardSigmoid", "y = HardSigmoid<alpha=0.3,beta=0.4>(x)", 18, ["Mul", "Add", "Clip"]),
    ("Sum", "a = Abs(x) y = Sum(x, a, c)", 18, ["Abs", "Add", "Add"]),
    ("Gemm", "y = Gemm<alpha=0.5,beta=3.0>(x, w, c)", 18, ["Gemm"]),
    ("two of a kind", "a = Swish(x) y = Swish(a)", 24, ["Sigmoid", "Mul"] * 2),
    ("an inner value", "a = Neg(x) y = Abs(a)", 18, ["Mul", "Abs"]),
    ("nothing to do", "y = Relu(x)", 18, ["Relu"]),
]
CONSTANTS = {
    "c": np.array([0.5, -2, 3], np.float32),
    "w": np.arange(9, dtype=np.float32).reshape(3, 3),
    "tiny": np.array(1e-40, np.float32),
}


@pytest.mark.parametrize(
    ("text", "opset", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_computes_the_same(graph, kit, text, opset, expected):
    model = graph(f"(float[2,3] x) => (float[2,3] y) {{ {text} }}", opset=opset, **CONSTANTS)
    feed = kit.random_feeds(model)[0]
    before, old = kit.run(model, feed), kit.ops(model)
    assert write_integer_forms(model) is (kit.ops(model) != old or "alpha=0.5" in text)
    assert kit.ops(model) == expected
    np.testing.assert_allclose(kit.run(model, feed)["y"], before["y"], rtol=1e-5, atol=1e-6)
    assert not write_integer_forms(model)


def test_values_keep_their_names(graph):
    model = graph("(float[3] x) => (float[3] y) { a = Neg(x) b = HardSigmoid(a) y = Abs(b) }")
    write_integer_forms(model)
    names = [value.name for node in model.graph for value in node.outputs]
    assert names == ["a", "b.mul", "b.add", "b", "y"]


def test_integers_stay(graph, kit):
    model = graph("(int32[3] x) => (int32[3] y) { y = Neg(x) }")
    assert not write_integer_forms(model)


def test_nodes_that_stay_float_stay_as_they_are(graph, kit):
    model = graph("(float[3] x) => (float[3] y) { a = Neg(x) y = Neg(a) }")
    name = next(iter(model.graph)).name
    assert write_integer_forms(model, [name])
    assert kit.ops(model) == ["Neg", "Mul"]
