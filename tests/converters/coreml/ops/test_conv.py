"""Convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((1, 3, 8, 9), (4, 3, 3, 3), {}),
    "padded, strided": ((2, 3, 8, 9), (4, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "asymmetric": ((1, 3, 8, 9), (4, 3, 3, 2), {"pads": [0, 1, 2, 0], "strides": [1, 2]}),
    "dilated": ((1, 2, 9, 9), (4, 2, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "grouped": ((1, 4, 6, 6), (6, 2, 3, 3), {"group": 2}),
    "depthwise": ((1, 4, 6, 6), (8, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "same upper": ((1, 3, 8, 9), (4, 3, 2, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 3, 8, 9), (4, 3, 2, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((1, 3, 8, 9), (4, 3, 3, 3), {"auto_pad": "VALID"}),
    "one axis": ((2, 3, 10), (4, 3, 3), {"pads": [2, 1], "strides": [2]}),
    "one axis, dilated, grouped": ((1, 4, 10), (4, 2, 3), {"dilations": [2], "group": 2}),
    "three axes": ((1, 2, 5, 6, 7), (3, 2, 3, 2, 3), {"pads": [1, 0, 1, 1, 1, 0], "strides": [1, 2, 1]}),
    "three axes, grouped": ((1, 4, 5, 5, 5), (4, 2, 2, 2, 2), {"group": 2}),
}

# Neural networks have windows over three axes since iOS 14 only.
PROGRAM = ("mlprogram",)
BOTH = ("mlprogram", "neuralnetwork")

TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((1, 3, 4, 5), (3, 4, 3, 3), {}),
    "strided": ((2, 3, 4, 5), (3, 4, 2, 2), {"strides": [2, 2]}),
    "padded": ((1, 3, 4, 5), (3, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "asymmetric": ((1, 3, 4, 5), (3, 4, 4, 3), {"strides": [2, 3], "pads": [0, 1, 2, 0]}),
    "output_padding": (
        (1, 3, 4, 5),
        (3, 4, 3, 3),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    "output_padding beyond": ((1, 3, 4, 5), (3, 4, 3, 3), {"strides": [3, 2], "output_padding": [2, 1]}),
    "output_padding beyond, dilated": (
        (1, 2, 4, 5),
        (2, 2, 3, 3),
        {"strides": [3, 2], "output_padding": [1, 1], "dilations": [2, 1]},
    ),
    "output_shape": ((1, 3, 4, 5), (3, 4, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
    "output_shape larger": ((1, 1, 3, 3), (1, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
    "same upper": ((1, 3, 4, 5), (3, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ((1, 3, 4, 5), (3, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "grouped": ((1, 4, 4, 5), (4, 3, 3, 3), {"strides": [2, 2], "group": 2}),
    "depthwise": ((1, 4, 4, 5), (4, 1, 4, 4), {"strides": [2, 2], "group": 4, "pads": [1, 1, 1, 1]}),
    "dilated": ((1, 3, 4, 5), (3, 4, 3, 3), {"dilations": [2, 2]}),
    "one axis": ((1, 3, 5), (3, 4, 3), {"strides": [2], "pads": [1, 0]}),
    "three axes": ((1, 2, 3, 4, 3), (2, 3, 2, 3, 2), {"strides": [2, 1, 2], "pads": [0, 1, 1, 1, 0, 0]}),
}


def _arrays(rng, shape, kernel, channels):
    x = rng.standard_normal(shape).astype(np.float32)
    w = rng.standard_normal(kernel).astype(np.float32)
    b = rng.standard_normal(channels).astype(np.float32)
    return x, w, b


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("biased", [True, False])
def test_conv(name, biased, check, make_node_model, rng) -> None:
    shape, kernel, attributes = CONVOLUTIONS[name]
    x, w, b = _arrays(rng, shape, kernel, kernel[0])
    constants = {"w": w, "b": b} if biased else {"w": w}
    kinds = PROGRAM if len(shape) == 5 else BOTH
    check(make_node_model("Conv", {"x": x}, constants, **attributes), {"x": x}, kinds=kinds)


@pytest.mark.parametrize("name", ["plain", "padded, strided", "asymmetric", "one axis", "same upper"])
@pytest.mark.parametrize("biased", [True, False])
def test_conv_with_computed_weights(name, biased, check, make_node_model, rng) -> None:
    shape, kernel, attributes = CONVOLUTIONS[name]
    x, w, b = _arrays(rng, shape, kernel, kernel[0])
    constants = {"b": b} if biased else {}
    check(make_node_model("Conv", {"x": x, "w": w}, constants, **attributes), {"x": x, "w": w})


def test_conv_with_computed_bias(check, make_node_model, rng) -> None:
    x, w, b = _arrays(rng, (1, 3, 5, 5), (4, 3, 3, 3), 4)
    model = make_node_model("Conv", {"x": x, "b": b}, {"w": w}, order=["x", "w", "b"])
    check(model, {"x": x, "b": b})


def test_conv_is_one_operator(check, make_node_model, rng) -> None:
    x, w, b = _arrays(rng, (1, 3, 8, 8), (4, 3, 3, 3), 4)
    ops = check(make_node_model("Conv", {"x": x}, {"w": w, "b": b}, pads=[1, 1, 1, 1]), {"x": x})
    assert {name: count for name, count in ops.items() if name != "const"} == {"conv": 1}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name, check, make_node_model, rng) -> None:
    shape, kernel, attributes = TRANSPOSED[name]
    x, w, b = _arrays(rng, shape, kernel, kernel[1] * attributes.get("group", 1))
    kinds = PROGRAM if len(shape) == 5 else BOTH
    check(make_node_model("ConvTranspose", {"x": x}, {"w": w, "b": b}, **attributes), {"x": x}, kinds=kinds)


def test_conv_transpose_with_computed_bias(check, make_node_model, rng) -> None:
    x, w, b = _arrays(rng, (1, 3, 4, 4), (3, 2, 3, 3), 2)
    model = make_node_model("ConvTranspose", {"x": x, "b": b}, {"w": w}, order=["x", "w", "b"])
    check(model, {"x": x, "b": b})


@pytest.mark.parametrize(
    ("op", "kind", "attributes", "word"),
    [
        ("Conv", "mlprogram", {"dilations": [2, 2]}, "dilations"),
        ("Conv", "neuralnetwork", {"group": 2}, "group=2"),
        ("ConvTranspose", "mlprogram", {}, "weight"),
    ],
)
def test_refusals(op, kind, attributes, word, refusals, make_node_model, rng) -> None:
    shape = (4, 4 // attributes.get("group", 1), 3, 3)
    x, w, _ = _arrays(rng, (1, 4, 8, 8), shape, 4)
    (reason,) = refusals(make_node_model(op, {"x": x, "w": w}, **attributes), kind)
    assert word in reason


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_three_axes_are_refused_in_neural_networks(op, refusals, make_node_model, rng) -> None:
    x, w, _ = _arrays(rng, (1, 2, 4, 4, 4), (2, 2, 2, 2, 2), 2)
    (reason,) = refusals(make_node_model(op, {"x": x}, {"w": w}), "neuralnetwork")
    assert "three spatial axes" in reason


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    axes=st.integers(1, 2),
    group=st.sampled_from([1, 2]),
    transposed=st.booleans(),
)
def test_any_window(data, axes, group, transposed, check, make_node_model) -> None:
    def several(low: int, high: int, count: int = axes) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    rng = np.random.default_rng(0)
    kernel, strides, dilations = several(1, 3), several(1, 3), several(1, 2)
    pads, lengths = several(0, 2, 2 * axes), several(6, 8)
    x, w, b = _arrays(rng, (1, 4, *lengths), (4, 4 // group, *kernel), 4)
    op = "ConvTranspose" if transposed else "Conv"
    model = make_node_model(
        op, {"x": x}, {"w": w, "b": b}, strides=strides, dilations=dilations, pads=pads, group=group
    )
    check(model, {"x": x}, kinds=PROGRAM)
