"""Nodes that change nothing go; nodes that look alike and change something stay."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.graph.remove_noops import remove_noops


def floats(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


NOOPS = [
    ("b = Identity(a)", {}),
    ("b = Dropout(a)", {}),
    ("b = Dropout(a, k)", {"k": floats(0.3)}),
    ("b = Dropout(a, k, t)", {"k": floats(0.3), "t": np.array(False)}),
    ("b, m = Dropout(a)", {}),
    ("b = Sum(a)", {}),
    ("b = Mean(a)", {}),
    ("b = Max(a)", {}),
    ("b = Concat<axis=1>(a)", {}),
    ("b = Cast<to=1>(a)", {}),
    ("b = CastLike(a, k)", {"k": floats(0)}),
    ("b = Reshape(a, k)", {"k": ints(1, 2, -1, 4)}),
    ("b = Unsqueeze(a, k)", {"k": ints()}),
    ("b = Expand(a, k)", {"k": ints(2, 1, 1)}),
    ("b = Transpose<perm=[0,1,2,3]>(a)", {}),
    ("b = Slice(a, s, e)", {"s": ints(0), "e": ints(9)}),
    ("b = Slice(a, s, e, x1, st)", {"s": ints(0), "e": ints(2**60), "x1": ints(-1), "st": ints(1)}),
    ("b = Pad(a, k)", {"k": ints(0, 0, 0, 0, 0, 0, 0, 0)}),
    ("b = Tile(a, k)", {"k": ints(1, 1, 1, 1)}),
    ("b = Resize(a, , k)", {"k": floats(1, 4)}),
    (
        'b = Resize<mode="linear", coordinate_transformation_mode="align_corners">(a, , k)',
        {"k": floats(1, 4)},
    ),
    ('b = Resize<mode="cubic">(a, , , k)', {"k": ints(1, 2, 3, 4)}),
    ("b = Add(a, k)", {"k": floats(0)}),
    ("b = Add(k, a)", {"k": floats(0, 1, 2, 1, 4)}),
    ("b = Sub(a, k)", {"k": floats(0, 4)}),
    ("b = Mul(a, k)", {"k": floats(1)}),
    ("b = Mul(k, a)", {"k": floats(1, 2, 1, 1)}),
    ("b = Div(a, k)", {"k": floats(1)}),
    ("b = Pow(a, k)", {"k": ints(1)}),
    ("b = MaxPool<kernel_shape=[1,1]>(a)", {}),
    ("b = AveragePool<kernel_shape=[1,1], strides=[1,1]>(a)", {}),
]

WORKERS = [
    ("b = Dropout(a, k, t)", {"k": floats(0), "t": np.array(True)}),
    ("b = Concat<axis=1>(a, a)", {}),
    ("b = Max(a, a)", {}),
    ("b = Transpose<perm=[0,1,3,2]>(a)", {}),
    ("b = Reshape(a, k)", {"k": ints(1, 2, 4, 3)}),
    ("b = Slice(a, s, e, x1, st)", {"s": ints(-1), "e": ints(-9), "x1": ints(2), "st": ints(-1)}),
    ("b = Slice(a, s, e)", {"s": ints(0, 0), "e": ints(1, 1)}),
    ("b = Pad(a, k)", {"k": ints(0, 0, 1, 0, 0, 0, 0, 0)}),
    ("b = Pad(a, k)", {"k": ints(0, 0, -1, 0, 0, 0, 1, 0)}),
    ("b = Tile(a, k)", {"k": ints(1, 1, 2, 1)}),
    ("b = Resize(a, , k)", {"k": np.array([1, 1, 1.2, 1.1], np.float32)}),
    (
        'b = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(a, r, k)',
        {"k": floats(1, 4), "r": np.array([0, 0, 0.2, 0, 1, 1, 0.7, 1], np.float32)},
    ),
    ("b = Add(a, k)", {"k": floats(0, 2, 1, 1, 1, 1)}),
    ("b = Sub(k, a)", {"k": floats(0)}),
    ("b = Div(k, a)", {"k": floats(1)}),
    ("b = Mul(a, k)", {"k": floats(0.999)}),
    ("b = MaxPool<kernel_shape=[1,1], strides=[2,2]>(a)", {}),
    ("b = AveragePool<kernel_shape=[1,1], pads=[0,0,0,0], strides=[1,2]>(a)", {}),
]


@pytest.mark.parametrize(("body", "constants"), NOOPS, ids=[body for body, _ in NOOPS])
def test_noops_go(graphs, body, constants):
    text = f"(float[1,2,3,4] x) => (float[1,2,3,4] y) {{ a = Neg(x) {body} y = Abs(b) }}"
    graphs.judge(remove_noops, graphs.build(text, **constants), {"Neg": 1, "Abs": 1})


@pytest.mark.parametrize(("body", "constants"), WORKERS, ids=[body for body, _ in WORKERS])
def test_others_stay(graphs, body, constants):
    op = body.partition("= ")[2].partition("(")[0].partition("<")[0]
    text = f"(float[1,2,3,4] x) => (float y) {{ a = Neg(x) {body} y = ReduceSum<keepdims=0>(b) }}"
    graphs.judge(remove_noops, graphs.build(text, **constants), {"Neg": 1, op: 1, "ReduceSum": 1})


def test_a_slice_with_a_computed_direction_stays(graphs):
    text = """(float[4] x, int64[1] way) => (float[4] y) {
        back = Neg(way)
        step = Neg(back)
        y = Slice(x, s, e, axes, step)
    }"""
    before = graphs.build(text, s=ints(0), e=ints(4), axes=ints(0))
    model = graphs.parse(before)
    next(node for node in model.graph if node.op_type == "Slice").outputs[0].shape = model.graph.inputs[
        0
    ].shape
    assert not remove_noops(model)


def test_a_mask_that_is_read_keeps_the_dropout(graphs):
    text = "(float[2,3] x) => (float[2,3] y, bool[2,3] m) { y, m = Dropout(x) }"
    graphs.judge(remove_noops, graphs.build(text), {"Dropout": 1})


def test_a_cast_to_another_type_stays(graphs):
    text = "(float[2,3] x) => (float16[2,3] y) { y = Cast<to=10>(x) }"
    graphs.judge(remove_noops, graphs.build(text), {"Cast": 1})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("(float[2] x) => (float[2] y) { y = Identity(x) }", {"Identity": 1}),
        ("(float[2] x) => (float[2] y) { y = Dropout(x) }", {"Identity": 1}),
        (
            "(float[2] x) => (float[2] y, float[2] z) { y = Neg(x) z = Identity(y) }",
            {"Neg": 1, "Identity": 1},
        ),
        ("(float[2] x) => (float[2] y) { a = Neg(x) y = Identity(a) }", {"Neg": 1}),
        (
            "(float[2] x) => (float[2] y, float[2] z) { a = Neg(x) y = Identity(a) z = Abs(a) }",
            {"Neg": 1, "Abs": 1},
        ),
        ("(float[2] x) => (float[2] y) { a = Identity(x) b = Identity(a) y = Neg(b) }", {"Neg": 1}),
    ],
)
def test_graph_ends_keep_their_names(graphs, text, wanted):
    graphs.judge(remove_noops, graphs.build(text), wanted)
