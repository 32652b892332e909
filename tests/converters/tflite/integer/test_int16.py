"""int16 activations with int8 weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from toolchain.converters.tflite import convert
from toolchain.errors import UnsupportedOpsError, UsageError

X = (1, 8, 9, 11)
RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


ROWS = [
    ("Conv", X, {"w": normal(12, 8, 3, 3), "b": normal(12)}, {"pads": [1, 1, 1, 1]}, {"CONV_2D"}, 1),
    ("Conv", X, {"w": normal(8, 1, 3, 3), "b": normal(8)}, {"group": 8}, {"DEPTHWISE_CONV_2D"}, 1),
    ("ConvTranspose", X, {"w": normal(8, 6, 2, 2)}, {"strides": [2, 2]}, {"TRANSPOSE_CONV"}, 1),
    ("Gemm", (4, 30), {"w": normal(30, 7), "b": normal(7)}, {}, {"FULLY_CONNECTED"}, 1),
    ("Add", X, {"c": normal(8, 1, 1)}, {}, {"ADD"}, 1),
    ("Sub", X, {"c": normal(8, 1, 1)}, {}, {"SUB"}, 1),
    ("Mul", X, {"c": normal(8, 1, 1)}, {}, {"MUL"}, 1),
    ("Relu", X, {}, {}, {"RELU"}, 1),
    ("LeakyRelu", X, {}, {"alpha": 0.1}, {"LEAKY_RELU"}, 1),
    ("PRelu", X, {"s": normal(8, 1, 1)}, {}, {"MAXIMUM", "MINIMUM", "MUL", "ADD"}, 1),
    ("HardSwish", X, {}, {}, {"MUL", "ADD"}, 1),
    ("Swish", X, {}, {}, {"LOGISTIC", "MUL"}, 1),
    ("Abs", X, {}, {}, {"LEAKY_RELU"}, 1),
    ("Sigmoid", X, {}, {}, {"LOGISTIC"}, 1),
    ("Tanh", X, {}, {}, {"TANH"}, 4),
    ("Softmax", X, {}, {"axis": 1}, {"SOFTMAX"}, 4),
    ("GlobalAveragePool", X, {}, {}, {"MEAN"}, 1),
    ("MaxPool", X, {}, {"kernel_shape": [2, 2]}, {"MAX_POOL_2D"}, 0),
    ("AveragePool", X, {}, {"kernel_shape": [3, 3]}, {"AVERAGE_POOL_2D"}, 1),
    ("Transpose", (3, 8, 6), {}, {"perm": [2, 0, 1]}, {"TRANSPOSE"}, 0),
]


@pytest.mark.parametrize(("op", "shape", "constants", "attributes", "ops", "most"), ROWS)
def test_kernel(make_node_model, quantize, side_by_side, op, shape, constants, attributes, ops, most):
    feeds = {"x": np.random.default_rng(3).standard_normal(shape).astype(np.float32) * 2}
    model = make_node_model(op, feeds, constants, opset=24 if op == "Swish" else 20, **attributes)
    found = side_by_side(quantize(model, feeds, activations="int16"), feeds, precision="int16x8")
    assert set(found.converted.ops) - {"QUANTIZE", "DEQUANTIZE"} <= ops
    assert not found.converted.report.floats
    assert found.steps <= most + 0.01


def test_an_operator_of_8_bits_only_is_refused(make_node_model, quantize):
    feeds = {"x": normal(*X)}
    qdq = quantize(make_node_model("Elu", feeds), feeds, activations="int16")
    with pytest.raises(UnsupportedOpsError, match="Elu"):
        convert(ir.serde.deserialize_model(qdq), "int16x8")


def test_borders_are_floats(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"], name="n")], {"x": normal(*X)})
    with pytest.raises(UsageError, match="int16x8"):
        convert(ir.serde.deserialize_model(model), "int16x8", io="int8")
