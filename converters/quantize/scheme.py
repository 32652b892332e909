"""Which operators compute with integers, and what their values have in common (TFLite int8 specification).

Source: https://ai.google.dev/edge/litert/models/quantization_spec
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.converters.graph.quantization import Quantization

LOW, HIGH = -128, 127
STEPS = HIGH - LOW
INT16_MOST = 32767
# Weights are symmetric without -128, so that kernels can add up products of two in 16 bits.
WEIGHT_MOST = 127
BIAS_MOST = 2**31 - 1
# Biases of channels whose weights are all zero keep that many steps.
BIAS_STEPS = 2**20
# Below the smallest normal float32, reciprocals overflow and processors flush to zero.
SMALLEST = float(np.finfo(np.float32).tiny)

# Convolutions and products: operator -> (input that holds the weights, input that holds the bias).
WEIGHTED = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (1, None)}

# They move numbers, and compute nothing: between two float operators they are left in float.
MOVING = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)

# The result is made of the operands' own numbers, so that it is stored with their scale.
SAME_SCALE = MOVING | frozenset(
    {
        "AveragePool",
        "GlobalMaxPool",
        "Max",
        "MaxPool",
        "Min",
        "ReduceMax",
        "ReduceMin",
        "Resize",
        "Where",
    }
)

# Fixed by the specification: the whole range of the function in steps of a power of two.
FIXED = {
    "LogSoftmax": (-255.0 / 16.0, 0.0),
    "Sigmoid": (0.0, 255.0 / 256.0),
    "Softmax": (0.0, 255.0 / 256.0),
    "Tanh": (-1.0, 127.0 / 128.0),
}
# The same in 16 bits; their kernels take no other scale either. LogSoftmax has none.
FIXED_INT16 = dict.fromkeys(("Sigmoid", "Softmax", "Tanh"), (-INT16_MOST / 32768.0, INT16_MOST / 32768.0))

COMPUTED = frozenset(
    {
        "Abs",
        "Add",
        "Clip",
        "Elu",
        "Exp",
        "Gelu",
        "GlobalAveragePool",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mul",
        "PRelu",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Sub",
        "Swish",
    }
)

# They read quantized numbers and write integers that are none.
READING = frozenset({"ArgMax", "ArgMin"})

INTEGER = SAME_SCALE | COMPUTED | READING | frozenset(FIXED) | frozenset(WEIGHTED)
"""ONNX operators that have an integer kernel in TFLite."""

# Activations that the operator before computes while it writes its result; the value between is not stored.
FUSED = frozenset({"Relu", "Clip"})
FUSING = frozenset({"Conv", "Gemm", "MatMul", "Add", "Sub", "Mul", "MaxPool", "AveragePool"})


@dataclass(frozen=True)
class Range:
    """Smallest and largest value that a tensor is to hold exactly."""

    low: float
    high: float

    def joined(self, other: Range) -> Range:
        """The range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def holds(self, other: Range) -> bool:
        """Whether the other range lies within this one."""
        return self.low <= other.low and other.high <= self.high


def asymmetric(found: Range) -> Quantization:
    """int8 with 0 among the values that are exact, and both ends of the range among those that are held.

    The zero point is rounded first, then the scale is the least that holds both ends, about
    (high - low) / 255. Were it exactly that, a range like -1 to 1 would have its zero point half way between
    two integers, and each of the 256 pixel values would lie on a tie, which kernels round either way.

    Every value of the range comes back within half a scale. A range without extent has the scale 1.
    """
    scale, zero = asymmetric_scale(found)
    return Quantization(np.array([scale], np.float32), np.array([zero], np.int64), np.dtype(np.int8))


def asymmetric_scale(found: Range) -> tuple[float, int]:
    """Scale, a float32 number, and zero point of `asymmetric`."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    step = (high - low) / STEPS
    if np.float32(step) < SMALLEST:
        return 1.0, LOW
    zero = min(max(round(LOW - low / step), LOW), HIGH)
    # An end that is nearer to 0 than half a step has no integer of its own.
    above = high / (HIGH - zero) if zero < HIGH else 0.0
    below = low / (LOW - zero) if zero > LOW else 0.0
    return float(np.float32(max(above, below))), zero


def symmetric_int16(found: Range) -> Quantization:
    """int16 in [-32767, 32767] with zero point 0: `scale = max(|low|, |high|) / 32767`."""
    scale = np.float32(max(abs(found.low), abs(found.high)) / INT16_MOST)
    if scale < SMALLEST:
        scale = np.float32(1.0)
    return Quantization(np.array([scale]), np.zeros(1, np.int64), np.dtype(np.int16))


def symmetric(
    weights: np.ndarray,
    axis: int | None,
    source: Quantization | None = None,
    bias_values: np.ndarray | None = None,
) -> Quantization:
    """int8 in [-127, 127] with zero point 0, one scale for each index of `axis` (None: one for all).

    A scale is widened where the bias, which has the scale `source.scale * scale`, would not fit into int32;
    where all weights are zero, it is what the bias needs.

    Args:
        weights: the weights, float.
        axis: axis of the output channels.
        source: how the activation that the weights are multiplied with is stored.
        bias_values: the bias, (channels,) or one number.
    """
    others = None if axis is None else tuple(a for a in range(weights.ndim) if a != axis)
    most = np.abs(weights).max(axis=others, initial=0.0).reshape(-1).astype(np.float64)
    scale = most / WEIGHT_MOST
    factor = 1.0 if source is None else float(source.scale.reshape(-1)[0])
    if bias_values is not None and bias_values.size:
        offset = np.abs(bias_values.astype(np.float64)).reshape(-1)
        offset = offset if axis is not None else offset.max(keepdims=True)
        # One step below the limit: the scale is rounded to float32.
        scale = np.maximum(scale, offset / factor / (BIAS_MOST * (1 - 1e-6)))
        scale = np.where(most > 0, scale, offset / factor / BIAS_STEPS)
    scale = np.where(scale > 0, np.maximum(scale, 2 * SMALLEST * max(1.0, 1.0 / factor)), 1.0)
    scale = scale.astype(np.float32)
    return Quantization(scale, np.zeros(scale.shape, np.int64), np.dtype(np.int8), axis)


def bias(source: Quantization, weights: Quantization, axis: int = 0) -> Quantization:
    """int32 with the scale of the products, so that the bias is added before anything is rounded."""
    scale = (source.scale.astype(np.float64) * weights.scale).astype(np.float32)
    along = None if weights.axis is None else axis
    return Quantization(scale, np.zeros(scale.shape, np.int64), np.dtype(np.int32), along)
