"""Decide in which order every value's axes are stored: one pass over the whole graph.

ONNX is channel-first, TFLite's kernels are channel-last. Instead of putting a TRANSPOSE around every
kernel and removing pairs of them afterwards, each value gets a permutation of its ONNX axes:

    conv (N,C,H,W)  stored as (0,2,3,1)        the kernel's own order
    relu, add       as their input             element by element, any order will do
    concat axis=1   as its inputs              axis 1 is stored at position 3
    Transpose       (a, b, ...) renamed        nothing is moved, only the names of the axes change
    Reshape         carried through            where the split or merged axes lie side by side
    MatMul          (0,1,2,...)                must have ONNX's own order

A value is moved in memory only where what a node needs differs from what there is; see
`Lowering.value` for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

Perm = tuple[int, ...]


@dataclass(frozen=True)
class NodeLayout:
    """Storage order that a node wants of each input and gives to each output.

    Position i of an order holds ONNX axis perm[i].
    """

    inputs: tuple[Perm, ...]
    outputs: tuple[Perm, ...]


# (node, storage order of each input as it is now) -> layout. Constants come in plain order.
Rule = Callable[[ir.Node, Sequence[Perm]], NodeLayout]


def plain_perm(rank: int) -> Perm:
    """ONNX's own order."""
    return tuple(range(rank))


def channels_last_perm(rank: int) -> Perm:
    """(N, C, spatial...) stored as (N, spatial..., C); ranks below 3 have no spatial axes and stay plain."""
    return (0, *range(2, rank), 1) if rank >= 3 else plain_perm(rank)


def rank_of(value: ir.Value | None) -> int:
    """Rank of a value; 0 for an input that is left out."""
    return len(value.shape) if value is not None and value.shape is not None else 0


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Static shape in ONNX order."""
    assert value.shape is not None
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is known while converting."""
    return value is not None and value.const_value is not None


def _plain_all(values: Sequence[ir.Value | None]) -> tuple[Perm, ...]:
    return tuple(plain_perm(rank_of(value)) for value in values)


def plain(node: ir.Node, _perms: Sequence[Perm]) -> NodeLayout:
    """Everything in ONNX's own order."""
    return NodeLayout(_plain_all(node.inputs), _plain_all(node.outputs))


def spatial(node: ir.Node, _perms: Sequence[Perm]) -> NodeLayout:
    """First input and all outputs channel-last; weights and parameters plain."""
    first = channels_last_perm(rank_of(node.inputs[0]))
    outputs = tuple(channels_last_perm(rank_of(value)) for value in node.outputs)
    return NodeLayout((first, *_plain_all(node.inputs[1:])), outputs)


def first_perm(node: ir.Node, perms: Sequence[Perm]) -> Perm:
    """Storage order of the first input as it is now; plain for a constant."""
    return plain_perm(rank_of(node.inputs[0])) if is_constant(node.inputs[0]) else perms[0]


def _leading(node: ir.Node, perms: Sequence[Perm], rank: int) -> Perm:
    """The order that moves the least data: that of the largest activation of full rank.

    Of equally large ones channel-last wins: a convolution has brought that order about or will want it.
    """
    candidates = [
        (prod(shape_of(value)), perm == channels_last_perm(rank), perm)
        for value, perm in zip(node.inputs, perms, strict=True)
        if value is not None and not is_constant(value) and len(perm) == rank
    ]
    return max(candidates, key=lambda found: found[:2])[2] if candidates else plain_perm(rank)


def trailing_perm(perm: Perm, rank: int) -> Perm:
    """The order that `perm` gives to its last `rank` ONNX axes, as the perm of a value of that rank.

    Example: (0, 2, 3, 1) of (N, C, H, W) leaves (1, 2, 0) for a value (C, H, W).
    """
    added = len(perm) - rank
    if added < 0:
        return plain_perm(rank)
    return tuple(axis - added for axis in perm if axis >= added)


