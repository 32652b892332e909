"""Batch normalization goes into the weights before it, or becomes one Mul and one Add."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.graph.fold_batch_norm import fold_batch_norm
from toolchain.converters.graph.remove_dead import remove_dead
from toolchain.errors import UnsupportedError


def norm(channels: int, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "gamma": random.uniform(-2, 2, channels).astype(np.float32),
        "beta": random.standard_normal(channels).astype(np.float32),
        "mean": random.standard_normal(channels).astype(np.float32),
        "variance": random.uniform(0.1, 3, channels).astype(np.float32),
    }


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


BN = "BatchNormalization<epsilon=0.01>"


@settings(max_examples=30, deadline=None)
@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    kernel=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    bias=st.booleans(),
    transposed=st.booleans(),
)
def test_convolutions_absorb_it(graphs, groups, inputs, outputs, kernel, bias, transposed):
    channels, spatial = groups * outputs, [5] * len(kernel)
    first, second = (groups * inputs, outputs) if transposed else (groups * outputs, inputs)
    text = f"""(float{[2, groups * inputs, *spatial]} x) => (float{[None] * (2 + len(kernel))} y) {{
        c = {"ConvTranspose" if transposed else "Conv"}<group={groups}>(x, w{", b" if bias else ""})
        y = {BN}(c, gamma, beta, mean, variance)
    }}""".replace("None", "?")
    constants = {"w": weights(first, second, *kernel), **norm(channels)}
    if bias:
        constants["b"] = weights(channels)
    before = graphs.build(text, **constants)
    graphs.judge(fold_batch_norm, before, {"ConvTranspose" if transposed else "Conv": 1}, tolerance=2e-5)


@settings(max_examples=20, deadline=None)
@given(
    bias=st.sampled_from([None, (6,), (1, 6), (4, 6), (4, 1), (1,), ()]),
    turned=st.booleans(),
    alpha=st.sampled_from([1.0, 0.5]),
    beta=st.sampled_from([1.0, -2.0, 0.0]),
)
def test_gemm_absorbs_it(graphs, bias, turned, alpha, beta):
    text = f"""(float[4,3] x) => (float[4,6] y) {{
        c = Gemm<transB={int(turned)}, alpha={alpha:f}, beta={beta:f}>(x, w{"" if bias is None else ", b"})
        y = {BN}(c, gamma, beta, mean, variance)
    }}"""
    constants = {"w": weights(6, 3) if turned else weights(3, 6), **norm(6)}
    if bias is not None:
        constants["b"] = weights(*bias)
    graphs.judge(fold_batch_norm, graphs.build(text, **constants), {"Gemm": 1})


def test_matmul_of_rank_2_becomes_gemm(graphs):
    text = f"""(float[4,3] x) => (float[4,6] y) {{
        c = MatMul(x, w)
        y = {BN}(c, gamma, beta, mean, variance)
    }}"""
    graphs.judge(fold_batch_norm, graphs.build(text, w=weights(3, 6), **norm(6)), {"Gemm": 1})


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5), (2, 4, 5, 3), (1, 4, 2, 3, 2)])
def test_alone_it_becomes_a_product_and_a_sum_per_channel(graphs, shape):
    text = f"(float{list(shape)} x) => (float{list(shape)} y) {{ y = {BN}(x, gamma, beta, mean, variance) }}"
    model = graphs.judge(fold_batch_norm, graphs.build(text, **norm(4)), {"Mul": 1, "Add": 1})
    scale = next(iter(model.graph)).inputs[1]
    assert tuple(scale.shape) == (4, *[1] * (len(shape) - 2))


def test_half_precision_stays_half_precision(graphs):
    text = f"""(float16[1,2,4,4] x) => (float16[1,3,4,4] y) {{
        c = Conv(x, w)
        y = {BN}(c, gamma, beta, mean, variance)
    }}"""
    constants = {
        name: array.astype(np.float16) for name, array in {"w": weights(3, 2, 1, 1), **norm(3)}.items()
    }
    graphs.judge(fold_batch_norm, graphs.build(text, **constants), {"Conv": 1}, tolerance=5e-3)


@pytest.mark.parametrize(
    ("body", "outputs", "wanted"),
    [
        pytest.param(
            "z = Relu(c)", "y, float[1,4,5,5] z", {"Conv": 1, "Mul": 1, "Add": 1, "Relu": 1}, id="readers"
        ),
        pytest.param("", "y, float[1,4,5,5] c", {"Conv": 1, "Mul": 1, "Add": 1}, id="output"),
        pytest.param("z = Conv(x, w)", "y, float[1,4,5,5] z", {"Conv": 2}, id="shared weights"),
    ],
)
def test_what_others_read_keeps_its_value(graphs, body, outputs, wanted):
    text = f"""(float[1,2,5,5] x) => (float[1,4,5,5] {outputs}) {{
        c = Conv(x, w)
        y = {BN}(c, gamma, beta, mean, variance)
        {body}
    }}"""
    graphs.judge(fold_batch_norm, graphs.build(text, w=weights(4, 2, 1, 1), **norm(4)), wanted)


def test_computed_weights_leave_the_convolution_alone(graphs):
    text = f"""(float[1,2,5,5] x, float[4,2,1,1] w) => (float[1,4,5,5] y) {{
        c = Conv(x, w)
        y = {BN}(c, gamma, beta, mean, variance)
    }}"""
    graphs.judge(fold_batch_norm, graphs.build(text, **norm(4)), {"Conv": 1, "Mul": 1, "Add": 1})


def test_computed_parameters_leave_it_alone(graphs):
    text = f"""(float[1,4,5,5] x, float[4] gamma) => (float[1,4,5,5] y) {{
        y = {BN}(x, gamma, beta, mean, variance)
    }}"""
    constants = norm(4)
    del constants["gamma"]
    graphs.judge(fold_batch_norm, graphs.build(text, **constants), {"BatchNormalization": 1})


def test_two_in_a_row_both_go(graphs):
    text = f"""(float[1,2,5,5] x) => (float[1,4,5,5] y) {{
        c = Conv(x, w)
        n = {BN}(c, gamma, beta, mean, variance)
        y = {BN}(n, gamma, beta, mean, variance)
    }}"""
    model = graphs.judge(
        [fold_batch_norm, remove_dead], graphs.build(text, w=weights(4, 2, 1, 1), **norm(4)), {"Conv": 1}
    )
    assert len(model.graph.initializers) == 2


def test_training_mode_is_refused(graphs):
    text = """(float[1,4,5,5] x) => (float[1,4,5,5] y) {
        y, m, v = BatchNormalization<training_mode=1>(x, gamma, beta, mean, variance)
    }"""
    with pytest.raises(UnsupportedError, match="normalizes with the statistics of the batch"):
        graphs.judge(fold_batch_norm, graphs.build(text, **norm(4)))
