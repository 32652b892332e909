"""Padding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import ints, number
from toolchain.runtimes.mil.ops.windows import check_size


@computes("pad")
def pad(x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | float = 0.0) -> Tensor:
    """pad[2 i] elements before and pad[2 i + 1] after, for the last len(pad) / 2 axes of x.

    Added elements are `constant_val`, mirrored at the border without repeating it ("reflect"), or the border
    itself ("replicate").
    """
    amounts = ints(pad)
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    if min(amounts, default=0) < 0:
        raise UnsupportedError(f"pad: negative amounts ({amounts})")
    check_size(x, pairs)
    if mode == "constant":
        # torch counts the axes from the last one on.
        return functional.pad(
            x, [side for pair in reversed(pairs) for side in pair], value=number(constant_val)
        )
    for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
        if before or after:
            x = x.index_select(axis, _sources(x.shape[axis], before, after, mode))
    return x


def _sources(size: int, before: int, after: int, mode: str) -> Tensor:
    """Index of the element that lies at each place of a padded axis."""
    places = torch.arange(-before, size + after)
    if mode == "replicate":
        return places.clamp(0, size - 1)
    if mode != "reflect":
        raise UnsupportedError(f"pad: mode '{mode}' is not known")
    if max(before, after) >= size:
        raise UnsupportedError(f"pad: {max(before, after)} elements cannot be mirrored at an axis of {size}")
    return (size - 1) - ((size - 1) - places.abs()).abs()
