"""Decodes the message WeightParams of NeuralNetwork.proto."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from toolchain.errors import UnsupportedError

FIELDS = ("floatValue", "float16Value", "rawValue", "int8RawValue")
BYTE = 8


def decoded(weights: Any, shape: Sequence[int], axis: int = 0) -> torch.Tensor:
    """The weights as a float32 tensor.

    Args:
        weights: message WeightParams.
        shape: shape that the layer gives them (row-major).
        axis: the axis of `shape` with one quantization scale per index, when there is more than one scale.

    Raises:
        UnsupportedError: they are absent, of another size, or quantized in an unknown way.
    """
    shape = tuple(int(size) for size in shape)
    filled = [field for field in FIELDS if len(getattr(weights, field))]
    if len(filled) != 1:
        raise UnsupportedError(f"weights must be stored in one form, not in {', '.join(filled) or 'none'}")
    values = _DECODERS[filled[0]](weights, shape, axis)
    if values.size != math.prod(shape):
        raise UnsupportedError(
            f"{values.size} weights are stored, the shape {shape} takes {math.prod(shape)}"
        )
    return torch.from_numpy(np.ascontiguousarray(values.reshape(shape), dtype=np.float32))


def _float32(weights: Any, shape: tuple[int, ...], axis: int) -> np.ndarray:
    return np.array(weights.floatValue, dtype=np.float32)


def _float16(weights: Any, shape: tuple[int, ...], axis: int) -> np.ndarray:
    if len(weights.float16Value) % 2:
        raise UnsupportedError("float16 weights have an odd number of bytes")
    return np.frombuffer(weights.float16Value, dtype="<f2").astype(np.float32)


def _raw(weights: Any, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Unsigned integers of 1 to 8 bits, through a linear formula or a table."""
    quantization = weights.quantization
    codes = unpacked(weights.rawValue, int(quantization.numberOfBits), math.prod(shape)).reshape(shape)
    kind = quantization.WhichOneof("QuantizationType")
    if kind == "lookupTableQuantization":
        table = np.array(quantization.lookupTableQuantization.floatValue, dtype=np.float32)
        if table.size != 1 << quantization.numberOfBits:
            raise UnsupportedError(
                f"the look-up table has {table.size} values, {quantization.numberOfBits} bits need"
                f" {1 << quantization.numberOfBits}"
            )
        return table[codes]
    if kind != "linearQuantization":
        raise UnsupportedError("quantized weights without scales and without a look-up table")
    linear = quantization.linearQuantization
    scale = _per_channel(linear.scale, shape, axis, "scales")
    bias = _per_channel(linear.bias, shape, axis, "biases")
    return codes * scale + bias


def _int8(weights: Any, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Signed bytes with one scale and no bias."""
    quantization = weights.quantization
    linear = quantization.linearQuantization
    known = quantization.WhichOneof("QuantizationType") == "linearQuantization"
    if not known or quantization.numberOfBits != BYTE or len(linear.scale) != 1 or len(linear.bias):
        raise UnsupportedError("int8RawValue needs 8 bits, one scale and no bias")
    return np.frombuffer(weights.int8RawValue, dtype=np.int8) * np.float64(linear.scale[0])


def _per_channel(stored: Any, shape: tuple[int, ...], axis: int, what: str) -> np.ndarray:
    values = np.array(stored, dtype=np.float64)
    if values.size == 1:
        return values
    if axis >= len(shape) or values.size != shape[axis]:
        raise UnsupportedError(f"{values.size} {what} do not fit weights of shape {shape} along axis {axis}")
    return values.reshape([-1 if index == axis else 1 for index in range(len(shape))])


def unpacked(data: bytes, bits: int, count: int) -> np.ndarray:
    """Unsigned integers of `bits` bits from a stream without gaps, the highest bit of each first."""
    if not 1 <= bits <= BYTE:
        raise UnsupportedError(f"weights of {bits} bits are not known, only of 1 to 8")
    if len(data) != math.ceil(count * bits / BYTE):
        raise UnsupportedError(f"{count} weights of {bits} bits do not fit {len(data)} bytes")
    raw = np.frombuffer(data, dtype=np.uint8)
    if bits == BYTE:
        return raw
    stream = np.unpackbits(raw)[: count * bits].reshape(count, bits)
    return np.packbits(stream, axis=1).reshape(count) >> (BYTE - bits)


_DECODERS = {"floatValue": _float32, "float16Value": _float16, "rawValue": _raw, "int8RawValue": _int8}
