"""int8 weights with float activations."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType
from onnx import helper

from toolchain.converters.tflite.program import Op

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
