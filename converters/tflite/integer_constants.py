"""Constants of integer operators: weights, biases and other operands as stored numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.converters.graph.quantization import Quantization, quantization_of
from toolchain.converters.tflite.program import Operator, Tensor

INT8 = np.dtype(np.int8)
INT32_MOST = 2**31 - 1
# Stored numbers are recovered from the floats that they stand for; these carry the rounding of float32.
RECOVERY = 1e-3


def signed(found: Quantization | None) -> Quantization | None:
    """The same numbers as int8: those of uint8 less 128."""
    if found is None or found.dtype != np.uint8:
        return found
    return replace(found, zero_point=found.zero_point - 128, dtype=np.dtype(np.int8))


def noted_weights(operator: Operator) -> Quantization | None:
    """How the ONNX graph stores the weights of the node that this operator stands for; axis of the graph."""
    if operator.origin is None:
        return None
    for value in operator.origin.inputs:
        found = quantization_of(value)
        if value is not None and value.const_value is not None and found is not None:
            return signed(found) if found.dtype in (np.int8, np.uint8) else None
    return None


def weights_reason(operator: Operator, weights: Tensor, axis: int) -> str | None:
    """A sentence where the graph stores weights as a kernel with channels on this axis cannot have them."""
    channels = weights.shape[axis]
    noted = noted_weights(operator)
    if noted is not None and noted.zero_point.any():
        return "its weights are asymmetric, and the kernel takes symmetric ones"
    if noted is not None and noted.scale.size not in (1, channels):
        return f"its weights have {noted.scale.size} scales for {channels} output channels"
    return None


def weights_quantization(operator: Operator, weights: Tensor, axis: int) -> Quantization | str:
    """Scales of weights along the kernel's channel axis: those of the graph, or else their own.

    Returns:
        int8 with zero points 0; or what `weights_reason` gives.
    """
    reason = weights_reason(operator, weights, axis)
    if reason is not None:
        return reason
    assert weights.data is not None
    noted = noted_weights(operator)
    if noted is not None:
        found = replace(noted, axis=axis if noted.scale.size > 1 else None)
        if is_exact(weights.data, found):
            return found
    return own_symmetric(weights.data, axis)


def is_exact(real: np.ndarray, found: Quantization) -> bool:
    """Whether the numbers are multiples of the scale, within the stored type's range."""
    back = found.real(found.stored(real))
    scale = found.along(found.scale, real.ndim)
    return bool((np.abs(back - real) <= RECOVERY * scale).all())


def own_symmetric(real: np.ndarray, axis: int | None, dtype: np.dtype = INT8) -> Quantization:
    """Zero point 0, int8 in [-127, 127]; a scale for each index of `axis`, or one for all."""
    others = None if axis is None else tuple(other for other in range(real.ndim) if other != axis)
    most = np.abs(real).max(axis=others, initial=0.0).reshape(-1)
    scale = np.where(most > 0, most / np.iinfo(dtype).max, 1.0).astype(np.float32)
    return Quantization(scale, np.zeros(scale.shape, np.int64), dtype, axis)


def own_parameters(real: np.ndarray, dtype: np.dtype) -> Quantization:
    """One scale for an operand: int8 with any zero point, int16 with zero point 0."""
    limits = np.iinfo(dtype)
    low, high = min(float(real.min(initial=0)), 0.0), max(float(real.max(initial=0)), 0.0)
    if dtype == np.int16:
        most = max(-low, high)
        scale, zero = most / limits.max, 0
    else:
        scale = (high - low) / (int(limits.max) - int(limits.min))
        zero = int(np.clip(np.rint(limits.min - low / scale), limits.min, limits.max)) if scale else 0
    return Quantization(np.array([scale or 1.0], np.float32), np.array([zero], np.int64), dtype)


def with_room_for_bias(weights: Quantization, source: Quantization, bias: np.ndarray | None) -> Quantization:
    """Weights' scales, larger where a bias would not fit into int32.

    Such weights are so small beside the bias that their coarser steps are far below those of the result.
    """
    if bias is None:
        return weights
    least = np.abs(bias.astype(np.float64)) / (float(source.scale[0]) * (INT32_MOST // 2))
    wanted = least if weights.axis is not None else least.max(initial=0.0, keepdims=True)
    return replace(weights, scale=np.maximum(weights.scale, wanted).astype(np.float32))


def store_bias(bias: Tensor, source: Quantization, weights: Quantization) -> Tensor:
    """A bias with the scale of the products: int32, or int64 beside int16 activations."""
    assert bias.data is not None
    dtype = np.dtype(np.int64 if source.dtype == np.int16 else np.int32)
    scale = (source.scale.astype(np.float64) * weights.scale).astype(np.float32)
    axis = None if weights.axis is None else 0
    found = Quantization(scale, np.zeros(scale.shape, np.int64), dtype, axis)
    exact = source.scale.astype(np.float64) * weights.scale.astype(np.float64)
    data = np.rint(bias.data.astype(np.float64) / exact).astype(dtype)
    return Tensor(bias.name, data.shape, dtype, data, found)


def store(tensor: Tensor, found: Quantization, name: str | None = None) -> Tensor:
    """A constant as stored numbers."""
    assert tensor.data is not None
    data = np.asarray(found.stored(tensor.data), order="C")
    return Tensor(name or tensor.name, data.shape, data.dtype, data, found)
