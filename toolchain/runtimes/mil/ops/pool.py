"""Pooling over one to three spatial axes, channels on axis 1."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, ints
from toolchain.runtimes.mil.ops.windows import BATCH_AXES, Pads, padded, pads_of, symmetric

MAXIMUM = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


class _Window:
    """Where the windows of a pooling operator lie."""

    def __init__(
        self,
        op: str,
        x: Tensor,
        kernel_sizes: Tensor,
        strides: Tensor | None,
        pad_type: str,
        pad: Tensor | None,
        ceil_mode: Tensor | bool,
    ) -> None:
        self.axes = x.ndim - BATCH_AXES
        self.kernel = ints(kernel_sizes)
        self.strides = [1] * self.axes if strides is None else ints(strides)
        self.ceil = flag(ceil_mode)
        self.pads: Pads = pads_of(op, pad_type, pad, x.shape[BATCH_AXES:], self.kernel, self.strides)
        if self.ceil and (pad_type in ("same", "same_lower") or not symmetric(self.pads)):
            raise UnsupportedError(f"{op}: ceil_mode with padding {self.pads} of type '{pad_type}'")

    @property
    def direct(self) -> bool:
        """Whether torch can pad: the same on both sides, at most half a window."""
        return symmetric(self.pads) and all(
            2 * before <= size for (before, _), size in zip(self.pads, self.kernel, strict=True)
        )

    @property
    def inside(self) -> list[int]:
        return [before for before, _ in self.pads]

    def refuse_empty(self, op: str) -> None:
        """No window may lie in the padding alone: what it would give is not defined."""
        if any(max(pair) >= size for pair, size in zip(self.pads, self.kernel, strict=True)):
            raise UnsupportedError(f"{op}: padding {self.pads} as large as the window {self.kernel}")

    def average(self, x: Tensor) -> Tensor:
        """Average with the padding counted as zeros."""
        pool: Callable[..., Tensor] = AVERAGE[self.axes]
        if self.direct:
            return pool(x, self.kernel, self.strides, self.inside, self.ceil, True)
        return pool(padded(x, self.pads), self.kernel, self.strides, 0, self.ceil, True)


@computes("max_pool")
def max_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    """Largest element of each window; padding never wins."""
    window = _Window("max_pool", x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    window.refuse_empty("max_pool")
    pool: Callable[..., Tensor] = MAXIMUM[window.axes]
    if window.direct:
        return pool(x, window.kernel, window.strides, window.inside, 1, window.ceil)
    return pool(padded(x, window.pads, -inf), window.kernel, window.strides, 0, 1, window.ceil)


@computes("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | bool = False,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    """Average of each window, of its elements inside of the input when padding is excluded."""
    window = _Window("avg_pool", x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    if not flag(exclude_padding_from_average):
        return window.average(x)
    window.refuse_empty("avg_pool")
    if window.direct:
        pool: Callable[..., Tensor] = AVERAGE[window.axes]
        return pool(x, window.kernel, window.strides, window.inside, window.ceil, False)
    ones = torch.ones((1, 1, *x.shape[BATCH_AXES:]), dtype=x.dtype)
    return window.average(x) / window.average(ones)


@computes("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    """Square root of the sum of squares of each window."""
    window = _Window("l2_pool", x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    if window.ceil:
        raise UnsupportedError("l2_pool: ceil_mode")
    return (window.average(x.square()) * prod(window.kernel)).sqrt()
