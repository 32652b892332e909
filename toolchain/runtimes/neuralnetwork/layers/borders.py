"""Paddings of convolutions and poolings: what is added before and after height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.layers.parameters import enum_name

LARGEST = 1 << 29
"""Elements of the largest padded tensor, 2 GiB; more is taken for damage."""

Amounts = list[tuple[int, int]]
"""(before, after) per spatial axis."""


def border_amounts(message: Any) -> Amounts:
    """A BorderAmounts message: (top, bottom), (left, right); zeros when it is empty."""
    edges = message.borderAmounts
    if not edges:
        return [(0, 0), (0, 0)]
    if len(edges) != 2:
        raise UnsupportedError(f"border amounts need height and width, got {len(edges)}")
    return [(int(edge.startEdgeSize), int(edge.endEdgeSize)) for edge in edges]


def halves(total: int, heavy_end: bool) -> tuple[int, int]:
    """`total` shared out before and after; the odd one goes to the end or to the start."""
    small = total // 2
    return (small, total - small) if heavy_end else (total - small, small)


def heavy_end(same: Any) -> bool:
    """Whether a SamePadding message adds the odd row and column at the bottom right."""
    return enum_name(same, "asymmetryMode") == "BOTTOM_RIGHT_HEAVY"


def same_amounts(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], at_end: bool) -> Amounts:
    """Padding with which the output has ceil(size / stride) positions."""
    amounts = []
    for size, width, step in zip(sizes, kernel, stride, strict=True):
        total = max(0, (math.ceil(size / step) - 1) * step + width - size)
        amounts.append(halves(total, at_end))
    return amounts


def spread(dilation: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Extent of a dilated kernel."""
    return [(width - 1) * step + 1 for width, step in zip(kernel, dilation, strict=True)]


def padded(x: torch.Tensor, amounts: Amounts, value: float = 0.0) -> torch.Tensor:
    """`x` with its last axes extended by a constant."""
    if not any(before or after for before, after in amounts):
        return x
    check_size(x, amounts)
    return F.pad(x, [size for pair in reversed(amounts) for size in pair], value=value)


def check_size(x: torch.Tensor, amounts: Amounts) -> None:
    """Raises UnsupportedError when `x` with its last axes extended would fill the memory."""
    kept = x.shape[: x.ndim - len(amounts)]
    grown = [
        size + before + after for size, (before, after) in zip(x.shape[len(kept) :], amounts, strict=True)
    ]
    if math.prod([*kept, *grown]) > LARGEST:
        raise UnsupportedError(f"the padding {amounts} of the shape {tuple(x.shape)} is impossibly large")
