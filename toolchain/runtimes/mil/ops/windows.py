"""Where the windows of convolutions and pooling lie: padding."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.ops.parameters import ints

LARGEST = 1 << 29
"""Elements of the largest padded tensor, 2 GiB; more is taken for damage."""

Pads = list[tuple[int, int]]
"""(before, after) per spatial axis."""

BATCH_AXES = 2
"""Axes in front of the spatial ones: batch and channels."""


def pads_of(
    op: str,
    pad_type: str,
    pad: Tensor | None,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
) -> Pads:
    """Padding of each spatial axis.

    Args:
        op: operator, for the message.
        pad_type: "valid"; "custom"; "same": the output has ceil(size / stride) elements and an odd element of
            padding comes last; "same_lower": it comes first.
        pad: before and after of each axis in turn, used by "custom" only.
        sizes: of the input.
        kernel: extent of the window, dilation included.
        strides: of the window.

    Raises:
        UnsupportedError: the type is unknown or a padding is negative.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        flat = [0] * (2 * len(sizes)) if pad is None else ints(pad)
        if len(flat) != 2 * len(sizes) or min(flat, default=0) < 0:
            raise UnsupportedError(f"{op}: padding {flat} of {len(sizes)} spatial axes")
        return list(zip(flat[::2], flat[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise UnsupportedError(f"{op}: padding type '{pad_type}'")
    pads = []
    for size, extent, stride in zip(sizes, kernel, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if pad_type == "same" else (more, less))
    return pads


def symmetric(pads: Pads) -> bool:
    """Whether each axis has the same padding on both sides, which torch's operators can do themselves."""
    return all(before == after for before, after in pads)


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """The tensor with its spatial axes padded by a value."""
    flat = [amount for pair in reversed(pads) for amount in pair]
    if not any(flat):
        return x
    check_size(x, pads)
    return functional.pad(x, flat, value=value)


def check_size(x: Tensor, pads: Pads) -> None:
    """Raises UnsupportedError when `x` with its last axes padded would fill the memory."""
    kept = x.shape[: x.ndim - len(pads)]
    grown = [size + sum(pair) for size, pair in zip(x.shape[len(kept) :], pads, strict=True)]
    if prod([*kept, *grown]) > LARGEST:
        raise UnsupportedError(f"the padding {pads} of the shape {tuple(x.shape)} is impossibly large")
