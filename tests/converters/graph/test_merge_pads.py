"""Pad nodes go into the convolution or pool behind them where that changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.graph.merge_pads import merge_pads
from toolchain.converters.graph.remove_dead import remove_dead

BOTH = [merge_pads, remove_dead]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def pads(*sizes: int) -> np.ndarray:
    return np.array(sizes, np.int64)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    own=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    by_axes=st.booleans(),
)
def test_convolutions_take_any_padding(graphs, sizes, own, stride, dilation, by_axes):
    top, left, bottom, right = sizes
    text = f"""(float[1,2,9,8] x) => (float[1,3,?,?] y) {{
        a = Pad(x, p{", , axes" if by_axes else ""})
        y = Conv<pads={own}, strides=[{stride},{stride}], dilations=[{dilation},{dilation}]>(a, w)
    }}"""
    constants = {"w": weights(3, 2, 3, 3)}
    if by_axes:
        constants |= {"p": pads(left, top, right, bottom), "axes": pads(-1, 2)}
    else:
        constants["p"] = pads(0, 0, top, left, 0, 0, bottom, right)
    graphs.judge(BOTH, graphs.build(text, **constants), {"Conv": 1})


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(graphs, rank):
    shape = [1, 2, *[6] * rank]
    text = f"(float{shape} x) => (float[1,3{',?' * rank}] y) {{ a = Pad(x, p) y = Conv(a, w) }}"
    sizes = pads(0, 0, *[1] * rank, 0, 0, *[2] * rank)
    graphs.judge(BOTH, graphs.build(text, p=sizes, w=weights(3, 2, *[3] * rank)), {"Conv": 1})


SPATIAL = pads(0, 0, 1, 1, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("body", "merged"),
    [
        ("a = Pad(x, p, half) y = Conv(a, w)", False),
        ('a = Pad<mode="edge">(x, p) y = Conv(a, w)', False),
        ('a = Pad<mode="reflect">(x, p) y = Conv(a, w)', False),
        ('a = Pad(x, p) y = Conv<auto_pad="SAME_UPPER">(a, w)', False),
        ('a = Pad(x, p) y = Conv<auto_pad="VALID">(a, w)', True),
        ("a = Pad(x, batch) y = Conv(a, w)", False),
        ("a = Pad(x, channel) y = Conv(a, w5)", False),
        ("a = Pad(x, crop) y = Conv(a, w)", False),
        ("a = Pad(x, p) y = AveragePool<kernel_shape=[3,3]>(a)", True),
        ("a = Pad(x, p) y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)", False),
        ("a = Pad(x, p) y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(a)", True),
        ("a = Pad(x, p) y = AveragePool<kernel_shape=[1,1], strides=[2,2]>(a)", False),
        ("a = Pad(x, p) y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(a)", False),
        ("a = Pad(x, p, half) y = AveragePool<kernel_shape=[3,3]>(a)", False),
        ("a = Pad(x, p) y = MaxPool<kernel_shape=[3,3]>(a)", False),
        ("a = Pad(x, p, lowest) y = MaxPool<kernel_shape=[3,3]>(a)", True),
        ("a = Pad(x, p, infinite) y = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)", True),
        ("a = Pad(x, p, infinite) y = MaxPool<kernel_shape=[2,2], pads=[1,1,1,1]>(a)", False),
        ("a = Pad(x, p, infinite) y = MaxPool<kernel_shape=[3,3], dilations=[2,2]>(a)", False),
        ("a = Pad(x, p, infinite) y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(a)", False),
        ("r = Relu(x) a = Pad(r, p) y = MaxPool<kernel_shape=[3,3]>(a)", True),
        ("r = Clip(x, half) a = Pad(r, p) y = MaxPool<kernel_shape=[3,3]>(a)", True),
        ("r = Clip(x, minus, half) a = Pad(r, p) y = MaxPool<kernel_shape=[3,3]>(a)", False),
    ],
)
def test_where_it_is_exact(graphs, body, merged):
    text = f"(float[1,4,7,7] x) => (float[?,?,?,?] y) {{ {body} }}"
    constants = {
        "p": SPATIAL,
        "batch": pads(1, 0, 1, 1, 0, 0, 1, 1),
        "channel": pads(0, 1, 1, 1, 0, 0, 1, 1),
        "crop": pads(0, 0, 1, 1, 0, 0, -1, 1),
        "half": np.array(0.5, np.float32),
        "minus": np.array(-0.5, np.float32),
        "lowest": np.array(np.finfo(np.float32).min),
        "infinite": np.array(-np.inf, np.float32),
        "w": weights(3, 4, 2, 2),
        "w5": weights(3, 5, 2, 2),
    }
    model = graphs.judge(
        BOTH, graphs.build(text, **{name: c for name, c in constants.items() if name in body})
    )
    assert graphs.ops(model).get("Pad", 0) == (0 if merged else 1)


def test_other_readers_keep_the_pad(graphs):
    text = """(float[1,2,7,7] x) => (float[1,3,9,9] y, float[1,2,11,11] z) {
        a = Pad(x, p)
        y = Conv(a, w)
        z = Abs(a)
    }"""
    before = graphs.build(text, p=pads(0, 0, 2, 2, 0, 0, 2, 2), w=weights(3, 2, 3, 3))
    graphs.judge(BOTH, before, {"Pad": 1, "Conv": 1, "Abs": 1})


def test_a_pool_whose_indices_are_read_keeps_the_pad(graphs):
    text = """(float[1,2,7,7] x) => (float[1,2,7,6] y, int64[1,2,7,6] i) {
        a = Pad(x, p, low)
        y, i = MaxPool<kernel_shape=[3,3]>(a)
    }"""
    before = graphs.build(text, p=SPATIAL, low=np.array(-np.inf, np.float32))
    graphs.judge(BOTH, before, {"Pad": 1, "MaxPool": 1})
