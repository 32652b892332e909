"""What no output depends on goes."""

from __future__ import annotations

import numpy as np

from toolchain.converters.graph.remove_dead import remove_dead


def test_unread_nodes_and_weights_go(graphs):
    text = """(float[2] x, float[2] unread) => (float[2] y) {
        y = Add(x, k)
        a = Mul(x, dead)
        b = Neg(a)
    }"""
    before = graphs.build(text, k=np.ones(2, np.float32), dead=np.ones(2, np.float32))
    model = graphs.judge(remove_dead, before, {"Add": 1})
    assert list(model.graph.initializers) == ["k"]
    assert [value.name for value in model.graph.inputs] == ["x", "unread"]


def test_a_node_stays_for_one_of_its_outputs(graphs):
    text = "(float[4] x) => (float[2] y) { a, y = Split<num_outputs=2>(x) }"
    graphs.judge(remove_dead, graphs.build(text), {"Split": 1})


def test_what_a_subgraph_reads_stays(graphs):
    text = """(float[2] x, bool c) => (float[2] y) {
        a = Neg(x)
        y = If (c) <
            then_branch = t () => (float[2] r) { r = Add(a, k) },
            else_branch = e () => (float[2] s) { s = Identity(x) }
        >
    }"""
    before = graphs.build(text, k=np.ones(2, np.float32))
    model = graphs.parse(before)
    assert not remove_dead(model)
    graphs.assert_same(before, model)
