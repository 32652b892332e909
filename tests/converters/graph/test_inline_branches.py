"""An If with a known condition becomes its branch; any other stays."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from toolchain.converters.graph.fold_constants import fold_constants
from toolchain.converters.graph.inline_branches import inline_branches

THEN = "then_branch = one () => (float[2,3] t) { t = Relu(x) }"
ELSE = "else_branch = two () => (float[2,3] e) { h = Neg(x) e = Mul(h, h) }"
TAKEN = {True: {"Relu": 1}, False: {"Neg": 1, "Mul": 1}}


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_that_is_taken(graphs, condition):
    text = f"(float[2,3] x) => (float[2,3] y) {{ y = If(c) <{THEN}, {ELSE}> }}"
    before = graphs.build(text, c=np.array(condition))
    graphs.judge([inline_branches, fold_constants], before, TAKEN[condition])


def test_a_condition_on_shapes(graphs):
    text = """(float[2,3] x) => (float[2,3] y) {
        s = Shape(x) r = Size(s) two = Constant<value_int=2>() c = Equal(r, two)
        m = If(c) <then_branch = one () => (float[2,3] t) { t = Relu(x) },
                   else_branch = two () => (float e) { e = ReduceSum(x) }>
        y = Neg(m)
    }"""
    model = graphs.clean(graphs.build(text))
    assert graphs.ops(model) == {"Relu": 1, "Neg": 1}
    graphs.assert_same(graphs.build(text), model)


def test_both_branches_use_the_same_names(graphs):
    name = "() => (float[3] t)"
    first = f"then_branch = one {name} {{ t = Relu(x) }}, else_branch = two {name} {{ t = Neg(x) }}"
    second = f"then_branch = one {name} {{ t = Abs(x) }}, else_branch = two {name} {{ t = Exp(x) }}"
    text = f"(float[3] x) => (float[3] y, float[3] z) {{ y = If(c) <{first}> z = If(c) <{second}> }}"
    before = graphs.build(text, c=np.array(True))
    model = graphs.clean(before)
    assert graphs.ops(model) == {"Relu": 1, "Abs": 1}
    graphs.assert_same(before, model)


def test_branch_in_a_branch(graphs):
    inner = (
        "then_branch = three () => (float[3] t) { t = Abs(x) },"
        "else_branch = four () => (float[3] e) { e = Neg(x) }"
    )
    text = f"""(float[3] x) => (float[3] y) {{
        y = If(c) <then_branch = one () => (float[3] a) {{ h = If(c) <{inner}> a = Relu(h) }},
                   else_branch = two () => (float[3] b) {{ b = Identity(x) }}>
    }}"""
    before = graphs.build(text, c=np.array(True))
    model = graphs.clean(before)
    assert graphs.ops(model) == {"Abs": 1, "Relu": 1}
    graphs.assert_same(before, model)


@pytest.mark.parametrize("outer", [True, False], ids=["value from outside", "initializer of the branch"])
def test_a_branch_that_only_hands_on(graphs, outer):
    """The result is no node's output, so that a graph output needs an Identity."""
    text = f"(float[3] x) => (float[3] y) {{ y = If(c) <{THEN}, {ELSE}> }}".replace("[2,3]", "[3]")
    before = graphs.build(text, c=np.array(True))
    branch = before.graph.node[0].attribute[0].g
    if outer:
        branch.node[0].CopyFrom(onnx.helper.make_node("Identity", ["x"], ["t"]))
    else:
        branch.initializer.append(onnx.numpy_helper.from_array(np.arange(3, dtype=np.float32), "t"))
        del branch.node[:]
    model = graphs.clean(before)
    assert graphs.ops(model) == {"Identity": 1}
    graphs.assert_same(before, model)


def test_an_unknown_condition_stays(graphs):
    text = f"(bool c, float[2,3] x) => (float[2,3] y) {{ y = If(c) <{THEN}, {ELSE}> }}"
    graphs.judge(inline_branches, graphs.build(text), {"If": 1})
