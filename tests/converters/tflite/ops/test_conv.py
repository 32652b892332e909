"""Convolutions and transposed convolutions against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# Sums of up to a few hundred products.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def tensors(shape, weights, bias=True, channels_at=0, groups=1):
    """Feeds and constants of a convolution."""
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=shape).astype(np.float32)}
    constants = {"w": rng.normal(size=weights).astype(np.float32)}
    if bias:
        count = weights[channels_at] * (groups if channels_at else 1)
        constants["b"] = rng.normal(size=count).astype(np.float32)
    return feeds, constants


CONV_ROWS = [
    # attributes, input, weights, operators
    ({}, (1, 3, 8, 6), (4, 3, 3, 3), {"CONV_2D": 1}),
    ({"pads": [1, 1, 1, 1]}, (2, 3, 8, 6), (4, 3, 3, 3), {"CONV_2D": 1}),
    ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (1, 3, 8, 6), (4, 3, 3, 3), {"PAD": 1, "CONV_2D": 1}),
    ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (1, 3, 7, 9), (4, 3, 3, 3), {"CONV_2D": 1}),
    ({"pads": [0, 0, 1, 1], "strides": [2, 2]}, (1, 3, 8, 6), (4, 3, 3, 3), {"CONV_2D": 1}),
    ({"pads": [2, 0, 1, 3], "strides": [2, 3]}, (1, 3, 8, 6), (4, 3, 3, 2), {"PAD": 1, "CONV_2D": 1}),
    ({"strides": [2, 2]}, (1, 3, 8, 7), (4, 3, 1, 1), {"CONV_2D": 1}),
    ({"dilations": [2, 3]}, (1, 3, 9, 9), (4, 3, 3, 3), {"CONV_2D": 1}),
    ({"dilations": [2, 2], "pads": [2, 2, 2, 2]}, (1, 3, 9, 9), (4, 3, 3, 3), {"CONV_2D": 1}),
    (
        {"dilations": [2, 1], "strides": [2, 3], "pads": [1, 0, 0, 1]},
        (1, 3, 9, 9),
        (4, 3, 3, 2),
        {"CONV_2D": 1},
    ),
    ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (1, 3, 8, 7), (4, 3, 3, 2), {"CONV_2D": 1}),
    ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (1, 3, 8, 7), (4, 3, 3, 2), {"PAD": 1, "CONV_2D": 1}),
    ({"auto_pad": "SAME_LOWER"}, (1, 3, 8, 7), (4, 3, 3, 3), {"CONV_2D": 1}),
    ({"auto_pad": "VALID"}, (1, 3, 8, 7), (4, 3, 3, 2), {"CONV_2D": 1}),
    ({"group": 2, "pads": [1, 1, 1, 1]}, (1, 4, 8, 6), (6, 2, 3, 3), {"CONV_2D": 1}),
    ({"group": 3}, (2, 6, 5, 6), (3, 2, 3, 3), {"CONV_2D": 1}),
    ({"group": 4, "pads": [1, 1, 1, 1]}, (2, 4, 8, 6), (4, 1, 3, 3), {"DEPTHWISE_CONV_2D": 1}),
    (
        {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]},
        (1, 4, 8, 6),
        (4, 1, 3, 3),
        {"DEPTHWISE_CONV_2D": 1},
    ),
    ({"group": 3}, (1, 3, 8, 6), (6, 1, 3, 2), {"DEPTHWISE_CONV_2D": 1}),
    (
        {"group": 3, "dilations": [2, 2], "pads": [2, 2, 2, 2]},
        (1, 3, 8, 6),
        (9, 1, 3, 3),
        {"DEPTHWISE_CONV_2D": 1},
    ),
    (
        {"group": 3, "dilations": [1, 2], "strides": [1, 2]},
        (1, 3, 8, 9),
        (3, 1, 3, 3),
        {"DEPTHWISE_CONV_2D": 1},
    ),
    ({"pads": [1, 1]}, (2, 3, 9), (4, 3, 3), {"CONV_2D": 1}),
    ({"pads": [2, 0], "strides": [2], "dilations": [2]}, (2, 3, 9), (4, 3, 3), {"CONV_2D": 1, "PAD": 1}),
    ({"group": 3, "pads": [1, 1]}, (2, 3, 9), (6, 1, 3), {"DEPTHWISE_CONV_2D": 1}),
    ({}, (1, 1, 5, 5), (2, 1, 3, 3), {"CONV_2D": 1}),
    ({"pads": [1, 0, 1, 1, 1, 0]}, (2, 2, 4, 5, 6), (3, 2, 3, 2, 3), {"CONV_3D": 1}),
    ({"strides": [1, 2, 2], "dilations": [2, 1, 1]}, (1, 2, 5, 5, 6), (3, 2, 2, 2, 3), {"CONV_3D": 1}),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("attributes", "shape", "weights", "ops"), CONV_ROWS)
def test_conv(attributes, shape, weights, ops, bias, check, make_node_model):
    feeds, constants = tensors(shape, weights, bias)
    made = check(make_node_model("Conv", feeds, constants, **attributes), feeds, **TOLERANCE)
    assert "TRANSPOSE" not in made
    assert {name: made.get(name) for name in ops} == ops


@pytest.mark.parametrize(
    ("attributes", "shape", "weights"),
    [
        ({"pads": [1, 1, 1, 1]}, (1, 3, 8, 6), (4, 3, 3, 3)),
        ({"group": 3}, (1, 3, 8, 6), (6, 1, 3, 3)),
        ({"strides": [2]}, (1, 3, 8), (6, 3, 3)),
        ({"group": 3}, (1, 3, 8), (3, 1, 3)),
    ],
)
def test_conv_with_weights_computed_at_run_time(attributes, shape, weights, check, make_node_model):
    feeds, constants = tensors(shape, weights)
    feeds = {**feeds, **constants}
    check(make_node_model("Conv", feeds, **attributes), feeds, **TOLERANCE)


TRANSPOSED_ROWS = [
    ({}, (1, 3, 4, 5), (3, 2, 3, 3), {"TRANSPOSE_CONV": 1}),
    ({"strides": [2, 2]}, (1, 3, 4, 5), (3, 2, 2, 2), {"TRANSPOSE_CONV": 1}),
    ({"strides": [2, 2], "pads": [1, 1, 1, 1]}, (2, 3, 4, 5), (3, 2, 4, 4), {"TRANSPOSE_CONV": 1}),
    (
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        (2, 3, 4, 5),
        (3, 2, 3, 3),
        {"TRANSPOSE_CONV": 1, "SLICE": 1},
    ),
    (
        {"strides": [3, 2], "pads": [0, 2, 1, 0]},
        (1, 3, 4, 5),
        (3, 2, 3, 4),
        {"TRANSPOSE_CONV": 1, "SLICE": 1},
    ),
    ({"strides": [3, 2], "output_padding": [2, 1]}, (1, 3, 4, 5), (3, 2, 3, 4), {"TRANSPOSE_CONV": 1}),
    ({"strides": [3, 3]}, (1, 3, 4, 5), (3, 2, 2, 1), {"TRANSPOSE_CONV": 1}),
    ({"strides": [3, 2], "output_shape": [10, 8]}, (1, 1, 3, 3), (1, 2, 3, 3), {"TRANSPOSE_CONV": 1}),
    (
        {"strides": [2, 2], "output_shape": [7, 8], "auto_pad": "SAME_UPPER"},
        (1, 1, 4, 4),
        (1, 2, 4, 4),
        {"TRANSPOSE_CONV": 1},
    ),
    ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (1, 2, 4, 4), (2, 2, 3, 3), {"TRANSPOSE_CONV": 1}),
    ({"strides": [2, 2], "auto_pad": "SAME_LOWER"}, (1, 2, 4, 4), (2, 2, 3, 3), {"TRANSPOSE_CONV": 1}),
    ({"strides": [3, 3], "auto_pad": "SAME_UPPER"}, (1, 2, 4, 4), (2, 2, 2, 2), {"TRANSPOSE_CONV": 1}),
    ({"dilations": [2, 3]}, (1, 2, 4, 4), (2, 2, 2, 2), {"TRANSPOSE_CONV": 1}),
    (
        {"dilations": [2, 1], "strides": [2, 2], "pads": [1, 0, 1, 1]},
        (1, 2, 4, 4),
        (2, 3, 3, 2),
        {"SLICE": 1},
    ),
    ({"strides": [2], "pads": [1, 1]}, (2, 3, 5), (3, 2, 4), {"TRANSPOSE_CONV": 1}),
    ({"strides": [2], "pads": [1, 1], "output_padding": [1]}, (2, 3, 5), (3, 2, 3), {"SLICE": 1}),
    ({"strides": [2, 2], "group": 3}, (1, 3, 4, 5), (3, 1, 2, 2), {"DEPTHWISE_CONV_2D": 1}),
    (
        {"strides": [2, 2], "group": 3, "pads": [1, 1, 1, 1]},
        (2, 3, 4, 5),
        (3, 1, 4, 4),
        {"DEPTHWISE_CONV_2D": 1},
    ),
    ({"strides": [3, 2], "group": 3}, (2, 3, 4, 5), (3, 2, 1, 2), {"DEPTHWISE_CONV_2D": 1, "SLICE": 1}),
    ({"group": 3, "pads": [2, 1, 2, 1]}, (2, 3, 4, 5), (3, 2, 2, 2), {"DEPTHWISE_CONV_2D": 1, "SLICE": 1}),
    (
        {"strides": [2, 2], "group": 2, "output_padding": [1, 1], "pads": [1, 1, 1, 1]},
        (1, 4, 4, 5),
        (4, 3, 3, 3),
        {"CONV_2D": 1},
    ),
    ({"strides": [2, 1], "group": 2, "dilations": [1, 2]}, (1, 4, 4, 5), (4, 3, 3, 3), {"CONV_2D": 1}),
    ({"strides": [2], "group": 3, "pads": [1, 1]}, (2, 3, 5), (3, 1, 4), {"DEPTHWISE_CONV_2D": 1}),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("attributes", "shape", "weights", "ops"), TRANSPOSED_ROWS)
def test_conv_transpose(attributes, shape, weights, ops, bias, check, make_node_model):
    feeds, constants = tensors(shape, weights, bias, channels_at=1, groups=attributes.get("group", 1))
    made = check(make_node_model("ConvTranspose", feeds, constants, **attributes), feeds, **TOLERANCE)
    assert "TRANSPOSE" not in made
    assert {name: made.get(name) for name in ops} == ops


@pytest.mark.parametrize(("shape", "weights"), [((1, 3, 4, 5), (3, 2, 2, 2)), ((1, 3, 4), (3, 2, 2))])
def test_conv_transpose_with_weights_computed_at_run_time(shape, weights, check, make_node_model):
    feeds, constants = tensors(shape, weights, channels_at=1)
    feeds = {**feeds, **constants}
    check(make_node_model("ConvTranspose", feeds), feeds, **TOLERANCE)


REFUSED = [
    ("Conv", {"group": 2}, (1, 4, 5, 5, 5), (4, 2, 3, 3, 3), "group=2"),
    ("Conv", {}, (1, 2, 3, 3, 3, 3), (2, 2, 2, 2, 2, 2), "4 spatial axes"),
    ("Conv", {}, (0, 2, 5, 5), (2, 2, 2, 2), "length 0"),
    ("ConvTranspose", {}, (1, 2, 3, 3, 3), (2, 2, 2, 2, 2), "3 spatial axes"),
    (
        "ConvTranspose",
        {"output_padding": [2, 0], "dilations": [3, 1]},
        (1, 2, 3, 3),
        (2, 2, 2, 2),
        "output_padding",
    ),
]


@pytest.mark.parametrize(("op_type", "attributes", "shape", "weights", "word"), REFUSED)
def test_refused(op_type, attributes, shape, weights, word, refusals, make_node_model):
    feeds, constants = tensors(shape, weights, bias=False)
    assert word in refusals(make_node_model(op_type, feeds, constants, **attributes))[0]


@pytest.mark.parametrize("attributes", [{"group": 2}, {"dilations": [2, 2]}])
def test_transposed_weights_computed_at_run_time_are_refused(attributes, refusals, make_node_model):
    feeds, constants = tensors((1, 2, 5, 5), (2, 2, 3, 3), bias=False)
    model = make_node_model("ConvTranspose", {**feeds, **constants}, **attributes)
    assert "run time" in refusals(model)[0]


@st.composite
def convolutions(draw):
    """Attributes and shapes that ONNX allows: (attributes, spatial lengths, kernel)."""
    rank = draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    pads = [draw(st.integers(0, 3)) for _ in range(2 * rank)]
    lengths = [draw(st.integers((k - 1) * d + 1, 10)) for k, d in zip(kernel, dilations, strict=True)]
    return {"strides": strides, "dilations": dilations, "pads": pads}, lengths, kernel


@settings(max_examples=40, deadline=None)
@given(drawn=convolutions(), groups=st.sampled_from([1, 2, 4]), multiplier=st.integers(1, 2))
def test_any_conv(drawn, groups, multiplier, check, make_node_model):
    attributes, lengths, kernel = drawn
    feeds, constants = tensors((1, 4, *lengths), (4 * multiplier, 4 // groups, *kernel))
    model = make_node_model("Conv", feeds, constants, group=groups, **attributes)
    check(model, feeds, **TOLERANCE, layouts=("nhwc",))


@settings(max_examples=40, deadline=None)
@given(drawn=convolutions(), groups=st.sampled_from([1, 2, 4]), outputs=st.integers(1, 2), extra=st.data())
def test_any_conv_transpose(drawn, groups, outputs, extra, check, make_node_model):
    attributes, lengths, kernel = drawn
    full = [
        (length - 1) * s + (k - 1) * d + 1
        for length, s, d, k in zip(
            lengths, attributes["strides"], attributes["dilations"], kernel, strict=True
        )
    ]
    rank = len(lengths)
    pads = [min(pad, (full[axis % rank] - 1) // 2) for axis, pad in enumerate(attributes["pads"])]
    padding = [extra.draw(st.integers(0, stride - 1)) for stride in attributes["strides"]]
    attributes = {**attributes, "pads": pads, "output_padding": padding}
    feeds, constants = tensors((1, 4, *lengths), (4, outputs, *kernel), channels_at=1, groups=groups)
    model = make_node_model("ConvTranspose", feeds, constants, group=groups, **attributes)
    check(model, feeds, **TOLERANCE, layouts=("nhwc",))
