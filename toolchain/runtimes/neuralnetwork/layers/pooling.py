"""Pooling over height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.borders import (
    Amounts,
    border_amounts,
    heavy_end,
    padded,
    same_amounts,
)
from toolchain.runtimes.neuralnetwork.layers.parameters import chosen, enum_name, pair, per_picture, positive

DEFAULT_KERNEL = 3


@computes("pooling")
def pooling(p: Any) -> Kernel:
    """Maximum, mean, or root of the sum of squares of each window."""
    mode = enum_name(p, "type")
    if p.globalPooling:
        return lambda x: _GLOBAL[mode](x, (-2, -1))
    kernel = positive(pair(p.kernelSize, DEFAULT_KERNEL), "kernelSize")
    stride = positive(pair(p.stride, 1), "stride")
    padding = chosen(p, "PoolingPaddingType")

    def picture(x: torch.Tensor) -> torch.Tensor:
        sizes = tuple(x.shape[-2:])
        if padding == "includeLastPixel":
            amounts = _complete_amounts(p, sizes, kernel, stride, mode)
        elif padding == "same":
            amounts = same_amounts(sizes, kernel, stride, heavy_end(p.same))
        else:
            amounts = border_amounts(p.valid.paddingAmounts)
        if mode == "MAX":
            return F.max_pool2d(padded(x, amounts, -math.inf), kernel, stride)
        if mode == "L2":
            return window_sums(x * x, kernel, stride, amounts).sqrt()
        total = window_sums(x, kernel, stride, amounts)
        if not p.avgPoolExcludePadding:
            return total / math.prod(kernel)
        rows, columns = window_counts(sizes, kernel, stride, amounts)
        return total / (rows[:, None] * columns[None, :])

    return per_picture(picture, 4)


_GLOBAL = {
    "MAX": lambda x, axes: x.amax(axes, keepdim=True),
    "AVERAGE": lambda x, axes: x.mean(axes, keepdim=True),
    "L2": lambda x, axes: (x * x).sum(axes, keepdim=True).sqrt(),
}


def window_sums(
    x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], amounts: Amounts
) -> torch.Tensor:
    """Sum of each window of a picture that is extended by zeros."""
    return F.avg_pool2d(padded(x, amounts), kernel, stride, divisor_override=1)


def window_counts(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], amounts: Amounts
) -> list[torch.Tensor]:
    """How many elements of each window lie inside the input, per axis."""
    counts = []
    for size, width, step, (before, after) in zip(sizes, kernel, stride, amounts, strict=True):
        first = torch.arange(0, before + size + after - width + 1, step) - before
        inside = torch.clamp(first + width, max=size) - torch.clamp(first, min=0)
        if inside.min() < 1:
            raise UnsupportedError("a window lies wholly in the padding")
        counts.append(inside.float())
    return counts


def _complete_amounts(
    p: Any, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], mode: str
) -> Amounts:
    """Paddings with which the last window includes the last pixel, as PoolingLayerParams describes it."""
    paddings = pair(p.includeLastPixel.paddingAmounts, 0)
    amounts = []
    for size, width, step, padding in zip(sizes, kernel, stride, paddings, strict=True):
        windows = math.ceil((size + 2 * padding - width) / step) + 1
        if any(paddings) and (windows - 1) * step >= size + padding:
            windows -= 1
        after = (windows - 1) * step + width - size - padding
        if after > padding and mode == "AVERAGE" and not p.avgPoolExcludePadding:
            raise UnsupportedError(
                "an average that counts the padding, with a last window that reaches beyond the padding"
            )
        if after >= width:
            raise UnsupportedError("a window lies wholly in the padding")
        amounts.append((padding, after))
    return amounts
