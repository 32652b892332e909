"""Operators that choose elements by a condition or make tensors from numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, ints, number


@computes("select")
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Elements of a where the condition is true, else of b; shapes broadcast."""
    return torch.where(cond.bool(), a, b)


@computes("non_zero")
def non_zero(x: Tensor) -> Tensor:
    """Index vectors of the elements that are not 0, one a row."""
    return x.nonzero().to(torch.int32)


@computes("one_hot")
def one_hot(
    indices: Tensor,
    one_hot_vector_size: Tensor,
    axis: Tensor | int = -1,
    on_value: Tensor | int = 1,
    off_value: Tensor | int = 0,
) -> Tensor:
    """`on_value` at the index along the new axis, elsewhere `off_value`; also for an index outside of it."""
    size = int(number(one_hot_vector_size))
    place = int(number(axis)) % (indices.ndim + 1)
    sizes = [size if number == place else 1 for number in range(indices.ndim + 1)]
    hot = indices.unsqueeze(place) == torch.arange(size).reshape(sizes)
    return torch.where(hot, _scalar(on_value), _scalar(off_value))


def _scalar(value: Tensor | int) -> Tensor:
    """MIL's defaults are int32."""
    return value.reshape(()) if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.int32)


@computes("range_1d")
def range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """From start in steps up to, not with, `end`; the count is rounded in float32, as coremltools does."""
    if step == 0:
        raise UnsupportedError("range_1d: the step is 0")
    count = int(torch.ceil((end - start) / step))
    return start + torch.arange(max(count, 0), dtype=start.dtype) * step


@computes("fill")
def fill(shape: Tensor, value: Tensor | float = 0.0) -> Tensor:
    """One number everywhere."""
    return _filled(ints(shape), value)


@computes("fill_like")
def fill_like(ref_tensor: Tensor, value: Tensor | float = 0.0) -> Tensor:
    """One number everywhere, in the shape of another tensor and the type of the number."""
    return _filled(list(ref_tensor.shape), value)


def _filled(sizes: list[int], value: Tensor | float) -> Tensor:
    dtype = value.dtype if isinstance(value, Tensor) else torch.float32
    return torch.full(sizes, number(value), dtype=dtype)


@computes("band_part")
def band_part(x: Tensor, lower: Tensor | int = -1, upper: Tensor | int = -1) -> Tensor:
    """0 beyond `lower` diagonals below and `upper` above the main one of each matrix; negative keeps all."""
    below, above = int(number(lower)), int(number(upper))
    distance = torch.arange(x.shape[-2])[:, None] - torch.arange(x.shape[-1])
    kept = torch.ones_like(distance, dtype=torch.bool)
    if below >= 0:
        kept &= distance <= below
    if above >= 0:
        kept &= -distance <= above
    return torch.where(kept, x, torch.zeros((), dtype=x.dtype))


@computes("cumsum")
def cumsum(
    x: Tensor, axis: Tensor | int = 0, exclusive: Tensor | bool = False, reverse: Tensor | bool = False
) -> Tensor:
    """Running sums along `axis`, without the element itself if `exclusive`, from the end on if `reverse`."""
    place = int(number(axis))
    ordered = x.flip(place) if flag(reverse) else x
    sums = ordered.cumsum(place, dtype=x.dtype)
    if flag(exclusive):
        sums = torch.cat([torch.zeros_like(sums.narrow(place, 0, 1)), sums], place)
        sums = sums.narrow(place, 0, x.shape[place])
    return sums.flip(place) if flag(reverse) else sums
