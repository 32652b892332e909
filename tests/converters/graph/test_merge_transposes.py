"""Transpositions in a row become one, or none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.graph.merge_transposes import merge_transposes
from toolchain.converters.graph.remove_dead import remove_dead
from toolchain.converters.graph.remove_noops import remove_noops


@settings(max_examples=30, deadline=None)
@given(chain=st.lists(st.one_of(st.none(), st.permutations(range(4))), min_size=2, max_size=4))
def test_any_chain_becomes_at_most_one(graphs, chain):
    lines, source = [], "x"
    for index, perm in enumerate(chain):
        lines.append(f"a{index} = Transpose{'' if perm is None else f'<perm={list(perm)}>'}({source})")
        source = f"a{index}"
    text = f"(float[2,3,4,5] x) => (float[?,?,?,?] y) {{ {' '.join(lines)} y = Abs({source}) }}"
    model = graphs.judge([merge_transposes, remove_noops, remove_dead], graphs.build(text))
    assert graphs.ops(model).get("Transpose", 0) <= 1


def test_other_readers_keep_the_first(graphs):
    text = """(float[2,3,4] x) => (float[2,3,4] y, float[4,2,3] z) {
        a = Transpose<perm=[2,0,1]>(x)
        b = Transpose<perm=[1,2,0]>(a)
        y = Abs(b)
        z = Neg(a)
    }"""
    passes = [merge_transposes, remove_noops, remove_dead]
    graphs.judge(passes, graphs.build(text), {"Transpose": 1, "Abs": 1, "Neg": 1})


def test_the_way_back_to_a_graph_end_leaves_an_identity(graphs):
    text = """(float[2,3] x) => (float[2,3] y) {
        a = Transpose(x)
        y = Transpose(a)
    }"""
    graphs.judge([merge_transposes, remove_noops, remove_dead], graphs.build(text), {"Identity": 1})
