"""Pooling against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

MAX_ROWS = [
    # attributes, shape, operators that must be there
    ({"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 3, 8, 6), {"MAX_POOL_2D": 1}),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, (2, 3, 8, 9), {"PADV2": 1}),
    ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, (1, 3, 7, 9), {"MAX_POOL_2D": 1}),
    ({"kernel_shape": [3, 2], "strides": [1, 3], "pads": [2, 0, 1, 1]}, (1, 2, 5, 7), {"PADV2": 1}),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, (1, 2, 8, 8), {"MAX_POOL_2D": 1}),
    ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, (1, 2, 7, 8), {"MAX_POOL_2D": 1}),
    (
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        (1, 2, 6, 7),
        {"MAX_POOL_2D": 1},
    ),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, (1, 2, 6, 7), {"MAX_POOL_2D": 1}),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, (1, 2, 6, 7), {"PADV2": 1}),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID"}, (1, 2, 6, 7), {"MAX_POOL_2D": 1}),
    ({"kernel_shape": [2, 2], "dilations": [2, 2]}, (1, 2, 6, 7), {"MAXIMUM": 2, "STRIDED_SLICE": 4}),
    (
        {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 1], "pads": [1, 1, 2, 0]},
        (1, 2, 9, 7),
        {"MAXIMUM": 3},
    ),
    ({"kernel_shape": [2, 1], "dilations": [2, 1], "strides": [1, 2]}, (1, 2, 6, 7), {"MAXIMUM": 1}),
    ({"kernel_shape": [1, 1], "strides": [2, 2]}, (1, 2, 5, 6), {"MAX_POOL_2D": 1}),
    ({"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, (2, 3, 9), {"MAX_POOL_2D": 1}),
    ({"kernel_shape": [2], "dilations": [3]}, (2, 3, 9), {"MAXIMUM": 1}),
    ({"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}, (2, 3, 4, 6, 8), {"MAX_POOL_2D": 2}),
    (
        {"kernel_shape": [3, 2, 3], "strides": [1, 2, 2], "pads": [1, 0, 1, 1, 1, 0], "dilations": [1, 2, 1]},
        (1, 2, 4, 6, 5),
        {"MAXIMUM": 3, "MAX_POOL_2D": 1},
    ),
]


@pytest.mark.parametrize(("attributes", "shape", "ops"), MAX_ROWS)
def test_max_pool(attributes, shape, ops, check, make_node_model, rng):
    # Below zero, so that padding with zeros would be seen.
    feeds = {"x": rng.normal(-5, 1, shape).astype(np.float32)}
    made = check(make_node_model("MaxPool", feeds, **attributes), feeds, rtol=0, atol=0)
    assert "TRANSPOSE" not in made
    assert {name: made.get(name) for name in ops} == ops


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 0, 1, 0]}, {"dilations": [2, 1]}, {"ceil_mode": 1}])
def test_max_pool_of_bytes(dtype, attributes, check, make_node_model, rng):
    limits = np.iinfo(dtype)
    feeds = {"x": rng.integers(limits.min, limits.max, (1, 3, 7, 6), dtype, endpoint=True)}
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2], **attributes}
    check(make_node_model("MaxPool", feeds, **attributes), feeds, rtol=0, atol=0)


def test_max_pool_after_relu_pads_with_zeros(check, make_model, rng):
    feeds = {"x": rng.normal(size=(1, 3, 8, 8)).astype(np.float32)}
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node(
            "MaxPool", ["r"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], name="pool"
        ),
    ]
    made = check(make_model(nodes, feeds), feeds, rtol=0, atol=0)
    assert made == {"RELU": 1, "PAD": 1, "MAX_POOL_2D": 1}


AVERAGE_ROWS = [
    ({"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 3, 8, 6), {"AVERAGE_POOL_2D": 1}),
    ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, (1, 3, 8, 6), {"AVERAGE_POOL_2D": 1}),
    ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, (1, 3, 8, 6), {"PAD": 1}),
    (
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        (1, 3, 8, 6),
        {"PAD": 1, "AVERAGE_POOL_2D": 1, "MUL": 1},
    ),
    (
        {"kernel_shape": [3, 4], "strides": [2, 1], "pads": [1, 3, 0, 2]},
        (2, 3, 8, 6),
        {"PAD": 1, "AVERAGE_POOL_2D": 1, "MUL": 1},
    ),
    (
        {"kernel_shape": [3, 4], "strides": [2, 1], "pads": [1, 3, 0, 2], "count_include_pad": 1},
        (2, 3, 8, 6),
        {"PAD": 1, "AVERAGE_POOL_2D": 1},
    ),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, (1, 2, 8, 8), {"AVERAGE_POOL_2D": 1}),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, (1, 2, 6, 7), {"AVERAGE_POOL_2D": 1}),
    (
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        (1, 2, 8, 8),
        {"AVERAGE_POOL_2D": 1, "MUL": 1},
    ),
    (
        {
            "kernel_shape": [3, 3],
            "strides": [2, 2],
            "pads": [1, 1, 1, 1],
            "ceil_mode": 1,
            "count_include_pad": 1,
        },
        (1, 2, 8, 8),
        {"AVERAGE_POOL_2D": 1, "MUL": 1},
    ),
    (
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        (1, 2, 6, 7),
        {"AVERAGE_POOL_2D": 1},
    ),
    (
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER", "count_include_pad": 1},
        (1, 2, 6, 7),
        {"PAD": 1},
    ),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, (1, 2, 6, 7), {"MUL": 1}),
    ({"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, (2, 3, 9), {"AVERAGE_POOL_2D": 1}),
    (
        {"kernel_shape": [3], "strides": [2], "pads": [1, 2], "count_include_pad": 1},
        (2, 3, 9),
        {"AVERAGE_POOL_2D": 1},
    ),
    ({"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}, (2, 3, 4, 6, 8), {"AVERAGE_POOL_2D": 2}),
    (
        {"kernel_shape": [3, 2, 3], "strides": [1, 2, 2], "pads": [1, 0, 1, 1, 1, 0]},
        (1, 2, 4, 6, 5),
        {"AVERAGE_POOL_2D": 2},
    ),
    (
        {
            "kernel_shape": [3, 2, 3],
            "strides": [2, 2, 2],
            "pads": [1, 0, 1, 1, 0, 1],
            "count_include_pad": 1,
            "ceil_mode": 1,
        },
        (1, 2, 4, 6, 5),
        {"AVERAGE_POOL_2D": 2},
    ),
    ({"kernel_shape": [2, 2], "dilations": [2, 2]}, (1, 3, 6, 7), {"DEPTHWISE_CONV_2D": 1}),
    (
        {"kernel_shape": [2, 3], "dilations": [2, 1], "strides": [1, 2], "pads": [1, 1, 0, 1]},
        (1, 3, 6, 7),
        {"DEPTHWISE_CONV_2D": 1, "MUL": 1},
    ),
]


@pytest.mark.parametrize(("attributes", "shape", "ops"), AVERAGE_ROWS)
def test_average_pool(attributes, shape, ops, check, make_node_model, rng):
    feeds = {"x": rng.normal(2, 1, shape).astype(np.float32)}
    made = check(make_node_model("AveragePool", feeds, opset=19, **attributes), feeds)
    assert "TRANSPOSE" not in made
    assert {name: made.get(name) for name in ops} == ops


GLOBAL_ROWS = [
    ("GlobalAveragePool", {}, "MEAN"),
    ("GlobalMaxPool", {}, "REDUCE_MAX"),
    ("GlobalLpPool", {}, "SUM"),
    ("GlobalLpPool", {"p": 1}, "ABS"),
    ("GlobalLpPool", {"p": 4}, "SUM"),
]


@pytest.mark.parametrize(("op_type", "attributes", "kernel"), GLOBAL_ROWS)
@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 5, 7, 6), (2, 3, 4, 1), (1, 2, 3, 4, 5)])
def test_global_pool(op_type, attributes, kernel, shape, check, make_node_model, rng):
    feeds = {"x": rng.normal(-3, 1, shape).astype(np.float32)}
    made = check(make_node_model(op_type, feeds, **attributes), feeds)
    assert made[kernel] == 1
    assert "TRANSPOSE" not in made


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 3, 6, 8)),
        ({"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 1]}, (1, 3, 6, 8)),
        ({"kernel_shape": [3], "auto_pad": "SAME_UPPER"}, (1, 3, 6)),
    ],
)
def test_lp_pool(p, attributes, shape, check, make_node_model, rng):
    feeds = {"x": rng.normal(size=shape).astype(np.float32)}
    check(make_node_model("LpPool", feeds, p=p, **attributes), feeds)


REFUSED = [
    # ONNX Runtime drops the window that starts in the padding, the definition before opset 22 did not.
    (
        "AveragePool",
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1], "ceil_mode": 1},
        "ceil_mode",
    ),
    ("MaxPool", {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, "pads"),
    ("LpPool", {"kernel_shape": [2, 2], "p": 0}, "p=0"),
    ("GlobalLpPool", {"p": 0}, "p=0"),
]


@pytest.mark.parametrize(("op_type", "attributes", "word"), REFUSED)
def test_refused(op_type, attributes, word, refusals, make_node_model):
    feeds = {"x": np.zeros((1, 3, 6, 6), np.float32)}
    assert word in refusals(make_node_model(op_type, feeds, **attributes))[0]


def test_used_indices_are_refused(refusals, make_node_model):
    feeds = {"x": np.zeros((1, 3, 6, 6), np.float32)}
    model = make_node_model("MaxPool", feeds, outputs=("y", "indices"), kernel_shape=[2, 2])
    assert "Indices" in refusals(model)[0]


@st.composite
def pools(draw):
    """Attributes and a spatial shape that ONNX allows."""
    rank = draw(st.integers(1, 3))
    pick = st.integers(1, 3)
    kernel = [draw(pick) for _ in range(rank)]
    strides = [draw(pick) for _ in range(rank)]
    begin = [draw(st.integers(0, size - 1)) for size in kernel]
    end = [draw(st.integers(0, size - 1)) for size in kernel]
    lengths = tuple(draw(st.integers(size, 9)) for size in kernel)
    return {"kernel_shape": kernel, "strides": strides, "pads": begin + end}, lengths


@settings(max_examples=40, deadline=None)
@given(drawn=pools(), include=st.booleans(), op_type=st.sampled_from(["MaxPool", "AveragePool"]))
def test_any_window(drawn, include, op_type, check, make_node_model):
    attributes, lengths = drawn
    if op_type == "AveragePool":
        attributes = {**attributes, "count_include_pad": int(include)}
    feeds = {"x": np.random.default_rng(1).normal(-3, 1, (1, 3, *lengths)).astype(np.float32)}
    check(make_node_model(op_type, feeds, **attributes), feeds, layouts=("nhwc",))
