"""Parts of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb


@lowers("Slice")
def slice_(context: NodeContext) -> None:
    """Slice by constant starts, ends, axes and steps (attributes up to opset 9)."""
    x = context.input()
    ranges = [range(size) for size in x.shape]
    for axis, start, end, step in _requested(context):
        place = axis % x.rank
        ranges[place] = range(x.shape[place])[slice(start, end, step)]
    context.store(part(x, ranges))


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


def part(x: Var, ranges: Sequence[range]) -> Var:
    """The elements at these places of every axis; ranges that run down are taken upwards and reversed.

    Core ML's masks of negative strides are described in two ways, so the slice itself only runs upwards.
    """
    # An axis of one element needs no step, whatever the node says.
    ranges = [range(taken[0], taken[0] + 1) if len(taken) == 1 else taken for taken in ranges]
    turned = [axis for axis, taken in enumerate(ranges) if taken.step < 0]
    up = [taken[::-1] if taken.step < 0 else taken for taken in ranges]
    if any(taken != range(size) for taken, size in zip(up, x.shape, strict=True)):
        begin, end = [taken.start for taken in up], [taken[-1] + 1 for taken in up]
        x = mb.slice_by_index(x=x, begin=begin, end=end, stride=[taken.step for taken in up])
    return mb.reverse(x=x, axes=turned) if turned else x


@lowers("Split")
def split(context: NodeContext) -> None:
    """Split into equal parts, or parts of constant sizes."""
    x = context.input()
    axis = context.int("axis", 0) % x.rank
    sizes = _part_sizes(context, x.shape[axis])
    parts = [x] if len(sizes) == 1 else mb.split(x=x, split_sizes=sizes, axis=axis)
    for index, made in enumerate(parts):
        context.store(made, index)


def _part_sizes(context: NodeContext, length: int) -> list[int]:
    """Lengths of the parts: those of `split`, or equal ones of which the last may be shorter."""
    if context.ints("split") is not None:
        return list(context.ints("split"))
    if context.given(1):
        return context.constant(1, "split").tolist()
    count = len(context.node.outputs)
    each = -(-length // count)
    return [max(min(each, length - start * each), 0) for start in range(count)]
