"""Every node and value gets a name of its own; the ends of the graph keep theirs."""

from __future__ import annotations

import numpy as np

from toolchain.converters.graph.unique_names import unique_names


def test_clashes_and_gaps_are_filled(graphs):
    before = graphs.build(
        "(float[2] x) => (float[2] y) { a = Neg(x) b = Mul(a, k) y = Abs(b) }", k=np.ones(2, np.float32)
    )
    model = graphs.parse(before)
    nodes = list(model.graph)
    nodes[0].name, nodes[1].name, nodes[2].name = "", "n", "n"
    nodes[0].outputs[0].name = "y"
    nodes[1].outputs[0].name = "k"
    assert unique_names(model)
    assert [node.name for node in nodes] == ["Neg", "n", "n_2"]
    assert [node.outputs[0].name for node in nodes] == ["y_2", "k_2", "y"]
    assert list(model.graph.initializers) == ["k"]
    assert not unique_names(model)
    graphs.assert_same(before, model)


def test_names_inside_subgraphs_are_not_taken(graphs):
    before = graphs.build("""(float[2] x, bool c) => (float[2] y) {
        a = Neg(x)
        y = If (c) <
            then_branch = t () => (float[2] r) { r = Abs(a) },
            else_branch = e () => (float[2] s) { s = Identity(x) }
        >
    }""")
    model = graphs.parse(before)
    next(iter(model.graph)).outputs[0].name = "r"
    assert unique_names(model)
    graphs.assert_same(before, model)
