"""Parts of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import along_axes
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.program import Op, Tensor


@lowers("Slice", layout=along_axes)
def slice_(context: NodeContext) -> None:
    """Slice by constant starts, ends, axes and steps (attributes up to opset 9)."""
    x = context.input()
    ranges = [range(size) for size in x.shape]
    for axis, start, end, step in _requested(context):
        place = context.axis(axis)
        ranges[place] = range(x.shape[place])[slice(start, end, step)]
    steps.store(context, part(context, x, ranges))


def _requested(context: NodeContext) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) as the node has them."""
    if context.ints("starts") is not None:
        starts, ends = context.ints("starts"), context.ints("ends")
        axes, strides = context.ints("axes", range(len(starts))), [1] * len(starts)
    else:
        starts = context.constant(1, "starts").tolist()
        ends = context.constant(2, "ends").tolist()
        given_axes, given_steps = context.optional_constant(3, "axes"), context.optional_constant(4, "steps")
        axes = list(range(len(starts))) if given_axes is None else given_axes.tolist()
        strides = [1] * len(starts) if given_steps is None else given_steps.tolist()
    return list(zip(axes, starts, ends, strides, strict=True))


def part(context: NodeContext, x: Tensor, ranges: Sequence[range]) -> Tensor:
    """The elements at these places of every storage axis: SLICE, or STRIDED_SLICE for steps other than 1."""
    cut = [axis for axis, taken in enumerate(ranges) if taken != range(x.shape[axis])]
    if not cut:
        return x
    shape = [len(taken) for taken in ranges]
    runs = [[axis] for axis in range(len(shape))]
    if len(shape) > steps.BROADCAST_AXES:
        runs = steps.fold_axes(x.shape, cut)
    if len(runs) > steps.SLICED_AXES:
        # One axis after the other: each alone needs only three.
        for axis in cut:
            alone = [ranges[axis] if other == axis else range(size) for other, size in enumerate(x.shape)]
            x = part(context, x, alone)
        return x
    dtype = steps.kernel_type(context, Op.SLICE, x.dtype)
    y = steps.reshape(context, steps.cast(context, x, dtype), [prod(x.shape[a] for a in run) for run in runs])
    taken = [
        ranges[run[0]] if run[0] in cut else range(size) for run, size in zip(runs, y.shape, strict=True)
    ]
    y = _cut(context, y, taken)
    return steps.cast(context, steps.reshape(context, y, shape), x.dtype)


def _cut(context: NodeContext, x: Tensor, ranges: Sequence[range]) -> Tensor:
    shape = [len(taken) for taken in ranges]
    # An axis of one element needs no step, whatever the node says.
    ranges = [taken if len(taken) != 1 else range(taken[0], taken[0] + 1) for taken in ranges]
    begin = context.int_const([taken.start for taken in ranges], "begin")
    if all(taken.step == 1 for taken in ranges):
        return steps.emit(context, Op.SLICE, [x, begin, context.int_const(shape, "size")], shape)
    options = schema.StridedSliceOptionsT()
    # A range that runs down to the first element ends at -1, which STRIDED_SLICE takes for the last one.
    options.endMask = sum(1 << axis for axis, taken in enumerate(ranges) if taken.stop < 0)
    end = context.int_const([max(taken.stop, 0) for taken in ranges], "end")
    strides = context.int_const([taken.step for taken in ranges], "strides")
    return steps.emit(context, Op.STRIDED_SLICE, [x, begin, end, strides], shape, options=options)


@lowers("Split", layout=along_axes)
def split(context: NodeContext) -> None:
    """Split into equal parts (SPLIT) or parts of constant sizes (SPLIT_V)."""
    x = context.input()
    axis = context.axis(context.int("axis", 0))
    sizes = _part_sizes(context, x.shape[axis])
    if len(sizes) == 1:
        context.alias(x)
        return
    code = Op.SPLIT if len(set(sizes)) == 1 and x.dtype.name in steps.KERNEL_TYPES[Op.SPLIT] else Op.SPLIT_V
    if x.dtype.name not in steps.KERNEL_TYPES[code] or 0 in sizes or len(x.shape) > steps.MOST_AXES:
        _split_by_slices(context, x, axis, sizes)
        return
    made = [_part_tensor(context, x, axis, index, size) for index, size in enumerate(sizes)]
    place = context.const(np.int32(axis), "axis")
    if code == Op.SPLIT:
        options = schema.SplitOptionsT()
        inputs = [place, x]
    else:
        options = schema.SplitVOptionsT()
        inputs = [x, context.int_const(sizes, "sizes"), place]
    options.numSplits = len(sizes)
    steps.emit_all(context, code, inputs, made, options)


def _part_sizes(context: NodeContext, length: int) -> list[int]:
    """Lengths of the parts: those of `split`, or equal ones of which the last may be shorter."""
    if context.ints("split") is not None:
        return list(context.ints("split"))
    if context.given(1):
        return context.constant(1, "split").tolist()
    count = len(context.node.outputs)
    each = -(-length // count)
    return [max(min(each, length - start * each), 0) for start in range(count)]


def _used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _part_tensor(context: NodeContext, x: Tensor, axis: int, index: int, size: int) -> Tensor:
    if _used(context.node.outputs[index]):
        return context.output(index)
    return context.temp(
        [size if place == axis else length for place, length in enumerate(x.shape)], x.dtype, "rest"
    )


def _split_by_slices(context: NodeContext, x: Tensor, axis: int, sizes: Sequence[int]) -> None:
    start = 0
    for index, (value, size) in enumerate(zip(context.node.outputs, sizes, strict=True)):
        if _used(value):
            if not size:
                raise Refused("a part without elements", "split into parts of at least one element")
            ranges = [range(length) for length in x.shape]
            ranges[axis] = range(start, start + size)
            steps.store(context, part(context, x, ranges), index)
        start += size
