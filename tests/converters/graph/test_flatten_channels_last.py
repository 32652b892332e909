"""Flatten in the order H, W, C with the weights behind it turned to match."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.graph.flatten_channels_last import flatten_channels_last


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(2, 3)),
    flatten=st.booleans(),
    turned=st.booleans(),
    between=st.lists(st.sampled_from(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish"]), max_size=2),
)
def test_any_size(graphs, sizes, flatten, turned, between):
    batch, channels, height, width = sizes
    rows = channels * height * width
    lines = [f"{'abcd'[index + 1]} = {op}({'abcd'[index]})" for index, op in enumerate(between)]
    text = f"""(float{list(sizes)} x) => (float[{batch},5] y) {{
        a = {"Flatten(x)" if flatten else "Reshape(x, s)"}
        {" ".join(lines)}
        y = Gemm<transB={int(turned)}>({"abcd"[len(between)]}, w, v)
    }}"""
    constants = {"w": weights(5, rows) if turned else weights(rows, 5), "v": weights(5)}
    if not flatten:
        constants["s"] = np.array([batch, -1])
    wanted = {"Transpose": 1, "Reshape": 1, "Gemm": 1}
    for op in between:
        wanted[op] = between.count(op)
    model = graphs.judge(flatten_channels_last, graphs.build(text, **constants), wanted)
    turn = next(iter(model.graph))
    assert tuple(turn.attributes["perm"].value) == (0, 2, 3, 1)
    assert tuple(turn.outputs[0].shape) == (batch, height, width, channels)


TURNED = {"Transpose": 1, "Reshape": 1}
CASES = [
    ("a = Flatten(x) y = MatMul(a, w)", True),
    ("a = Flatten(x) b = MatMul(a, w) c = MatMul(a, w2) y = Add(b, c)", True),
    ("a = Flatten(x) r = Relu(a) b = MatMul(a, w) c = MatMul(r, w) y = Add(b, c)", True),
    ("a = Flatten(x) q = QuantizeLinear(a, s, z) d = DequantizeLinear(q, s, z) y = MatMul(d, w)", True),
    ("a = Flatten(x) d = DequantizeLinear(wq, s, z) y = MatMul(a, d)", True),
    ("a = Flatten(x) d = DequantizeLinear<axis=1>(wq, s5, z5) y = MatMul(a, d)", True),
    ("a = Flatten(x) d = DequantizeLinear<axis=0>(wr, s5, z5) y = Gemm<transB=1>(a, d)", True),
    ("a = Flatten(x) d = DequantizeLinear<axis=0>(wq, s12, z12) y = MatMul(a, d)", False),
    (
        "a = Flatten(x) d = DequantizeLinear(wq, s, z) b = MatMul(a, d) c = ReduceSum(d, t) y = Add(b, c)",
        False,
    ),
    ("a = Flatten(x) y = Gemm<transA=1>(a, w1)", False),
    ("a = Flatten(x) y = MatMul(l, a)", False),
    ("a = Flatten(x) b = Softmax(a) y = MatMul(b, w)", False),
    ("a = Flatten(x) b = Mul(a, k) y = MatMul(b, w)", False),
    ("a = Flatten(x) b = MatMul(a, w) c = ReduceSum(a, t) y = Add(b, c)", False),
    ("a = Flatten(x) v = Neg(w) y = MatMul(a, v)", None),
    ("a = Flatten<axis=2>(x) y = MatMul(a, w4)", False),
    ("t2 = Transpose<perm=[0,2,3,1]>(x) a = Flatten(t2) y = MatMul(a, w)", False),
    ("a = Flatten(x) y = Relu(a)", False),
]


@pytest.mark.parametrize(("body", "changed"), CASES, ids=[body for body, _ in CASES])
def test_only_where_products_alone_read_it(graphs, body, changed):
    constants = {
        "w": weights(12, 5), "w2": weights(12, 5), "w1": weights(1, 5), "l": weights(4, 1),
        "w4": weights(4, 5), "k": weights(12), "s": np.array(0.05, np.float32), "z": np.array(3, np.int8),
        "wq": (weights(12, 5) * 40).astype(np.int8), "wr": (weights(5, 12) * 40).astype(np.int8),
        "s5": np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32), "z5": np.zeros(5, np.int8),
        "s12": np.linspace(0.1, 1, 12).astype(np.float32), "z12": np.zeros(12, np.int8),
        "t": np.array([1]),
    }  # fmt: skip
    used = {name: array for name, array in constants.items() if any(name == word for word in words(body))}
    if "ReduceSum(d, t)" in body:
        used["t"] = np.array([0])
    before = graphs.build(f"(float[1,3,2,2] x) => (float[?,?] y) {{ {body} }}", **used)
    model = graphs.judge(flatten_channels_last, before, tolerance=1e-5)
    if changed is not None:
        assert (graphs.ops(model).get("Reshape", 0) == 1) == changed


def words(body: str) -> set[str]:
    return {word.strip("(),") for word in body.replace("(", " ").split()}


@pytest.mark.parametrize("shape", [(1, 12, 1, 1), (1, 3, 4)])
def test_without_a_picture_nothing_happens(graphs, shape):
    text = f"(float{list(shape)} x) => (float[1,5] y) {{ a = Flatten(x) y = MatMul(a, w) }}"
    graphs.judge(flatten_channels_last, graphs.build(text, w=weights(12, 5)), {"Flatten": 1, "MatMul": 1})


def test_shared_weights_are_not_written_to(graphs):
    text = """(float[1,3,2,2] x, float[1,12] u) => (float[1,5] y, float[1,5] z) {
        a = Flatten(x)
        y = MatMul(a, w)
        z = MatMul(u, w)
    }"""
    graphs.judge(flatten_channels_last, graphs.build(text, w=weights(12, 5)), {**TURNED, "MatMul": 2})
