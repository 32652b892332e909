"""Gelu is found in every order of its factors, and only where it is Gelu."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from toolchain.converters.graph.fuse_gelu import fuse_gelu
from toolchain.converters.graph.remove_dead import remove_dead

BOTH = [fuse_gelu, remove_dead]
CONSTANTS = {
    "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "root2": math.sqrt(2), "rooth": math.sqrt(0.5),
    "c": 0.044715, "k": math.sqrt(2 / math.pi), "near": 0.71, "wrong": 0.0447,
}  # fmt: skip
ERF = [
    "d = Div(x, root2) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(half, m)",
    "d = Div(x, root2) e = Erf(d) s = Add(one, e) m = Mul(x, half) y = Mul(m, s)",
    "d = Mul(x, rooth) e = Erf(d) s = Add(e, one) m = Mul(s, half) y = Mul(x, m)",
    "d = Mul(rooth, x) e = Erf(d) s = Add(e, one) m = Mul(s, x) y = Div(m, two)",
]
CUBES = ["p = Pow(x, three)", "q = Mul(x, x) p = Mul(q, x)", "q = Mul(x, x) p = Mul(x, q)"]
TANH = [
    f"{cube} c1 = Mul(c, p) a = Add({order}) i = Mul(a, k) t = Tanh(i) s = Add(t, one) {outer}"
    for cube, order, outer in itertools.product(
        CUBES, ["x, c1", "c1, x"], ["m = Mul(x, s) y = Mul(half, m)", "m = Mul(half, x) y = Mul(m, s)"]
    )
]
OTHERS = [
    "d = Mul(x, near) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(half, m)",
    "d = Div(x, root2) e = Erf(d) s = Add(e, two) m = Mul(x, s) y = Mul(half, m)",
    "d = Div(x, root2) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(two, m)",
    "d = Div(x, root2) e = Tanh(d) s = Add(e, one) m = Mul(x, s) y = Mul(half, m)",
    "n = Neg(x) d = Div(n, root2) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(half, m)",
    "d = Div(root2, x) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(half, m)",
    TANH[0].replace("Pow(x, three)", "Pow(x, two)"),
    TANH[0].replace("Mul(c, p)", "Mul(wrong, p)"),
]


def model_text(graphs, body: str, opset: int = 20, dtype: str = "float"):
    numpy_type = {"float": np.float32, "float16": np.float16}[dtype]
    names = set(re.findall(r"\w+", body))
    constants = {name: np.array(value, numpy_type) for name, value in CONSTANTS.items() if name in names}
    return graphs.build(f"({dtype}[2,5,7] x) => ({dtype}[2,5,7] y) {{ {body} }}", opset, **constants)


@pytest.mark.parametrize("body", ERF)
@pytest.mark.parametrize("opset", [18, 20])
def test_the_exact_form(graphs, body, opset):
    model = graphs.judge(BOTH, model_text(graphs, body, opset), {"Gelu": 1}, tolerance=2e-6)
    assert next(iter(model.graph)).attributes["approximate"].value == "none"


@pytest.mark.parametrize("body", TANH)
def test_the_tanh_form(graphs, body):
    model = graphs.judge(BOTH, model_text(graphs, body), {"Gelu": 1}, tolerance=2e-6)
    assert next(iter(model.graph)).attributes["approximate"].value == "tanh"


def test_half_precision(graphs):
    before = model_text(graphs, ERF[0], dtype="float16")
    model = graphs.parse(before)
    assert fuse_gelu(model)
    remove_dead(model)
    assert graphs.ops(model) == {"Gelu": 1}


@pytest.mark.parametrize("body", OTHERS)
def test_others_stay(graphs, body):
    before = model_text(graphs, body)
    model = graphs.judge(BOTH, before)
    assert len(model.graph) == len(before.graph.node)


def test_a_value_in_between_that_others_read_stays(graphs):
    body = ERF[0] + " z = Neg(s)"
    constants = {name: np.array(CONSTANTS[name], np.float32) for name in ("half", "one", "root2")}
    before = graphs.build(f"(float[3] x) => (float[3] y, float[3] z) {{ {body} }}", 20, **constants)
    assert "Gelu" not in graphs.ops(graphs.judge(BOTH, before))


@pytest.mark.parametrize(
    ("opset", "other"),
    [
        pytest.param(17, "", id="too old"),
        pytest.param(
            18,
            "q = AveragePool<kernel_shape=[2,2], ceil_mode=1, count_include_pad=1>(r)",
            id="a node that opset 19 changed",
        ),
        pytest.param(18, 'q = GridSample<mode="bilinear">(r, g)', id="a node that opset 20 changed"),
    ],
)
def test_graphs_that_cannot_hold_a_gelu_stay(graphs, opset, other):
    constants = {name: np.array(CONSTANTS[name], np.float32) for name in ("half", "one", "root2")}
    constants["g"] = np.zeros((1, 2, 2, 2), np.float32)
    ends = "float[3] y, float[1,1,?,?] q" if other else "float[3] y"
    before = graphs.build(
        f"(float[3] x, float[1,1,4,4] r) => ({ends}) {{ {ERF[0]} {other} }}", opset, **constants
    )
    model = graphs.judge(BOTH, before)
    assert "Gelu" not in graphs.ops(model)
    assert model.opset_imports[""] == opset


def test_the_change_of_opset_leaves_other_nodes_as_they_are(graphs):
    constants = {name: np.array(CONSTANTS[name], np.float32) for name in ("half", "one", "root2")}
    other = "q = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(r)"
    ends = "float[3] y, float[1,1,?,?] q"
    before = graphs.build(
        f"(float[3] x, float[1,1,6,6] r) => ({ends}) {{ {ERF[0]} {other} }}", 18, **constants
    )
    graphs.judge(BOTH, before, {"Gelu": 1, "AveragePool": 1})
