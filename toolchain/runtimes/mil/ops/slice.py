"""Operators that read or replace a part of a tensor."""

from __future__ import annotations

from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import ints

TO_THE_END = -1


@computes("slice_by_index")
def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """x[begin:end:stride] per axis, with the meaning of indices that numpy gives them.

    Where a mask is true: from the first element, to the last one, or the element at `begin` without its axis.
    """
    places = _places(x, begin, end, stride, begin_mask, end_mask)
    squeezed = _squeezed(x, squeeze_mask)
    places = _single(x, places, squeezed, begin, begin_mask)
    ascending, turned = _ascending(places)
    part = x[ascending]
    if turned:
        part = part.flip(turned)
    return part.squeeze(tuple(squeezed)) if squeezed else part


@computes("slice_by_size")
def slice_by_size(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """size[i] elements from begin[i] on per axis; a size of -1 is all the rest."""
    picked = []
    for axis, (start, count) in enumerate(zip(ints(begin), ints(size), strict=True)):
        first = start + x.shape[axis] if start < 0 else start
        last = x.shape[axis] if count == TO_THE_END else first + count
        if not 0 <= first <= last <= x.shape[axis]:
            raise UnsupportedError(
                f"slice_by_size: axis {axis} of {x.shape[axis]} elements has no {count} from {start} on"
            )
        picked.append(slice(first, last))
    return x[tuple(picked)]


@computes("slice_update")
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """The tensor with the part that slice_by_index would read replaced by `update`."""
    places = _places(x, begin, end, stride, begin_mask, end_mask)
    places = _single(x, places, _squeezed(x, squeeze_mask), begin, begin_mask)
    ascending, turned = _ascending(places)
    values = update.reshape([len(place) for place in places])
    result = x.clone()
    result[ascending] = values.flip(turned) if turned else values
    return result


def _places(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None,
    begin_mask: Tensor | None,
    end_mask: Tensor | None,
) -> list[range]:
    """Indices that are read, per axis."""
    starts: list[int | None] = list(ints(begin))
    stops: list[int | None] = list(ints(end))
    steps = [1] * x.ndim if stride is None else ints(stride)
    if not len(starts) == len(stops) == len(steps) == x.ndim:
        raise UnsupportedError(f"slice: begin, end and stride are not of the rank {x.ndim}")
    for bounds, mask in ((starts, begin_mask), (stops, end_mask)):
        for axis in _set(mask):
            bounds[axis] = None
    return [
        range(*slice(start, stop, step).indices(size))
        for start, stop, step, size in zip(starts, stops, steps, x.shape, strict=True)
    ]


def _set(mask: Tensor | None) -> list[int]:
    """Axes where a mask is true."""
    return [] if mask is None else [axis for axis, value in enumerate(mask.tolist()) if value]


def _squeezed(x: Tensor, mask: Tensor | None) -> list[int]:
    return [axis for axis in _set(mask) if axis < x.ndim]


def _single(
    x: Tensor, places: list[range], squeezed: list[int], begin: Tensor, begin_mask: Tensor | None
) -> list[range]:
    """The one element at `begin` for axes that vanish, whatever end and stride say."""
    starts = ints(begin)
    for axis in squeezed:
        size = x.shape[axis]
        start = 0 if axis in _set(begin_mask) else starts[axis]
        if not -size <= start < size:
            raise UnsupportedError(f"slice: there is no element {start} among the {size} of axis {axis}")
        places[axis] = range(start % size, start % size + 1)
    return places


def _ascending(places: list[range]) -> tuple[tuple[slice, ...], list[int]]:
    """The same elements as slices with positive steps, which torch needs, and the axes to turn round."""
    slices: list[slice] = []
    turned = []
    for axis, place in enumerate(places):
        if place.step < 0:
            turned.append(axis)
            place = place[::-1]
        slices.append(slice(place.start, max(place.stop, place.start), place.step) if place else slice(0, 0))
    return tuple(slices), turned
