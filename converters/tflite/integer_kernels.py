"""Which TFLite operators compute with integers, and what their kernels demand of scales.

Sources: the int8 specification (https://ai.google.dev/edge/litert/models/quantization_spec), and the kernels
of LiteRT, which `tests/converters/tflite/integer/test_kernels.py` runs one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.tflite.program import Op

INT8: np.dtype = np.dtype(np.int8)
INT16: np.dtype = np.dtype(np.int16)
_BOTH: frozenset[np.dtype] = frozenset({INT8, INT16})
_BYTES: frozenset[np.dtype] = frozenset({INT8})


@dataclass(frozen=True)
class Weights:
    """Where an operator has its constants.

    Attributes:
        data: place of the activation among the inputs.
        weights: place of the weights.
        bias: place of the bias.
        axis: axis of the weights that the output channels lie on.
    """

    data: int
    weights: int
    bias: int
    axis: int


@dataclass(frozen=True)
class Kernel:
    """What an integer kernel demands.

    Attributes:
        types: stored types that it knows.
        same: operands and results must have one scale, because it moves or compares stored numbers.
        view: it computes nothing, so that a float one is no loss of speed.
        weights: places of weights and bias, None for operators without.
    """

    types: frozenset[np.dtype] = _BYTES
    same: bool = False
    view: bool = False
    weights: Weights | None = None


_moves = partial(Kernel, same=True, view=True)
_compares = partial(Kernel, same=True)

KERNELS: dict[int, Kernel] = {
    # Products. Weights are int8 in both cases, biases int32 or int64.
    Op.CONV_2D: Kernel(_BOTH, weights=Weights(0, 1, 2, 0)),
    Op.DEPTHWISE_CONV_2D: Kernel(_BOTH, weights=Weights(0, 1, 2, 3)),
    Op.FULLY_CONNECTED: Kernel(_BOTH, weights=Weights(0, 1, 2, 0)),
    Op.TRANSPOSE_CONV: Kernel(_BOTH, weights=Weights(2, 1, 3, 0)),
    Op.BATCH_MATMUL: Kernel(_BOTH),
    # Arithmetic.
    Op.ADD: Kernel(_BOTH),
    Op.SUB: Kernel(_BOTH),
    Op.MUL: Kernel(_BOTH),
    Op.SQUARED_DIFFERENCE: Kernel(_BYTES),
    Op.MEAN: Kernel(_BOTH),
    Op.SUM: Kernel(_BYTES),
    Op.ABS: Kernel(_BYTES),
    # Functions.
    Op.RELU: Kernel(_BOTH),
    Op.RELU6: Kernel(_BOTH),
    Op.RELU_N1_TO_1: Kernel(_BYTES),
    Op.LEAKY_RELU: Kernel(_BOTH),
    Op.PRELU: Kernel(_BYTES),
    Op.ELU: Kernel(_BYTES),
    Op.GELU: Kernel(_BYTES),
    Op.HARD_SWISH: Kernel(_BYTES),
    Op.LOGISTIC: Kernel(_BOTH),
    Op.TANH: Kernel(_BOTH),
    Op.SOFTMAX: Kernel(_BOTH),
    Op.LOG_SOFTMAX: Kernel(_BYTES),
    # Of int16 they are tables with errors of hundreds of steps.
    Op.EXP: Kernel(_BYTES),
    Op.LOG: Kernel(_BYTES),
    Op.RSQRT: Kernel(_BYTES),
    # Comparisons of stored numbers.
    Op.MAXIMUM: _compares(_BOTH),
    Op.MINIMUM: _compares(_BOTH),
    Op.REDUCE_MAX: _compares(_BOTH),
    Op.REDUCE_MIN: _compares(_BOTH),
    Op.MAX_POOL_2D: _compares(_BOTH),
    Op.AVERAGE_POOL_2D: _compares(_BOTH),
    Op.RESIZE_BILINEAR: _compares(_BOTH),
    Op.ARG_MAX: Kernel(_BYTES),
    Op.ARG_MIN: Kernel(_BYTES),
    # From one scale to another.
    Op.QUANTIZE: Kernel(_BOTH),
    # Numbers moved as they are.
    Op.RESIZE_NEAREST_NEIGHBOR: _moves(_BOTH),
    Op.RESHAPE: _moves(_BOTH),
    Op.TRANSPOSE: _moves(_BOTH),
    Op.PAD: _moves(_BOTH),
    Op.PADV2: _moves(_BOTH),
    Op.MIRROR_PAD: _moves(_BOTH),
    Op.SLICE: _moves(_BOTH),
    Op.STRIDED_SLICE: _moves(_BOTH),
    Op.SPLIT: _moves(_BOTH),
    Op.SPLIT_V: _moves(_BOTH),
    Op.CONCATENATION: _moves(_BOTH),
    Op.GATHER: _moves(_BOTH),
    Op.GATHER_ND: _moves(_BOTH),
    Op.BROADCAST_TO: _moves(_BOTH),
    Op.TILE: _moves(_BYTES),
    Op.REVERSE_V2: _moves(_BYTES),
    Op.DEPTH_TO_SPACE: _moves(_BYTES),
    Op.SPACE_TO_DEPTH: _moves(_BYTES),
    Op.SELECT_V2: _moves(_BOTH),
    Op.SCATTER_ND: _moves(_BYTES),
}

# (scale, zero point) of results that a kernel writes with no other.
_FIXED: dict[tuple[int, np.dtype], tuple[float, int]] = {
    (Op.LOGISTIC, INT8): (1 / 256, -128),
    (Op.SOFTMAX, INT8): (1 / 256, -128),
    (Op.TANH, INT8): (1 / 128, 0),
    (Op.LOG_SOFTMAX, INT8): (16 / 256, 127),
    (Op.LOGISTIC, INT16): (1 / 32768, 0),
    (Op.SOFTMAX, INT16): (1 / 32768, 0),
    (Op.TANH, INT16): (1 / 32768, 0),
}


def fixed_output(code: int, dtype: np.dtype) -> Quantization | None:
    """How an operator's result is always stored; None where the kernel takes any scale."""
    found = _FIXED.get((code, dtype))
    if found is None:
        return None
    scale, zero = found
    return Quantization(np.array([scale], np.float32), np.array([zero], np.int64), dtype)
