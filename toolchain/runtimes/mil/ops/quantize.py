"""Quantization of activations, from iOS 17 on."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.constexpr import along
from toolchain.runtimes.mil.ops.parameters import number

TYPES = {"int8": torch.int8, "uint8": torch.uint8}


@computes("quantize")
def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: Tensor | None = None,
) -> Tensor:
    """Clipped round(input / scale) + zero point, halves rounded to even; vectors of both lie along `axis`."""
    if output_dtype not in TYPES:
        raise UnsupportedError(f"quantize: to {output_dtype}")
    dtype = TYPES[output_dtype]
    limits = torch.iinfo(dtype)
    place = 0 if axis is None else int(number(axis))
    rounded = (input / along(scale, input, place)).round()
    if zero_point is not None:
        rounded = rounded + along(zero_point, input, place).float()
    return rounded.clamp(limits.min, limits.max).to(dtype)


@computes("dequantize")
def dequantize(
    input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: Tensor | None = None
) -> Tensor:
    """Scale times (input - zero point); vectors of both lie along `axis`."""
    place = 0 if axis is None else int(number(axis))
    shifted = input.float()
    if zero_point is not None:
        shifted = shifted - along(zero_point, input, place).float()
    return along(scale, input, place) * shifted
