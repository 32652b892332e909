"""Store the weights of a program of floats as int8, and say what a file does with them.

Time against float32 weights, LiteRT 2.3 with XNNPACK, one thread of a server processor with AVX-512:

| operator | rounded activations | expanded weights |
| --- | --- | --- |
| CONV_2D 3x3, 32 -> 16 to 64 -> 128 channels | 0.25 to 0.35 | 1.0 |
| CONV_2D 1x1, 64 -> 128 and 64 -> 64 channels | 0.61, 0.64 | 1.0 |
| CONV_2D 1x1, 128 -> 32, 16 -> 96, 32 -> 32, 96 -> 16 channels | 0.95, 1.2, 1.9, 2.3 | 1.0 |
| FULLY_CONNECTED 196 rows, 256 -> 256 and 64 -> 16 | 0.33, 2.3 | 1.0 |
| DEPTHWISE_CONV_2D | 10 and more | 1.0 |

TRANSPOSE_CONV and CONV_3D have no kernel for int8 weights beside float activations. Activations are rounded
with a scale and zero point for each picture (CONV_2D) or row (FULLY_CONNECTED, with zero point 0 where
XNNPACK is absent).
"""

from __future__ import annotations

from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.tflite.integer import FloatOperator
from toolchain.converters.tflite.integer_constants import own_symmetric, store, weights_quantization
from toolchain.converters.tflite.integer_kernels import KERNELS
from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import OP_NAMES, Op, Operator, Program, Tensor
from toolchain.converters.tflite.reader import LEFT_OUT, StoredOperator, StoredProgram, read_tflite

# Operator -> (place of the weights among the inputs, axis of the output channels).
PLACES = {
    Op.CONV_2D: (1, 0),
    Op.DEPTHWISE_CONV_2D: (1, 3),
    Op.FULLY_CONNECTED: (1, 0),
    Op.TRANSPOSE_CONV: (1, 0),
    Op.CONV_3D: (1, 4),
}
# Smaller weights save nothing: their scales and the DEQUANTIZE are larger.
MIN_ELEMENTS = 256
# Operators whose kernels round the activations at run time and multiply integers.
HYBRID = frozenset({Op.CONV_2D, Op.FULLY_CONNECTED})
# Multiply-adds for each element read or written, from which on that pays for the rounding.
WORTH = 32
ROUNDED = "int8 weights; rounds its activations to 8 bits as it runs"
EXPANDED = "int8 weights, expanded to floats once, when the file is loaded"
KEPT = f"float weights: fewer than {MIN_ELEMENTS} are not worth their scales"
PLAIN = "no weights"


def store_int8(program: Program) -> bool:
    """Quarter the file: int8 weights with a scale for each output channel, float activations, in place.

    ::

        w (float32) -> CONV_2D      w (int8) -> CONV_2D                  where there is much to multiply
                                    w (int8) -> DEQUANTIZE -> CONV_2D    elsewhere

    1. Where a kernel multiplies much for each element, it gets the int8 weights. It rounds its activations
       to 8 bits at run time, with a scale for each picture or row.
    2. Elsewhere weights are expanded once, when the file is loaded, and the operator runs as with floats.

    Returns:
        Whether anything changed.
    """
    expanded: dict[int, Tensor] = {}
    operators: list[Operator] = []
    changed = False
    for operator in program.operators:
        place, axis = PLACES.get(operator.code, (0, 0))
        weights = operator.inputs[place] if operator.code in PLACES else None
        if weights is not None and _is_large(weights):
            changed = True
            if operator.code in HYBRID and _worth(operator, weights):
                operator.inputs[place] = _stored(operator, weights, axis)
                lowest = lowest_version(operator.code, operator.inputs, operator.outputs, operator.options)
                operator.version = max(operator.version, lowest)
            else:
                if id(weights) not in expanded:
                    expanded[id(weights)] = Tensor(weights.name, weights.shape, weights.dtype)
                    operators.append(_expand(_stored(operator, weights, axis), expanded[id(weights)]))
                operator.inputs[place] = expanded[id(weights)]
        operators.append(operator)
    program.operators = operators
    return changed


def _is_large(tensor: Tensor) -> bool:
    return tensor.data is not None and tensor.dtype == np.float32 and tensor.data.size >= MIN_ELEMENTS


def _worth(operator: Operator, weights: Tensor) -> bool:
    x, y = operator.inputs[0], operator.outputs[0]
    assert x is not None
    return prod(y.shape) * prod(weights.shape[1:]) >= WORTH * (prod(x.shape) + prod(y.shape))


def _stored(operator: Operator, weights: Tensor, axis: int) -> Tensor:
    found = weights_quantization(operator, weights, axis)
    if not isinstance(found, Quantization):
        assert weights.data is not None
        found = own_symmetric(weights.data, axis)
    return store(weights, found, f"{weights.name}/int8")


def _expand(stored: Tensor, made: Tensor) -> Operator:
    version = lowest_version(Op.DEQUANTIZE, [stored], [made])
    return Operator(Op.DEQUANTIZE, [stored], [made], schema.DequantizeOptionsT(), version)


def float_operators(data: bytes) -> tuple[FloatOperator, ...]:
    """What computes with floats in a file of int8 weights, and how it gets its weights, read from the bytes.

    Args:
        data: a .tflite file; it does not know the ONNX nodes, so that an operator is called after the tensor
            that it makes.

    Raises:
        UnsupportedError: the file is damaged.
    """
    program = read_tflite(data, "the .tflite model")
    makers = {made: operator for operator in program.operators for made in operator.outputs}
    expanded = {
        made
        for made, operator in makers.items()
        if operator.code == Op.DEQUANTIZE and program.tensors[operator.inputs[0]].constant
    }
    found = []
    for operator in program.operators:
        if not expanded.issuperset(operator.outputs):
            kernel = KERNELS.get(operator.code)
            found.append(
                FloatOperator(
                    OP_NAMES.get(operator.code, f"op {operator.code}"),
                    program.tensors[operator.outputs[0]].name if operator.outputs else "-",
                    "-",
                    _how_weighted(operator, program, expanded),
                    kernel is not None and kernel.view,
                )
            )
    return tuple(found)


def _how_weighted(operator: StoredOperator, program: StoredProgram, expanded: set[int]) -> str:
    used = operator.inputs[PLACES[operator.code][0]] if operator.code in PLACES else LEFT_OUT
    if used == LEFT_OUT:
        return PLAIN
    weights = program.tensors[used]
    if weights.constant:
        return ROUNDED if weights.type == schema.TensorType.INT8 else KEPT
    return EXPANDED if used in expanded else PLAIN
