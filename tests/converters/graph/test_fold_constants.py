"""What does not depend on the inputs is computed once; shapes are learned on the way."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.graph.fold_constants import fold_constants
from toolchain.converters.graph.lift_constants import lift_constants
from toolchain.converters.graph.remove_dead import remove_dead
from toolchain.errors import UnsupportedError


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-2, 2, shape).astype(np.float32)


FOLDED = {
    "k = Add(a, b)": {"a": floats(3, 1), "b": floats(4)},
    "k = Div(a, b)": {"a": floats(3, 1), "b": floats(4)},
    "k = Sub(a, b)": {"a": floats(3, 4), "b": floats(4)},
    "k = Transpose(a)": {"a": floats(4, 3)},
    "k = Transpose<perm=[1,0]>(a)": {"a": floats(4, 3)},
    "k = Reshape(a, s)": {"a": floats(2, 6), "s": ints(3, -1)},
    "k = Reshape(a, s)  ": {"a": floats(3, 2, 2), "s": ints(0, -1)},
    "k = Expand(a, s)": {"a": floats(3, 1), "s": ints(1, 4)},
    "k = Concat<axis=-1>(a, b)": {"a": floats(3, 1), "b": floats(3, 3)},
    "k = Gather<axis=1>(a, i)": {"a": floats(3, 5), "i": ints(0, -1, 2, 2)},
    "u = Squeeze(a) k = Unsqueeze(u, i)": {"a": floats(1, 4), "i": ints(0)},
    "u = Squeeze(a, i) k = Unsqueeze(u, i)": {"a": floats(1, 4), "i": ints(0)},
    "k = Slice(a, s, e)": {"a": floats(5, 9), "s": ints(1, 2), "e": ints(4, 6)},
    "c = Cast<to=7>(a) k = Cast<to=1>(c)": {"a": floats(3, 4)},
    "c = Cast<to=3>(a) k = Cast<to=1>(c)": {"a": floats(3, 4)},
    "c = Cast<to=10>(a) k = CastLike(c, x)": {"a": floats(3, 4)},
    "c = Cast<to=9>(a) k = Cast<to=1>(c)": {"a": floats(3, 4)},
    "k = Where(c, a, b)": {"c": floats(3, 1) > 0, "a": floats(3, 4), "b": floats(4)},
    "k = Exp(a)": {"a": floats(3, 4)},
    "k, other = Split<axis=0, num_outputs=2>(a)": {"a": floats(6, 4)},
    "k, i = TopK(a, n)": {"a": floats(3, 6), "n": ints(4)},
    "s = Shape(x) k = ConstantOfShape<value=float[1]{3}>(s)": {},
    "s = Shape<start=0>(x) f = Cast<to=1>(s) t = Tile(f, n) k = Reshape(t, s)": {"n": ints(6)},
    "n = Size(x) f = Cast<to=1>(n) k = Mul(f, a)": {"a": floats(3, 4)},
    "r = Range(b, e, d) f = Cast<to=1>(r) k = Reshape(f, s)": {
        "b": np.array(0), "e": np.array(12), "d": np.array(1), "s": ints(3, 4),
    },
}  # fmt: skip


@pytest.mark.parametrize("body", FOLDED, ids=[body.strip() for body in FOLDED])
def test_chains_of_constants_become_one(graphs, body):
    before = graphs.build(f"(float[3,4] x) => (float[3,4] y) {{ {body} y = Mul(x, k) }}", **FOLDED[body])
    graphs.judge([lift_constants, fold_constants, remove_dead], before, {"Mul": 1})


@pytest.mark.parametrize(
    ("left", "right", "op"),
    [(-7, 2, "Div"), (7, -2, "Div"), (7, 2, "Div"), (-7, 2, "Mod"), (2**62, 3, "Div"), (5, 3, "Sub")],
)
def test_integer_arithmetic_is_that_of_onnx(graphs, left, right, op):
    text = f"(int64[1] x) => (int64[1] y) {{ k = {op}(a, b) y = Add(x, k) }}"
    graphs.judge([fold_constants, remove_dead], graphs.build(text, a=ints(left), b=ints(right)))


@pytest.mark.parametrize("value", [3e9, -3e9, np.nan, np.inf, 2.5, -2.5, 300.7])
@pytest.mark.parametrize("dtype", [6, 7, 3])
def test_casts_to_integers(graphs, value, dtype):
    text = f"(float[1] x) => (float[1] y) {{ c = Cast<to={dtype}>(a) k = Cast<to=1>(c) y = Add(x, k) }}"
    graphs.clean(graphs.build(text, a=np.array([value], np.float32)))
    if abs(value) < 100:
        graphs.judge(
            [fold_constants, remove_dead], graphs.build(text, a=np.array([value], np.float32)), {"Add": 1}
        )


def test_a_chain_of_shapes_gives_a_static_reshape(graphs):
    text = """(float[2,3,4,5] x) => (float[?,?] y) {
        s = Shape(x)
        n = Gather<axis=0>(s, zero)
        u = Unsqueeze(n, axis)
        t = Concat<axis=0>(u, rest)
        y = Reshape(x, t)
    }"""
    before = graphs.build(text, zero=np.array(0), axis=ints(0), rest=ints(-1))
    model = graphs.judge([fold_constants, remove_dead], before, {"Reshape": 1})
    assert tuple(model.graph.outputs[0].shape) == (2, 60)


@pytest.mark.parametrize("shape", [(8,), (1, 512, 512, 2)])
def test_results_are_kept_only_if_small(graphs, shape):
    text = f"(float{list(shape)} x) => (float{list(shape)} y) {{ k = Expand(a, s) y = Add(x, k) }}"
    before = graphs.build(text, a=floats(1), s=ints(*shape))
    large = math.prod(shape) > 1000
    graphs.judge([fold_constants, remove_dead], before, {"Expand": 1, "Add": 1} if large else {"Add": 1})


def test_a_large_weight_may_be_transposed(graphs):
    text = "(float[1,600] x) => (float[1,900] y) { t = Transpose(w) y = MatMul(x, t) }"
    graphs.judge([fold_constants, remove_dead], graphs.build(text, w=floats(900, 600)), {"MatMul": 1})


def test_an_outer_product_of_constants_that_explodes_stays(graphs):
    text = "(float[1] x) => (float[?,?] y) { k = Mul(a, b) y = Add(x, k) }"
    model = graphs.parse(graphs.build(text, a=floats(200_000, 1), b=floats(1, 200_000)))
    fold_constants(model)
    assert graphs.ops(model) == {"Mul": 1, "Add": 1}


def test_quantized_weights_stay_quantized(graphs):
    text = """(float[1,4] x) => (float[1,3] y) {
        q = QuantizeLinear(w, s, z)
        d = DequantizeLinear(q, s, z)
        y = MatMul(x, d)
    }"""
    constants = {"w": floats(4, 3), "s": np.array(0.02, np.float32), "z": np.array(0, np.int8)}
    before = graphs.build(text, **constants)
    graphs.judge(fold_constants, before, {"QuantizeLinear": 1, "DequantizeLinear": 1, "MatMul": 1})


@pytest.mark.parametrize("op", ["RandomNormal<shape=[2]>()", "RandomUniformLike(a)", "Bernoulli(a)"])
def test_random_values_stay_random(graphs, op):
    model = graphs.parse(
        graphs.build(f"(float[2] x) => (float[2] y) {{ r = {op} y = Add(x, r) }}", a=floats(2))
    )
    fold_constants(model)
    assert len(model.graph) == 2


def test_strings_stay(graphs):
    text = "(float[2] x) => (float[2] y, string[2] t) { y = Neg(x) t = Gather(s, i) }"
    before = graphs.build(text, i=ints(1, 0))
    strings = onnx.helper.make_tensor("s", onnx.TensorProto.STRING, [2], [b"a", b"b"])
    before.graph.initializer.append(strings)
    model = graphs.parse(before)
    fold_constants(model)
    assert graphs.ops(model) == {"Neg": 1, "Gather": 1}


def test_a_constant_output_is_still_computed_by_a_node(graphs):
    text = "(float[2] x) => (float[2] y, float[2] z) { y = Add(a, b) z = Mul(x, y) }"
    model = graphs.judge(
        fold_constants, graphs.build(text, a=floats(2), b=floats(2)), {"Identity": 1, "Mul": 1}
    )
    assert [value.name for value in model.graph.outputs] == ["y", "z"]


def test_control_flow_stays(graphs):
    text = """(float[2] x) => (float[2] y) {
        y = If (c) <
            then_branch = t () => (float[2] r) { r = Neg(x) },
            else_branch = e () => (float[2] s) { s = Identity(x) }
        >
    }"""
    model = graphs.parse(graphs.build(text, c=np.array(True)))
    assert not fold_constants(model)
    assert graphs.ops(model) == {"If": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Conv(x, w)", r"'broken' \(Conv\)"),
        ("y = Reshape(x, w)", r"'broken' \(Reshape\)"),
        ("y = Concat<axis=7>(x, x)", r"'broken' \(Concat\)"),
        ("y = Nonsense(x)", "operator Nonsense, which opset 18 does not have"),
    ],
)
def test_a_node_that_contradicts_its_operator_is_named(graphs, body, message):
    before = graphs.build(f"(float[1,3,4,4] x) => (float[?,?,?,?] y) {{ {body} }}", w=floats(2, 5, 1, 1))
    before.graph.node[0].name = "broken"
    with pytest.raises(UnsupportedError, match=message):
        graphs.clean(before)


shapes = st.lists(st.integers(1, 3), min_size=0, max_size=3)


@settings(max_examples=40, deadline=None)
@given(left=shapes, right=shapes, op=st.sampled_from(["Add", "Sub", "Mul", "Div", "Min", "Pow", "Greater"]))
def test_broadcasting_is_that_of_onnx(graphs, left, right, op):
    try:
        shape = list(np.broadcast_shapes(tuple(left), tuple(right)))
    except ValueError:
        return
    cast = "Cast<to=1>(k)" if op == "Greater" else "Identity(k)"
    text = f"(float{shape or ''} x) => (float{shape or ''} y) {{ k = {op}(a, b) c = {cast} y = Add(x, c) }}"
    constants = {"a": np.abs(floats(*left)), "b": floats(*right)}
    graphs.judge([fold_constants, remove_dead], graphs.build(text, **constants), {"Add": 1})
