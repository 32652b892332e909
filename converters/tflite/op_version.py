"""Operator versions: the lowest that has the features in use, so that old runtimes load the file.

A runtime refuses a file whose operators have a higher version than it knows. The numbers are those of
TensorFlow Lite's own versioning (tflite/tools/versioning/op_version.cc of LiteRT).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.converters.tflite.program import Op, Tensor

FIRST = 1
# Operators whose data is not their first input.
DATA_INPUT = {Op.SPLIT: 1, Op.SCATTER_ND: 1, Op.SELECT_V2: 1, Op.ONE_HOT: 2}

_BYTES = {"int8": 2}
_SHORTS = {"int8": 2, "int16": 3}
_BY_TYPE: dict[int, dict[str, int]] = {
    Op.ABS: {"int8": 2, "uint8": 2, "int16": 4, "int32": 5},
    Op.AVERAGE_POOL_2D: _SHORTS,
    Op.BATCH_MATMUL: _SHORTS,
    Op.ADD: {"int8": 2, "int16": 5, "int64": 4},
    Op.ARG_MAX: {"int8": 2, "bool": 3},
    Op.ARG_MIN: {"int8": 2, "bool": 3},
    Op.BROADCAST_TO: {"int8": 3, "int16": 3},
    Op.CONCATENATION: {"int8": 2, "int16": 3, "uint32": 4},
    Op.DEPTH_TO_SPACE: _BYTES,
    Op.EQUAL: {"int8": 2, "int16": 4},
    Op.EXP: {"int8": 2, "int16": 2},
    Op.FLOOR_DIV: {"float32": 2, "int8": 3, "int16": 3},
    Op.FLOOR_MOD: {"int8": 2, "int16": 2},
    Op.GATHER: {"int8": 2, "bool": 3, "int16": 4},
    Op.GATHER_ND: {"int16": 3},
    Op.GELU: _BYTES,
    Op.GREATER: _BYTES,
    Op.GREATER_EQUAL: _SHORTS,
    Op.LEAKY_RELU: {"int16": 2},
    Op.LESS: _SHORTS,
    Op.LESS_EQUAL: _BYTES,
    Op.LOG: {"int8": 2, "int16": 2},
    Op.LOGISTIC: _SHORTS,
    Op.LOG_SOFTMAX: _BYTES,
    Op.MAXIMUM: {"int8": 2, "int16": 4},
    Op.MAX_POOL_2D: _SHORTS,
    Op.MEAN: _SHORTS,
    Op.MINIMUM: {"int8": 2, "int16": 4},
    Op.MIRROR_PAD: _SHORTS,
    Op.MUL: {"int8": 2, "int16": 7, "int64": 5, "uint32": 7},
    Op.NOT_EQUAL: _BYTES,
    Op.PAD: _SHORTS,
    Op.PADV2: _SHORTS,
    Op.REDUCE_MAX: _SHORTS,
    Op.REDUCE_MIN: _SHORTS,
    Op.REDUCE_PROD: {"int8": 2, "int16": 2},
    Op.RELU: _SHORTS,
    Op.RELU6: _SHORTS,
    Op.RESIZE_BILINEAR: {"int8": 2, "int16": 4},
    Op.RESIZE_NEAREST_NEIGHBOR: {"int8": 2, "int16": 4},
    Op.REVERSE_V2: {"bool": 2, "int8": 3},
    Op.RSQRT: _SHORTS,
    Op.SELECT_V2: {"uint32": 2},
    Op.SIGN: {"int32": 2},
    Op.SLICE: {"int8": 2, "int16": 4, "uint32": 6},
    Op.SOFTMAX: _SHORTS,
    Op.SPACE_TO_DEPTH: _BYTES,
    Op.SPLIT: {"int8": 2, "int32": 3, "int16": 4},
    Op.SPLIT_V: _BYTES,
    Op.STRIDED_SLICE: {"int8": 2, "bool": 3, "uint32": 7},
    Op.SUB: {"int8": 2, "int16": 5, "int64": 4},
    Op.SQUARED_DIFFERENCE: _BYTES,
    Op.SUM: _BYTES,
    Op.TANH: _SHORTS,
    Op.TILE: {"int8": 3},
    Op.TOPK_V2: {"int8": 2, "int16": 3},
    Op.TRANSPOSE: {"int8": 2, "bool": 3, "int16": 5},
}
# Operator -> pairs (number of axes above which the version is needed, version).
_BY_RANK: dict[int, tuple[tuple[int, int], ...]] = {
    Op.PAD: ((4, 4),),
    Op.PADV2: ((4, 4),),
    Op.SLICE: ((4, 5),),
    Op.STRIDED_SLICE: ((4, 4),),
    Op.TRANSPOSE: ((4, 4), (5, 6)),
}
# Versions with which operands of different shapes may have more than four axes.
_BROADCAST_MANY_AXES = {Op.SUB: 3, Op.DIV: 2, Op.MAXIMUM: 3, Op.MINIMUM: 3}
_AT_LEAST = {Op.BROADCAST_TO: 2}
# Operators of quantized int16, whose kernels are older than those of plain int16.
_QUANTIZED_SHORTS = {Op.ABS: 3, Op.ADD: 3, Op.MUL: 4}
_CAST = {"uint32": 2, "int8": 3, "uint16": 4, "float16": 5, "float64": 5}


def lowest_version(
    code: int, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], options: Any = None
) -> int:
    """Lowest version of an operator that takes these tensors and options.

    Args:
        code: value of BuiltinOperator.
        inputs: operands; None for an optional input that is left out.
        outputs: results.
        options: object of the schema's options table.
    """
    given = [tensor for tensor in inputs if tensor is not None]
    if code == Op.CAST:
        return max(_CAST.get(tensor.dtype.name, FIRST) for tensor in (given[0], outputs[0]))
    if code == Op.FULLY_CONNECTED:
        return _fully_connected(inputs, options)
    if code in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D):
        return _convolution(code, inputs)
    if code == Op.TRANSPOSE_CONV:
        biased = len(inputs) == 4 and inputs[3] is not None
        return 3 if biased else 2 if _dtype(inputs[1]) == "int8" else FIRST
    if code == Op.QUANTIZE:
        return 2 if outputs[0].dtype == np.int16 else FIRST
    if code == Op.DEQUANTIZE and _per_channel(inputs[0]):
        return 5
    if code == Op.DEQUANTIZE:
        return {"int8": 2, "int16": 3, "float16": 3}.get(_dtype(inputs[0]), FIRST)
    quantized = given[0].quantization is not None
    if quantized and given[0].dtype == np.int16 and code in _QUANTIZED_SHORTS:
        return _QUANTIZED_SHORTS[code]
    if code == Op.MUL and quantized and given[0].dtype == np.int8 and _multiplier(given, outputs) >= 1:
        return 3
    data = given[min(DATA_INPUT.get(code, 0), len(given) - 1)]
    found = [FIRST, _AT_LEAST.get(code, FIRST), _BY_TYPE.get(code, {}).get(data.dtype.name, FIRST)]
    found += [version for above, version in _BY_RANK.get(code, ()) if len(data.shape) > above]
    if given[0].shape != given[-1].shape and max(len(tensor.shape) for tensor in given) > 4:
        found.append(_BROADCAST_MANY_AXES.get(code, FIRST))
    if code == Op.GATHER and options.batchDims:
        found.append(5)
    return max(found)


def _dtype(tensor: Tensor | None) -> str:
    return "" if tensor is None else tensor.dtype.name


def _per_channel(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.quantization is not None and tensor.quantization.axis is not None


def _fully_connected(inputs: Sequence[Tensor | None], options: Any) -> int:
    types = [_dtype(tensor) for tensor in inputs[:2]]
    if types == ["float32", "int8"] and _per_channel(inputs[1]):
        return 12
    if len(inputs) == 2:
        return 6
    if options.keepNumDims:
        return 5
    return {("int8", "int8"): 4, ("float32", "int8"): 3}.get((types[0], types[1]), FIRST)


def _convolution(code: int, inputs: Sequence[Tensor | None]) -> int:
    """Versions of quantized convolutions; groups and dilations are known where the operator is made."""
    types = [_dtype(tensor) for tensor in inputs[:2]]
    if types == ["int8", "int8"]:
        return 3
    if types == ["float32", "int8"]:
        hybrid = {Op.CONV_2D: (2, 5), Op.DEPTHWISE_CONV_2D: (4, 6)}[code]
        return hybrid[_per_channel(inputs[1])]
    return FIRST


def _multiplier(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> float:
    """With what a quantized MUL multiplies the product of stored numbers."""
    scales = [tensor.quantization.scale[0] for tensor in [*inputs, outputs[0]] if tensor.quantization]
    return float(scales[0] * scales[1] / scales[2]) if len(scales) == 3 else 0.0
