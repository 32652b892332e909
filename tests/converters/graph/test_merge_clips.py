"""Limiters in a row become one, in one canonical form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.graph.merge_clips import merge_clips

LOWEST, LARGEST = np.finfo(np.float32).min, np.finfo(np.float32).max


def number(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.float32)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a = Relu(x) y = Clip(a, zero, six)", {"Clip": 1}),
        ("a = Clip(x, zero, six) y = Relu(a)", {"Clip": 1}),
        ("a = Relu(x) y = Relu(a)", {"Relu": 1}),
        ("a = Clip(x, zero) y = Clip(a, , six)", {"Clip": 1}),
        ("y = Clip(x, zero)", {"Relu": 1}),
        ("y = Clip(x, zero, largest)", {"Relu": 1}),
        ("y = Clip(x, zero, infinite)", {"Relu": 1}),
        ("a = Neg(x) y = Clip(a, lowest, largest)", {"Neg": 1}),
        ("y = Clip(x, lowest, largest)", {"Identity": 1}),
        ("y = Clip(x, lowest, six)", {"Clip": 1}),
        ("y = Max(x, zero)", {"Relu": 1}),
        ("y = Max(zero, x)", {"Relu": 1}),
        ("y = Min(x, six)", {"Clip": 1}),
        ("a = Max(x, zero) y = Min(a, six)", {"Clip": 1}),
        ("y = Max(x, row)", {"Max": 1}),
        ("y = Max(x, zero, six)", {"Max": 1}),
        ("y = Clip(x, six, zero)", {"Clip": 1}),
        ("a = Clip(x, six, zero) y = Relu(a)", {"Clip": 1, "Relu": 1}),
        ("a = Relu(x) b = Neg(a) y = Clip(b, lowest, six)", {"Relu": 1, "Neg": 1, "Clip": 1}),
    ],
)
def test_limiters(graphs, body, wanted):
    text = f"(float[2,3] x) => (float[2,3] y) {{ {body} }}"
    constants = {
        "zero": number(0),
        "six": number(6),
        "row": number(1, 3),
        "lowest": number(LOWEST),
        "largest": number(LARGEST),
        "infinite": number(math.inf),
    }
    graphs.judge(merge_clips, graphs.build(text, **constants), wanted)


def test_a_limited_value_that_others_read_stays(graphs):
    text = "(float[2,3] x) => (float[2,3] y, float[2,3] a) { a = Relu(x) y = Clip(a, zero, six) }"
    before = graphs.build(text, zero=number(0), six=number(6))
    graphs.judge(merge_clips, before, {"Relu": 1, "Clip": 1})


def test_integers_are_left_alone(graphs):
    text = "(int32[2,3] x) => (int32[2,3] y) { y = Max(x, zero) }"
    graphs.judge(merge_clips, graphs.build(text, zero=np.array(0, np.int32)), {"Max": 1})


def test_computed_bounds_are_left_alone(graphs):
    text = "(float[2,3] x, float bound) => (float[2,3] y) { a = Relu(x) y = Clip(a, zero, bound) }"
    graphs.judge(merge_clips, graphs.build(text, zero=number(0)), {"Relu": 1, "Clip": 1})


bounds = st.sampled_from([-math.inf, -4.0, -1.0, 0.0, 0.5, 3.0, 6.0, math.inf])


limits = (
    st.tuples(bounds, bounds).map(sorted).filter(lambda pair: pair[0] != math.inf and pair[1] != -math.inf)
)


@settings(max_examples=60, deadline=None)
@given(chain=st.lists(limits, min_size=1, max_size=4))
def test_any_chain_becomes_at_most_one(graphs, chain):
    lines, constants, source = [], {}, "n"
    for index, (low, high) in enumerate(chain):
        constants |= {f"l{index}": number(low), f"h{index}": number(high)}
        lines.append(f"a{index} = Clip({source}, l{index}, h{index})")
        source = f"a{index}"
    text = f"(float[8,9] x) => (float[8,9] y) {{ n = Abs(x) m = Neg(n) {' '.join(lines)} y = Neg({source}) }}"
    model = graphs.judge(merge_clips, graphs.build(text.replace("Clip(n", "Clip(m"), **constants))
    assert sum(count for op, count in graphs.ops(model).items() if op in ("Clip", "Relu")) <= 1
