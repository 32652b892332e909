"""Slices and crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.borders import border_amounts
from toolchain.runtimes.neuralnetwork.layers.parameters import (
    at_least_1d,
    axis_of,
    enum_name,
    integers,
    need_rank,
    pair,
)

_AXES = {"CHANNEL_AXIS": -3, "HEIGHT_AXIS": -2, "WIDTH_AXIS": -1}


@computes("slice")
def slice_axis(p: Any) -> Kernel:
    """startIndex to endIndex (exclusive) of channels, rows or columns; negative ones count from the end."""
    axis = _AXES[enum_name(p, "axis")]
    if p.stride < 1:
        raise UnsupportedError(f"the stride must be positive, not {p.stride}")

    def run(x: torch.Tensor) -> torch.Tensor:
        part = sliced(need_rank(x, -axis), axis, slice(p.startIndex, p.endIndex, int(p.stride)))
        if not part.numel():
            raise UnsupportedError(f"takes nothing of the shape {tuple(x.shape)}")
        return part

    return run


def sliced(x: torch.Tensor, axis: int, part: slice) -> torch.Tensor:
    """A slice of one axis, with Python's meaning of negative bounds and steps."""
    start, stop, step = part.indices(x.shape[axis])
    if step < 0:
        return x.index_select(axis, torch.arange(start, stop, step)) if stop < start else x.narrow(axis, 0, 0)
    index = [slice(None)] * x.ndim
    index[axis] = slice(start, max(start, stop), step)
    return x[tuple(index)]


@computes("sliceStatic")
def slice_static(p: Any) -> Kernel:
    """x[begin:end:stride] along all axes."""
    stated = _Bounds(p.beginIds, p.endIds, p.strides, p.beginMasks, p.endMasks, p.squeezeMasks)
    return stated.slice


@computes("sliceDynamic")
def slice_dynamic(p: Any) -> Kernel:
    """The same, with begin as the second input and the other bounds as inputs where present."""

    def run(x: torch.Tensor, begin: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        stated = [p.endIds, p.strides, p.beginMasks, p.endMasks, p.squeezeMasks]
        values = [integers(value) for value in given]
        return _Bounds(integers(begin), *values, *stated[len(values) :]).slice(x)

    return run


class _Bounds:
    """What a slice takes of each axis; masks that are left out are False."""

    def __init__(
        self,
        begin: Sequence[int],
        end: Sequence[int],
        stride: Sequence[int],
        begin_masks: Sequence[Any],
        end_masks: Sequence[Any],
        squeeze_masks: Sequence[Any],
    ) -> None:
        self.rank = len(begin)
        self.begin = begin
        self.end = end
        self.stride = list(stride) or [1] * self.rank
        self.begin_masks = list(begin_masks) or [False] * self.rank
        self.end_masks = list(end_masks) or [False] * self.rank
        self.squeeze_masks = list(squeeze_masks) or [False] * self.rank
        rest = (self.end, self.stride, self.begin_masks, self.end_masks, self.squeeze_masks)
        if any(len(values) != self.rank for values in rest):
            raise UnsupportedError("the bounds of a slice differ in number")
        if not all(self.stride):
            raise UnsupportedError("the stride of a slice is zero")

    def slice(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != self.rank:
            raise UnsupportedError(f"{self.rank} bounds do not fit the shape {tuple(x.shape)}")
        for axis in reversed(range(self.rank)):
            if self.squeeze_masks[axis]:
                x = x.select(axis, int(self.begin[axis]))
                continue
            start = None if self.begin_masks[axis] else int(self.begin[axis])
            stop = None if self.end_masks[axis] else int(self.end[axis])
            x = sliced(x, axis, slice(start, stop, int(self.stride[axis])))
        return at_least_1d(x)


@computes("sliceBySize")
def slice_by_size(p: Any) -> Kernel:
    """`size` elements along an axis, from the index that the second input holds."""

    def run(x: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, x.ndim)
        start = int(begin.item())
        start = start + x.shape[axis] if start < 0 else start
        return x.narrow(axis, start, p.size)

    return run


@computes("crop")
def crop(p: Any) -> Kernel:
    """Rows and columns cut off at the borders, or the size of the second input from an offset on."""
    (top, bottom), (left, right) = border_amounts(p.cropAmounts)
    offset = pair(p.offset, 0)

    def run(x: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        height, width = need_rank(x, 2).shape[-2:]
        rows, columns = slice(top, height - bottom), slice(left, width - right)
        if like is not None:
            rows = slice(offset[0], offset[0] + like.shape[-2])
            columns = slice(offset[1], offset[1] + like.shape[-1])
        if not (0 <= rows.start < rows.stop <= height and 0 <= columns.start < columns.stop <= width):
            raise UnsupportedError(f"the crop does not lie in the shape {tuple(x.shape)}")
        return x[..., rows, columns]

    return run
