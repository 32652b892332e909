"""Operator versions against TensorFlow Lite's own table."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import Op, Tensor


def tensor(dtype: str, rank: int = 2) -> Tensor:
    return Tensor("t", (2,) * rank, np.dtype(dtype))


@pytest.mark.parametrize(
    ("code", "dtype", "rank", "version"),
    [
        (Op.ADD, "float32", 4, 1),
        (Op.ADD, "int64", 4, 4),
        (Op.MUL, "int64", 4, 5),
        (Op.ABS, "int32", 4, 5),
        (Op.TRANSPOSE, "float32", 4, 1),
        (Op.TRANSPOSE, "bool", 4, 3),
        (Op.TRANSPOSE, "float32", 5, 4),
        (Op.TRANSPOSE, "float32", 6, 6),
        (Op.SLICE, "float32", 4, 1),
        (Op.SLICE, "float32", 5, 5),
        (Op.STRIDED_SLICE, "bool", 2, 3),
        (Op.STRIDED_SLICE, "float32", 5, 4),
        (Op.BROADCAST_TO, "float32", 2, 2),
        (Op.BROADCAST_TO, "int8", 2, 3),
        (Op.CONCATENATION, "uint32", 2, 4),
        (Op.SIGN, "int32", 2, 2),
        (Op.MEAN, "float32", 4, 1),
        (Op.REVERSE_V2, "bool", 2, 2),
        (Op.TILE, "int8", 2, 3),
    ],
)
def test_versions(code, dtype, rank, version):
    assert lowest_version(code, [tensor(dtype, rank)], [tensor(dtype, rank)]) == version


def test_operands_of_different_shapes_and_many_axes():
    wide = [tensor("float32", 5), tensor("float32", 1)]
    assert [lowest_version(code, wide, wide[:1]) for code in (Op.ADD, Op.SUB, Op.DIV, Op.MAXIMUM)] == [
        1,
        3,
        2,
        3,
    ]
    alike = [tensor("float32", 5)] * 2
    assert lowest_version(Op.SUB, alike, alike[:1]) == 1


def test_data_is_not_always_the_first_input():
    axis = tensor("int32", 0)
    assert lowest_version(Op.SPLIT, [axis, tensor("int8")], [tensor("int8")] * 2) == 2
    assert lowest_version(Op.SELECT_V2, [tensor("bool"), *[tensor("uint32")] * 2], [tensor("uint32")]) == 2


@pytest.mark.parametrize(
    ("source", "target", "version"),
    [("float32", "int32", 1), ("int8", "float32", 3), ("int32", "uint16", 4), ("uint32", "int64", 2)],
)
def test_casts_look_at_both_ends(source, target, version):
    assert lowest_version(Op.CAST, [tensor(source)], [tensor(target)]) == version


@pytest.mark.parametrize(("keep", "inputs", "version"), [(False, 3, 1), (True, 3, 5), (True, 2, 6)])
def test_fully_connected(keep, inputs, version):
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = keep
    given = [tensor("float32"), tensor("float32"), None][:inputs]
    assert lowest_version(Op.FULLY_CONNECTED, given, [tensor("float32")], options) == version


def test_batched_gather():
    options = schema.GatherOptionsT()
    assert lowest_version(Op.GATHER, [tensor("float32"), tensor("int32")], [], options) == 1
    options.batchDims = 1
    assert lowest_version(Op.GATHER, [tensor("float32"), tensor("int32")], [], options) == 5


def quantized(dtype: str, scale: float = 0.1, channels: int = 1, rank: int = 4) -> Tensor:
    axis = None if channels == 1 else 0
    found = Quantization(
        np.full(channels, scale, np.float32), np.zeros(channels, np.int64), np.dtype(dtype), axis
    )
    return Tensor("t", (channels,) * rank, np.dtype(dtype), None, found)


@pytest.mark.parametrize(
    ("code", "dtype", "version"),
    [
        (Op.ADD, "int8", 2),
        (Op.ADD, "int16", 3),
        (Op.SUB, "int16", 5),
        (Op.MUL, "int8", 2),
        (Op.MUL, "int16", 4),
        (Op.ABS, "int16", 3),
        (Op.AVERAGE_POOL_2D, "int8", 2),
        (Op.MAX_POOL_2D, "int16", 3),
        (Op.SOFTMAX, "int8", 2),
        (Op.LOGISTIC, "int16", 3),
        (Op.TANH, "int8", 2),
        (Op.GELU, "int8", 2),
        (Op.LEAKY_RELU, "int16", 2),
        (Op.HARD_SWISH, "int8", 1),
        (Op.BATCH_MATMUL, "int8", 2),
        (Op.RESIZE_BILINEAR, "int8", 2),
        (Op.RESIZE_NEAREST_NEIGHBOR, "int16", 4),
        (Op.MEAN, "int8", 2),
    ],
)
def test_versions_of_quantized_operators(code, dtype, version):
    assert lowest_version(code, [quantized(dtype)] * 2, [quantized(dtype)]) == version


def test_a_product_that_is_scaled_up():
    operands = [quantized("int8", 2.0)] * 2
    assert lowest_version(Op.MUL, operands, [quantized("int8", 4.0)]) == 3
    assert lowest_version(Op.MUL, operands, [quantized("int8", 5.0)]) == 2


@pytest.mark.parametrize(
    ("code", "data", "weights", "channels", "version"),
    [
        (Op.CONV_2D, "int8", "int8", 4, 3),
        (Op.CONV_2D, "float32", "int8", 1, 2),
        (Op.CONV_2D, "float32", "int8", 4, 5),
        (Op.CONV_2D, "int16", "int8", 4, 1),
        (Op.DEPTHWISE_CONV_2D, "int8", "int8", 4, 3),
        (Op.DEPTHWISE_CONV_2D, "float32", "int8", 1, 4),
        (Op.DEPTHWISE_CONV_2D, "float32", "int8", 4, 6),
        (Op.FULLY_CONNECTED, "int8", "int8", 4, 4),
        (Op.FULLY_CONNECTED, "float32", "int8", 1, 3),
        (Op.FULLY_CONNECTED, "float32", "int8", 4, 12),
        (Op.TRANSPOSE_CONV, "int8", "int8", 4, 2),
    ],
)
def test_weights(code, data, weights, channels, version):
    inputs = [tensor(data, 4), quantized(weights, 0.1, channels), None]
    options = schema.FullyConnectedOptionsT()
    assert lowest_version(code, inputs, [tensor(data, 4)], options) == version


def test_conversions():
    plain = tensor("float32")
    assert lowest_version(Op.QUANTIZE, [plain], [quantized("int8")]) == 1
    assert lowest_version(Op.QUANTIZE, [plain], [quantized("int16")]) == 2
    for stored, version in ((quantized("int8"), 2), (quantized("int16"), 3), (quantized("int8", 0.1, 4), 5)):
        assert lowest_version(Op.DEQUANTIZE, [stored], [plain]) == version
    assert lowest_version(Op.DEQUANTIZE, [tensor("float16")], [plain]) == 3
