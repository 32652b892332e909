"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, ints, number
from toolchain.runtimes.mil.ops.unary import truncated

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _l1_norm(x: Tensor, over: list[int], keep: bool) -> Tensor:
    return x.abs().sum(over, keep)


def _l2_norm(x: Tensor, over: list[int], keep: bool) -> Tensor:
    return x.square().sum(over, keep).sqrt()


def _log_sum(x: Tensor, over: list[int], keep: bool) -> Tensor:
    return x.sum(over, keep).log()


def _product(x: Tensor, over: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in over), reverse=True):
        x = x.prod(axis, keep)
    return x


def _sum_square(x: Tensor, over: list[int], keep: bool) -> Tensor:
    return x.square().sum(over, keep)


WHOLE: dict[str, Reduction] = {
    "reduce_l1_norm": _l1_norm,
    "reduce_max": torch.amax,
    "reduce_min": torch.amin,
    "reduce_prod": _product,
    "reduce_sum": torch.sum,
    "reduce_sum_square": _sum_square,
}
"""Reductions of integers to integers, whose bits wrap around as those of int32 do."""

FRACTIONAL: dict[str, Reduction] = {
    "reduce_l2_norm": _l2_norm,
    "reduce_log_sum": _log_sum,
    "reduce_log_sum_exp": torch.logsumexp,
    "reduce_mean": torch.mean,
}
"""Reductions whose result loses its fraction when the elements are integers."""


def _reduced(name: str, reduction: Reduction, x: Tensor, axes: Tensor | None, keep: bool) -> Tensor:
    """The reduction over the axes; None means all of them, an empty vector none."""
    kind = x.dtype
    over = list(range(x.ndim)) if axes is None else ints(axes)
    if not over:
        # torch takes no axes as all axes.
        x, over, keep = x.unsqueeze(0), [0], False
    if kind.is_floating_point:
        return reduction(x, over, keep)
    if name in WHOLE:
        return reduction(x, over, keep).to(kind)
    return truncated(reduction(x.double(), over, keep), "int32", name).to(kind)


def _register(name: str, reduction: Reduction) -> None:
    def operator(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | bool = False) -> Tensor:
        return _reduced(name, reduction, x, axes, flag(keep_dims))

    operator.__name__ = operator.__qualname__ = name
    computes(name)(operator)


for _name, _reduction in {**WHOLE, **FRACTIONAL}.items():
    _register(_name, _reduction)


@computes("reduce_argmax")
def reduce_argmax(
    x: Tensor, axis: Tensor | int = -1, keep_dims: Tensor | bool = False, output_dtype: str = "int32"
) -> Tensor:
    """Index of the largest element along the axis, the first one of equals."""
    return _index(x.argmax(int(number(axis)), flag(keep_dims)), output_dtype)


@computes("reduce_argmin")
def reduce_argmin(
    x: Tensor, axis: Tensor | int = -1, keep_dims: Tensor | bool = False, output_dtype: str = "int32"
) -> Tensor:
    """Index of the smallest element along the axis, the first one of equals."""
    return _index(x.argmin(int(number(axis)), flag(keep_dims)), output_dtype)


def _index(index: Tensor, output_dtype: str) -> Tensor:
    """The index as int32, which also holds uint16."""
    if output_dtype.lower() not in ("int32", "uint16"):
        raise UnsupportedError(f"reduce_arg: element type '{output_dtype}'")
    return index.to(torch.int32)
