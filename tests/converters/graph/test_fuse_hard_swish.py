"""HardSwish is found in every order of its factors, and only where it is HardSwish."""

from __future__ import annotations

import re

import numpy as np
import pytest

from toolchain.converters.graph.fuse_hard_swish import fuse_hard_swish
from toolchain.converters.graph.remove_dead import remove_dead

BOTH = [fuse_hard_swish, remove_dead]
CONSTANTS = {"zero": 0.0, "two": 2.0, "three": 3.0, "six": 6.0, "sixth": 1 / 6, "five": 5.0}


@pytest.mark.parametrize(
    ("body", "fused"),
    [
        ("a = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(x, a)", True),
        ("a = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(a, x)", True),
        ("a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)", True),
        ("a = Add(three, x) b = Clip(a, zero, six) c = Div(b, six) y = Mul(c, x)", True),
        ("a = Add(x, three) b = Clip(a, zero, six) c = Mul(b, sixth) y = Mul(c, x)", True),
        ("a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, sixth) y = Mul(b, c)", True),
        ("a = HardSigmoid(x) y = Mul(x, a)", False),
        ("a = HardSigmoid<alpha=0.16666667, beta=0.4>(x) y = Mul(x, a)", False),
        ("n = Neg(x) a = HardSigmoid<alpha=0.16666667, beta=0.5>(n) y = Mul(x, a)", False),
        ("a = Add(x, two) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)", False),
        ("a = Add(x, three) b = Clip(a, zero, five) c = Mul(x, b) y = Div(c, six)", False),
        ("a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, five)", False),
        ("a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(six, c)", False),
        ("a = Sub(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)", False),
    ],
)
def test_patterns(graphs, body, fused):
    names = set(re.findall(r"\w+", body))
    constants = {name: np.array(value, np.float32) for name, value in CONSTANTS.items() if name in names}
    before = graphs.build(f"(float[2,5,7] x) => (float[2,5,7] y) {{ {body} }}", **constants)
    model = graphs.judge(BOTH, before, {"HardSwish": 1} if fused else None, tolerance=1e-6)
    assert fused or len(model.graph) == len(before.graph.node)


def test_an_opset_without_it_stays(graphs):
    text = "(float[3] x) => (float[3] y) { a = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(x, a) }"
    graphs.judge(BOTH, graphs.build(text, 13), {"HardSigmoid": 1, "Mul": 1})