def elementwise(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """All operands in one order; operands of lower rank keep it on the axes that they have."""
    rank = rank_of(node.outputs[0])
    perm = _leading(node, perms, rank)
    wanted = tuple(trailing_perm(perm, rank_of(value)) for value in node.inputs)
    return NodeLayout(wanted, tuple(perm for _ in node.outputs))


def along_axes(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """The first input's order is kept; the handler translates axis numbers. Parameters are plain."""
    perm = first_perm(node, perms)
    return NodeLayout((perm, *_plain_all(node.inputs[1:])), tuple(perm for _ in node.outputs))


def axis_last(axis: int = -1) -> Rule:
    """A rule that stores the axis of the attribute `axis` last and keeps the order of the others.

    Args:
        axis: the default of the attribute.
    """

    def rule(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
        perm = first_perm(node, perms)
        if perm:
            attribute = node.attributes.get("axis")
            last = (axis if attribute is None else attribute.as_int()) % len(perm)
            perm = (*(other for other in perm if other != last), last)
        return NodeLayout((perm, *_plain_all(node.inputs[1:])), tuple(perm for _ in node.outputs))

    return rule


def without_axes(perm: Perm, axes: Collection[int]) -> Perm:
    """The order of the remaining axes when some ONNX axes are taken away."""
    kept = [axis for axis in range(len(perm)) if axis not in axes]
    return tuple(kept.index(axis) for axis in perm if axis not in axes)


def reduction(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """The input's order is kept; axes that a reduction drops fall out of it."""
    perm = first_perm(node, perms)
    keep = node.attributes.get("keepdims")
    axes = reduced_axes(node)
    dropped = keep is not None and not keep.as_int() and axes is not None
    if axes is None:
        perm = plain_perm(len(perm))
    output = without_axes(perm, axes or ()) if dropped else perm
    if len(output) != rank_of(node.outputs[0]):
        output = plain_perm(rank_of(node.outputs[0]))
    return NodeLayout((perm, *_plain_all(node.inputs[1:])), tuple(output for _ in node.outputs))


def reduced_axes(node: ir.Node) -> tuple[int, ...] | None:
    """ONNX axes (none of them negative) over which a reduction runs; None when they are not known.

    Read from the attribute `axis` of ArgMax and ArgMin, or `axes` as an attribute or second input.
    """
    rank = rank_of(node.inputs[0])
    if node.op_type in ("ArgMax", "ArgMin"):
        single = node.attributes.get("axis")
        return (0 if single is None else single.as_int() % max(rank, 1),)
    given: Sequence[int] = ()
    held = node.attributes.get("axes")
    if held is not None:
        given = held.as_ints()
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        value = node.inputs[1]
        if value.const_value is None:
            return None
        given = value.const_value.numpy().reshape(-1).tolist()
    noop = node.attributes.get("noop_with_empty_axes")
    if not given and not (noop is not None and noop.as_int()):
        return plain_perm(rank)
    return tuple(sorted({int(axis) % max(rank, 1) for axis in given})) if rank else ()


def expansion(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """The input's order behind the new leading axes; the target shape is plain."""
    perm = first_perm(node, perms)
    added = rank_of(node.outputs[0]) - len(perm)
    output = (*range(added), *(axis + added for axis in perm))
    return NodeLayout((perm, *_plain_all(node.inputs[1:])), (output,))


def gathering(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """The data's order; the axes of the indices take the place of the axis that is gathered."""
    perm = first_perm(node, perms)
    indices = rank_of(node.inputs[1])
    attribute = node.attributes.get("axis")
    axis = (0 if attribute is None else attribute.as_int()) % max(len(perm), 1)
    output: list[int] = []
    for stored in perm:
        if stored == axis:
            output += range(axis, axis + indices)
        else:
            output.append(stored if stored < axis else stored + indices - 1)
    return NodeLayout((perm, *_plain_all(node.inputs[1:])), (tuple(output),))


def concatenation(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """All inputs in the order of the largest."""
    perm = _leading(node, perms, rank_of(node.outputs[0]))
    return NodeLayout(tuple(perm for _ in node.inputs), (perm,))


def transposition(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """Nothing moves: output axis i is input axis order[i], stored where that is stored."""
    rank = rank_of(node.inputs[0])
    attribute = node.attributes.get("perm")
    order = tuple(attribute.as_ints()) if attribute is not None else tuple(reversed(range(rank)))
    perm = first_perm(node, perms)
    return NodeLayout((perm,), (tuple(order.index(axis) for axis in perm),))


def reshape(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """Carry the order through; axes that are merged are brought side by side first where they are not.

    Of the ways to do so the one is taken that gives pictures channel-last, and other results plain.
    """
    source, target = node.inputs[0], node.outputs[0]
    assert source is not None
    rest = _plain_all(node.inputs[1:])
    if is_constant(source):
        return NodeLayout((plain_perm(rank_of(source)), *rest), (plain_perm(rank_of(target)),))
    before, after = shape_of(source), shape_of(target)
    carried = carry_reshape(before, after, perms[0])
    if carried is not None:
        return NodeLayout((perms[0], *rest), (carried,))
    liked = [plain_perm(len(after))]
    if len(after) == 4:
        liked.insert(0, channels_last_perm(4))
    ways = []
    for at_last in (True, False):
        wanted = gather_groups(before, after, perms[0], at_last)
        made = carry_reshape(before, after, wanted) or plain_perm(len(after))
        ways.append((liked.index(made) if made in liked else len(liked), wanted, made))
    _, wanted, made = min(ways, key=lambda way: way[0])
    return NodeLayout((wanted, *rest), (made,))


def gather_groups(source: Sequence[int], target: Sequence[int], perm: Perm, at_last: bool = True) -> Perm:
    """An order near to `perm` through which a reshape can be carried.

    Every group of axes that the reshape merges or splits stands together in ONNX order, so one move is
    enough, and the axes of other groups keep their places.

    Example: (N, groups, C / groups, H, W) with the two middle axes exchanged by a channel shuffle is
    stored as (0, 3, 4, 2, 1); to merge them it must be stored as (0, 3, 4, 1, 2).

    Args:
        source: shape before.
        target: shape after.
        perm: storage order before.
        at_last: put a group where its last axis is stored, otherwise where its first is.
    """
    if 0 in source or 0 in target:
        return plain_perm(len(perm))
    position = {axis: place for place, axis in enumerate(perm)}
    groups = [axes for axes, _ in _groups(source, target) if axes]
    choose = max if at_last else min

    def place(axes: tuple[int, ...]) -> int:
        return choose(position[axis] for axis in [a for a in axes if source[a] != 1] or axes)

    return tuple(axis for axes in sorted(groups, key=place) for axis in axes)


def carry_reshape(source: Sequence[int], target: Sequence[int], perm: Perm) -> Perm | None:
    """Storage order after a reshape that moves no data, None when there is none.

    Source and target axes are cut into the smallest groups of equal product; a group stays as it is
    when its source axes (those longer than 1) are stored side by side in ONNX order.

    Example: (1, 8, 4, 6) stored as (0, 2, 3, 1), reshaped to (1, 2, 4, 4, 6): axis 8 is split in
    place, and the result is stored as (0, 3, 4, 1, 2).
    """
    if 0 in source or 0 in target:
        return None
    groups = _groups(source, target)
    position = {axis: place for place, axis in enumerate(perm)}
    placed: list[tuple[float, tuple[int, ...]]] = []
    last = -1.0
    # Counting only axes longer than 1, so that a length-1 axis in between does not part a group.
    order = [axis for axis in perm if source[axis] != 1]
    rank_in_order = {axis: place for place, axis in enumerate(order)}
    for axes, made in groups:
        long_axes = [axis for axis in axes if source[axis] != 1]
        places = [rank_in_order[axis] for axis in long_axes]
        if places != list(range(places[0], places[0] + len(places)) if places else []):
            return None
        if long_axes:
            last = float(position[long_axes[0]])
        elif axes:
            last = float(position[axes[0]])
        else:
            last += 1e-6
        placed.append((last, made))
    # A stable sort keeps new length-1 axes behind the axis that they follow in ONNX order.
    return tuple(axis for _, made in sorted(placed, key=lambda item: item[0]) for axis in made)


def _groups(source: Sequence[int], target: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Smallest runs of source and target axes with equal products, in ONNX order."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        left, right = [], []
        if i < len(source) and j < len(target):
            left, right = [i], [j]
            a, b = source[i], target[j]
            i, j = i + 1, j + 1
            while a != b:
                if a < b:
                    a *= source[i]
                    left.append(i)
                    i += 1
                else:
                    b *= target[j]
                    right.append(j)
                    j += 1
        elif i < len(source):
            left, i = [i], i + 1
        else:
            right, j = [j], j + 1
        groups.append((tuple(left), tuple(right)))
    return groups
