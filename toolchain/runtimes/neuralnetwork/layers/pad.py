"""Padding of tensors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.borders import border_amounts, check_size
from toolchain.runtimes.neuralnetwork.layers.parameters import chosen, integers, per_picture

_MODES = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}


@computes("padding")
def padding(p: Any) -> Kernel:
    """Rows and columns added around a picture: a constant, the mirrored or the outermost pixels."""
    mode = _MODES[chosen(p, "PaddingType")]
    (top, bottom), (left, right) = border_amounts(p.paddingAmounts)
    value = p.constant.value if mode == "constant" else 0.0

    def run(x: torch.Tensor) -> torch.Tensor:
        check_size(x, [(top, bottom), (left, right)])
        return F.pad(x, (left, right, top, bottom), mode, value)

    return per_picture(run, 2)


@computes("constantPad")
def constant_pad(p: Any) -> Kernel:
    """A constant before and after each axis; a second input replaces the stated amounts."""

    def run(x: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
        amounts = [int(amount) for amount in p.padAmounts] if given is None else integers(given)
        if len(amounts) != 2 * x.ndim or min(amounts) < 0:
            raise UnsupportedError(f"the amounts {amounts} do not fit the shape {tuple(x.shape)}")
        pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
        if p.padToGivenOutputSizeMode:
            pairs = [_to_size(size, *wanted) for size, wanted in zip(x.shape, pairs, strict=True)]
        check_size(x, pairs)
        return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=p.value)

    return run


def _to_size(size: int, before: int, after: int) -> tuple[int, int]:
    """Amounts that fill an axis up to the size that one of the two numbers states."""
    if before and after:
        raise UnsupportedError("an axis is given two sizes to be padded to")
    return max(0, before - size), max(0, after - size)
