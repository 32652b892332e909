"""Pooling: maxima, averages and norms over sliding windows, or over the whole picture."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.conv import padding_of, refuse_volume
from toolchain.converters.coreml.ops.pad import constant_pad
from toolchain.converters.node_view import Refused
from toolchain.converters.window import Window, spatial_lengths, window_of

# Comparisons that the index of a maximum may take.
MOST_TAPS = 64


def _window(context: NodeContext) -> Window:
    """The node's window, padded as far as its outputs read.

    Raises:
        Refused: the graph's output size is not that of the attributes, or a window lies in the padding alone.
    """
    lengths = spatial_lengths(context, 3)
    refuse_volume(context, lengths)
    sizes = context.out_shape()[2:]
    window = window_of(context, context.ints("kernel_shape", ()), lengths)
    ceil = bool(context.int("ceil_mode", 0))
    found = window.sizes(lengths, ceil)
    if found != tuple(sizes):
        raise Refused(
            f"pads and ceil_mode={int(ceil)} give the size {list(found)}, the graph says {list(sizes)}",
            "export again with a current exporter, or pad before the pool",
        )
    for axis, size in enumerate(sizes):
        last = (size - 1) * window.strides[axis] - window.begin[axis]
        if window.begin[axis] >= window.reach(axis) or last >= lengths[axis]:
            raise Refused(
                f"pads {[*window.begin, *window.end]} put a window wholly outside of the input",
                "use pads smaller than the kernel",
            )
    covering = window.covering(lengths, sizes)
    ends_inside = all(end < window.reach(axis) for axis, end in enumerate(window.end))
    return covering if ceil or not ends_inside else window


def _named(window: Window) -> dict[str, Any]:
    """The parameters of MIL's pools."""
    return {"kernel_sizes": window.kernel, "strides": window.strides, **padding_of(window)}


def _padded(x: Var, window: Window, value: float) -> Var:
    return constant_pad(x, [(0, 0), (0, 0), *zip(window.begin, window.end, strict=True)], value)


@lowers("MaxPool")
def max_pool(context: NodeContext) -> None:
    """MaxPool: `max_pool`, or maxima of shifted slices where the window is dilated or Indices are read."""
    window = _window(context)
    if context.is_used(1):
        _max_with_indices(context, window)
    elif window.dilated:
        context.store(_dilated_max(context, window))
    else:
        context.store(mb.max_pool(x=context.input(), **_named(window)))


def _tap(x: Var, window: Window, sizes: tuple[int, ...], places: dict[int, int]) -> Var:
    """What the windows hold at one place along some spatial axes, the padding being part of x."""
    begin, end, stride = [0] * len(x.shape), [int(size) for size in x.shape], [1] * len(x.shape)
    for axis, place in places.items():
        begin[axis + 2], stride[axis + 2] = place * window.dilations[axis], window.strides[axis]
        end[axis + 2] = begin[axis + 2] + (sizes[axis] - 1) * stride[axis + 2] + 1
    return mb.slice_by_index(x=x, begin=begin, end=end, stride=stride)


def _dilated_max(context: NodeContext, window: Window) -> Var:
    """Maxima along one axis after the other."""
    sizes = context.out_shape()[2:]
    covering = window.covering(context.shape()[2:], sizes)
    x = _padded(context.input(), covering, -np.inf)
    for axis, count in enumerate(window.kernel):
        taps = [_tap(x, window, sizes, {axis: place}) for place in range(count)]
        x = taps[0]
        for tap in taps[1:]:
            x = mb.maximum(x=x, y=tap)
    return x


def _max_with_indices(context: NodeContext, window: Window) -> None:
    """The maxima, and where each lies in the flattened input; of equal ones the first."""
    if prod(window.kernel) > MOST_TAPS:
        raise Refused(
            f"the output Indices of MaxPool with kernel_shape {list(window.kernel)}",
            f"use kernels of at most {MOST_TAPS} elements",
        )
    lengths, sizes = context.shape()[2:], context.out_shape()[2:]
    x = _padded(context.input(), window.covering(lengths, sizes), -np.inf)
    best: Var = None
    for places in product(*(range(count) for count in window.kernel)):
        tap = _tap(x, window, sizes, dict(enumerate(places)))
        index = _plane_indices(context, window, places)
        if best is None:
            # MIL takes the shape of `select` from both choices, not from the condition.
            best, indices = tap, np.ascontiguousarray(np.broadcast_to(index, context.out_shape()))
        else:
            larger = mb.greater(x=tap, y=best)
            indices = mb.select(cond=larger, a=index, b=indices)
            best = mb.maximum(x=best, y=tap)
    batch, channels = context.shape()[:2]
    planes = np.arange(batch * channels, dtype=np.int32) * prod(lengths)
    context.store(best, 0)
    context.store(mb.add(x=indices, y=planes.reshape(batch, channels, *[1] * len(lengths))), 1)


def _plane_indices(context: NodeContext, window: Window, places: tuple[int, ...]) -> np.ndarray:
    """Index within its plane of what each window holds at one place, as (1, 1, sizes...)."""
    lengths, sizes = context.shape()[2:], context.out_shape()[2:]
    order = range(len(lengths))
    # storage_order=1 counts along the first spatial axis fastest.
    faster = reversed(order) if context.int("storage_order", 0) == 0 else order
    total, step = np.zeros(sizes, np.int32), 1
    for axis in faster:
        at = np.arange(sizes[axis]) * window.strides[axis] - window.begin[axis]
        at = at + places[axis] * window.dilations[axis]
        total = total + (at * step).astype(np.int32).reshape([-1 if other == axis else 1 for other in order])
        step *= lengths[axis]
    return total[None, None]


