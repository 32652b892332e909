"""int8 weights with float activations."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType
from onnx import helper

from toolchain.converters.tflite.program import Op
from toolchain.converters.tflite.weights_int8 import EXPANDED, KEPT, PLAIN, ROUNDED, float_operators

node = helper.make_node
RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def some(rng, *shape):
    return (rng.standard_normal(shape) * 0.2).astype(np.float32)


CASES = {
    # Much to multiply: the kernel rounds its activations too.
    "conv": ("Conv", (1, 16, 8, 8), (32, 16, 3, 3), {}, {"CONV_2D": 1}, 35),
    "product": ("MatMul", (40, 128), (128, 64), {}, {"FULLY_CONNECTED": 1}, 35),
    # Little: the weights are expanded, and are all that is rounded.
    "pointwise": ("Conv", (1, 16, 8, 8), (32, 16, 1, 1), {}, {"DEQUANTIZE": 1, "CONV_2D": 1}, 40),
    "depthwise": (
        "Conv",
        (1, 32, 8, 8),
        (32, 1, 3, 3),
        {"group": 32},
        {"DEQUANTIZE": 1, "DEPTHWISE_CONV_2D": 1},
        40,
    ),
    "deconv": (
        "ConvTranspose",
        (1, 32, 8, 8),
        (32, 16, 2, 2),
        {"strides": [2, 2]},
        {"DEQUANTIZE": 1, "TRANSPOSE_CONV": 1},
        40,
    ),
    "conv-3d": ("Conv", (1, 8, 5, 5, 5), (8, 8, 3, 3, 3), {}, {"DEQUANTIZE": 1, "CONV_3D": 1}, 40),
    "small": ("Conv", (1, 4, 8, 8), (4, 4, 3, 3), {}, {"CONV_2D": 1}, 100),
}


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("case", CASES)
def test_operators(make_node_model, to_tflite, run_pairs, run_int8, rng, case, resolver):
    op, shape, weights, attributes, ops, least = CASES[case]
    feeds = {"x": some(rng, *shape)}
    model = make_node_model(op, feeds, {"w": some(rng, *weights)}, **attributes)
    converted = to_tflite(model, precision="w8")
    assert converted.ops == ops
    expected, actual = run_pairs(model, feeds)["y"], run_int8(converted, feeds, resolver)["y"]
    noise = np.square(actual - expected).sum()
    assert 10 * np.log10(np.square(expected).sum() / (noise + 1e-20)) > least


def test_shared_weights_are_stored_once(make_model, to_tflite, rng):
    nodes = [
        node("Conv", ["x", "w"], ["a"], name="first", group=32),
        node("Conv", ["a", "w"], ["y"], name="second", group=32),
    ]
    model = make_model(nodes, {"x": some(rng, 1, 32, 8, 8)}, constants={"w": some(rng, 32, 1, 3, 3)})
    converted = to_tflite(model, precision="w8")
    assert converted.ops == {"DEPTHWISE_CONV_2D": 2, "DEQUANTIZE": 1}
    assert converted.report.quantized_bytes == 32 * 9


def test_versions(make_node_model, to_tflite, rng):
    from ai_edge_litert import schema_py_generated as schema

    cases = {"conv": (Op.CONV_2D, 5), "product": (Op.FULLY_CONNECTED, 12), "depthwise": (Op.DEQUANTIZE, 5)}
    for case, (code, version) in cases.items():
        op, shape, weights, attributes, _, _ = CASES[case]
        model = make_node_model(op, {"x": some(rng, *shape)}, {"w": some(rng, *weights)}, **attributes)
        found = schema.Model.GetRootAs(to_tflite(model, precision="w8").data, 0)
        codes = [found.OperatorCodes(index) for index in range(found.OperatorCodesLength())]
        assert {entry.BuiltinCode(): entry.Version() for entry in codes}[code] == version


def rounded(weights, axis):
    """Weights after a scale for each output channel."""
    others = tuple(other for other in range(weights.ndim) if other != axis)
    scale = np.abs(weights).max(axis=others, keepdims=True) / 127
    return (np.rint(weights / scale) * scale).astype(np.float32)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize(
    ("case", "axis"), [("pointwise", 0), ("depthwise", 0), ("deconv", 1), ("conv-3d", 0)]
)
def test_expanded_weights_are_all_that_is_rounded(
    make_node_model, to_tflite, run_pairs, run_int8, rng, case, axis, resolver
):
    op, shape, weights, attributes, _, _ = CASES[case]
    feeds, w = {"x": some(rng, *shape)}, some(rng, *weights)
    converted = to_tflite(make_node_model(op, feeds, {"w": w}, **attributes), precision="w8")
    expected = run_pairs(make_node_model(op, feeds, {"w": rounded(w, axis)}, **attributes), feeds)["y"]
    np.testing.assert_allclose(run_int8(converted, feeds, resolver)["y"], expected, atol=1e-5)


def to_bytes(x, axes, symmetric):
    """Activations after 8 bits for each picture or row."""
    if symmetric:
        scale = np.abs(x).max(axis=axes, keepdims=True) / 127
        return np.rint(x / scale) * scale
    low, high = np.minimum(x.min(axis=axes, keepdims=True), 0), np.maximum(x.max(axis=axes, keepdims=True), 0)
    scale = (high - low) / 255
    zero = np.clip(np.rint(-128 - low / scale), -128, 127)
    return (np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale


@pytest.mark.parametrize(
    ("case", "axes", "axis", "resolver", "symmetric"),
    [
        ("conv", (1, 2, 3), 0, RESOLVERS[0], False),
        ("conv", (1, 2, 3), 0, RESOLVERS[1], False),
        ("product", (1,), 1, RESOLVERS[0], False),
        ("product", (1,), 1, RESOLVERS[1], True),
    ],
)
def test_activations_of_large_products_are_rounded_at_run_time(
    make_node_model, to_tflite, run_pairs, run_int8, rng, case, axes, axis, resolver, symmetric
):
    op, shape, weights, attributes, _, _ = CASES[case]
    # The second picture has another range than the first.
    x = some(rng, 2 * shape[0], *shape[1:]) + 0.1
    x[shape[0] :] *= 7
    w = some(rng, *weights)
    converted = to_tflite(make_node_model(op, {"x": x}, {"w": w}, **attributes), precision="w8")
    feeds = {"x": to_bytes(x, axes, symmetric).astype(np.float32)}
    expected = run_pairs(make_node_model(op, feeds, {"w": rounded(w, axis)}, **attributes), feeds)["y"]
    noise = np.square(run_int8(converted, {"x": x}, resolver)["y"] - expected).sum()
    assert 10 * np.log10(np.square(expected).sum() / (noise + 1e-20)) > 60


@pytest.mark.parametrize(
    ("case", "reason"),
    [("conv", ROUNDED), ("product", ROUNDED), ("depthwise", EXPANDED), ("deconv", EXPANDED), ("small", KEPT)],
)
def test_file_says_how_an_operator_gets_its_weights(make_node_model, to_tflite, rng, case, reason):
    op, shape, weights, attributes, ops, _ = CASES[case]
    model = make_node_model(op, {"x": some(rng, *shape)}, {"w": some(rng, *weights)}, **attributes)
    [found] = float_operators(to_tflite(model, precision="w8").data)
    assert (found.op, found.reason) == (next(name for name in ops if name != "DEQUANTIZE"), reason)
    assert found.node == "y"


def test_operators_without_weights(make_model, to_tflite, rng):
    nodes = [node("Relu", ["x"], ["a"]), node("MatMul", ["a", "b"], ["c"]), node("Transpose", ["c"], ["y"])]
    feeds = {"x": some(rng, 2, 16, 16), "b": some(rng, 2, 16, 16)}
    found = float_operators(to_tflite(make_model(nodes, feeds), precision="w8").data)
    assert {(operator.op, operator.reason, operator.view) for operator in found} == {
        ("RELU", PLAIN, False),
        ("BATCH_MATMUL", PLAIN, False),
        ("TRANSPOSE", PLAIN, True),
    }
