"""Constants per channel after a convolution or matrix product go into its weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.graph.fold_scale_shift import fold_scale_shift


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).uniform(0.5, 2, shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    op=st.sampled_from(["Add", "Sub", "Mul", "Div"]),
    constant_first=st.booleans(),
    shape=st.sampled_from([(), (1,), (6, 1, 1), (1, 6, 1, 1), (1, 1, 1, 1), (1, 1)]),
    transposed=st.booleans(),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
def test_convolutions_absorb_constants_per_channel(
    graphs, op, constant_first, shape, transposed, groups, bias
):
    text = f"""(float[2,4,5,5] x) => (float[2,6,?,?] y) {{
        c = {"ConvTranspose" if transposed else "Conv"}<group={groups}>(x, w{", b" if bias else ""})
        y = {op}({"k, c" if constant_first else "c, k"})
    }}"""
    kernel = (4, 6 // groups, 2, 3) if transposed else (6, 4 // groups, 2, 3)
    constants = {"w": weights(*kernel), "k": weights(*shape)} | ({"b": weights(6)} if bias else {})
    stays = op == "Div" and constant_first
    wanted = {"ConvTranspose" if transposed else "Conv": 1} | ({op: 1} if stays else {})
    graphs.judge(fold_scale_shift, graphs.build(text, **constants), wanted)


@pytest.mark.parametrize(
    ("product", "op", "shape", "wanted"),
    [
        ("MatMul", "Add", (6,), {"Gemm": 1}),
        ("MatMul", "Mul", (6,), {"MatMul": 1}),
        ("MatMul", "Add", (3, 1), {"MatMul": 1, "Add": 1}),
        ("Gemm", "Add", (1, 6), {"Gemm": 1}),
        ("Gemm<transB=0, alpha=0.5>", "Mul", (6,), {"Gemm": 1}),
    ],
)
def test_matrix_products_absorb_constants_per_column(graphs, product, op, shape, wanted):
    text = f"(float[3,4] x) => (float[3,6] y) {{ c = {product}(x, w) y = {op}(c, k) }}"
    graphs.judge(fold_scale_shift, graphs.build(text, w=weights(4, 6), k=weights(*shape)), wanted)


def test_matmul_of_rank_3_is_left_alone(graphs):
    text = "(float[2,3,4] x) => (float[2,3,6] y) { c = MatMul(x, w) y = Add(c, k) }"
    graphs.judge(fold_scale_shift, graphs.build(text, w=weights(4, 6), k=weights(6)), {"MatMul": 1, "Add": 1})


@pytest.mark.parametrize(
    ("op", "constant"),
    [
        pytest.param("Add", weights(5), id="per column"),
        pytest.param("Add", weights(1, 6, 5, 5), id="per pixel"),
        pytest.param("Add", weights(3, 1, 6, 1, 1), id="broadens the rank"),
        pytest.param("Div", np.array([0, 1, 2, 3, 4, 5], np.float32).reshape(6, 1, 1), id="divides by 0"),
        pytest.param("Mul", np.array(np.inf, np.float32), id="infinite"),
    ],
)
def test_other_constants_stay(graphs, op, constant):
    shape = "float[3,1,6,5,5]" if constant.ndim == 5 else "float[1,6,5,5]"
    text = f"(float[1,4,5,5] x) => ({shape} y) {{ c = Conv(x, w) y = {op}(c, k) }}"
    before = graphs.build(text, w=weights(6, 4, 1, 1), k=constant)
    if np.isfinite(constant).all() and constant.all():
        graphs.judge(fold_scale_shift, before, {"Conv": 1, op: 1})
    else:
        model = graphs.clean(before)
        assert graphs.ops(model) == {"Conv": 1, op: 1}


def test_a_value_that_others_read_stays(graphs):
    text = """(float[1,4,5,5] x) => (float[1,6,5,5] y, float[1,6,5,5] z) {
        c = Conv(x, w)
        y = Mul(c, k)
        z = Relu(c)
    }"""
    before = graphs.build(text, w=weights(6, 4, 1, 1), k=weights())
    graphs.judge(fold_scale_shift, before, {"Conv": 1, "Mul": 1, "Relu": 1})


def test_a_shared_weight_is_not_written_to(graphs):
    text = """(float[1,4,5,5] x) => (float[1,6,5,5] y, float[1,6,5,5] z) {
        c = Conv(x, w)
        y = Mul(c, k)
        z = Conv(x, w)
    }"""
    graphs.judge(fold_scale_shift, graphs.build(text, w=weights(6, 4, 1, 1), k=weights(6, 1, 1)), {"Conv": 2})