@lowers("MaxUnpool")
def max_unpool(context: NodeContext) -> None:
    """MaxUnpool: the values go to the places in the flattened output that the indices name."""
    shape = context.out_shape()
    if context.given(2) and _unpooled_shape(context) != tuple(shape):
        raise Refused(
            f"output_shape {list(shape)} is not {list(_unpooled_shape(context))}, on which runtimes disagree",
            "leave output_shape out, and pad the result",
        )
    values = mb.reshape(x=context.input(), shape=[-1])
    places = mb.reshape(x=context.input(1), shape=[-1])
    empty = mb.fill(shape=[prod(shape)], value=np.float32(0))
    y = mb.scatter(data=empty, indices=places, updates=values, axis=0, mode="update")
    context.store(mb.reshape(x=y, shape=shape))


def _unpooled_shape(context: NodeContext) -> tuple[int, ...]:
    """The output shape that kernel_shape, strides and pads give."""
    kernel = context.ints("kernel_shape", ())
    rank = len(kernel)
    strides, pads = context.ints("strides", [1] * rank), context.ints("pads", [0] * 2 * rank)
    batch, channels, *lengths = context.shape()
    sizes = (
        (length - 1) * strides[axis] - pads[axis] - pads[axis + rank] + kernel[axis]
        for axis, length in enumerate(lengths)
    )
    return (batch, channels, *sizes)


@lowers("AveragePool")
def average_pool(context: NodeContext) -> None:
    """AveragePool: `avg_pool`, corrected where the padding counts only in part."""
    window, sizes = _window(context), context.out_shape()[2:]
    covering = window.covering(context.shape()[2:], sizes)
    counts = _counts(context, covering, counted=bool(context.int("count_include_pad", 0)))
    inside = _counts(context, covering, counted=False)
    x = context.input()
    if window.dilated:
        y = _weigh(context, x, covering, 1 / prod(window.kernel))
    else:
        left_out = bool((counts == inside).all()) and window.padded
        y = mb.avg_pool(x=x, exclude_padding_from_average=left_out, **_named(window))
        if left_out:
            context.store(y)
            return
    factor = (prod(window.kernel) / counts).astype(np.float32)
    context.store(y if (factor == 1).all() else mb.mul(x=y, y=factor[None, None]))


def _counts(context: NodeContext, window: Window, counted: bool) -> np.ndarray:
    """How many elements each window averages, with or without the padding that the attributes state."""
    lengths, sizes = context.shape()[2:], context.out_shape()[2:]
    stated = window_of(context, context.ints("kernel_shape", ()), lengths)
    total = np.ones((), np.int64)
    for axis, (length, size) in enumerate(zip(lengths, sizes, strict=True)):
        before, after = (stated.begin[axis], stated.end[axis]) if counted else (0, 0)
        starts = np.arange(size) * window.strides[axis] - window.begin[axis]
        taps = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        along = ((taps >= -before) & (taps < length + after)).sum(axis=1)
        total = total[..., None] * along
    return total


def _weigh(context: NodeContext, x: Var, window: Window, weight: float) -> Var:
    """The sum over each window times a weight: a depthwise convolution with equal weights."""
    channels = context.shape()[1]
    return mb.conv(
        x=x,
        weight=np.full((channels, 1, *window.kernel), weight, np.float32),
        strides=window.strides,
        dilations=window.dilations,
        groups=channels,
        **padding_of(window),
    )


@lowers("LpPool")
def lp_pool(context: NodeContext) -> None:
    """LpPool: `l2_pool` where it can, else the root of the windows' sums of powers."""
    p, window = _norm(context), _window(context)
    covering = window.covering(context.shape()[2:], context.out_shape()[2:])
    if p == 2 and not window.dilated and len(window.kernel) <= 2:
        context.store(mb.l2_pool(x=context.input(), **_named(window)))
    else:
        context.store(_root(_weigh(context, _power(context.input(), p), covering, 1), p))


def _norm(context: NodeContext) -> int:
    p = context.int("p", 2)
    if p < 1:
        raise Refused(f"p={p}", "use a p of 1 or more")
    return p


def _power(x: Var, p: int) -> Var:
    """|x| to the power of p."""
    if p == 2:
        return mb.mul(x=x, y=x)
    x = mb.abs(x=x)
    return x if p == 1 else mb.pow(x=x, y=np.float32(p))


def _root(x: Var, p: int) -> Var:
    if p == 2:
        return mb.sqrt(x=x)
    return x if p == 1 else mb.pow(x=x, y=np.float32(1 / p))


def _reduced(context: NodeContext, reduce: Callable[..., Var], x: Var) -> Var:
    """Reduce the spatial axes, which stay with length 1."""
    lengths = spatial_lengths(context, 3)
    return reduce(x=x, axes=list(range(2, len(lengths) + 2)), keep_dims=True)


@lowers("GlobalAveragePool")
def global_average_pool(context: NodeContext) -> None:
    """GlobalAveragePool."""
    context.store(_reduced(context, mb.reduce_mean, context.input()))


@lowers("GlobalMaxPool")
def global_max_pool(context: NodeContext) -> None:
    """GlobalMaxPool."""
    context.store(_reduced(context, mb.reduce_max, context.input()))


@lowers("GlobalLpPool")
def global_lp_pool(context: NodeContext) -> None:
    """GlobalLpPool: a norm of each plane."""
    p = _norm(context)
    if p in (1, 2):
        norm = mb.reduce_l1_norm if p == 1 else mb.reduce_l2_norm
        context.store(_reduced(context, norm, context.input()))
    else:
        context.store(_root(_reduced(context, mb.reduce_sum, _power(context.input(), p)), p))
