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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

Perm = tuple[int, ...]


@dataclass(frozen=True)
class NodeLayout:
    """Storage order that a node wants of each input and gives to each output; position i holds ONNX axis perm[i]."""

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


def _leading(node: ir.Node, perms: Sequence[Perm], rank: int) -> Perm:
    """The order that moves the least data: that of the largest activation of full rank."""
    candidates = [
        (prod(shape_of(value)), perm)
        for value, perm in zip(node.inputs, perms, strict=True)
        if value is not None and not is_constant(value) and len(perm) == rank
    ]
    return max(candidates, key=lambda pair: pair[0])[1] if candidates else plain_perm(rank)


def elementwise(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """All operands of full rank in one order; operands of lower rank plain, they are reshaped first."""
    rank = rank_of(node.outputs[0])
    perm = _leading(node, perms, rank)
    wanted = tuple(perm if rank_of(value) == rank else plain_perm(rank_of(value)) for value in node.inputs)
    return NodeLayout(wanted, tuple(perm for _ in node.outputs))


def along_axes(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """The first input's order is kept; the handler translates axis numbers. Parameters are plain."""
    rank = rank_of(node.inputs[0])
    perm = perms[0] if not is_constant(node.inputs[0]) else plain_perm(rank)
    return NodeLayout((perm, *_plain_all(node.inputs[1:])), tuple(perm for _ in node.outputs))


def concatenation(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """All inputs in the order of the largest."""
    perm = _leading(node, perms, rank_of(node.outputs[0]))
    return NodeLayout(tuple(perm for _ in node.inputs), (perm,))


def transposition(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """Nothing moves: output axis i is input axis order[i], stored where that is stored."""
    rank = rank_of(node.inputs[0])
    attribute = node.attributes.get("perm")
    order = tuple(attribute.as_ints()) if attribute is not None else tuple(reversed(range(rank)))
    perm = plain_perm(rank) if is_constant(node.inputs[0]) else perms[0]
    return NodeLayout((perm,), (tuple(order.index(axis) for axis in perm),))


def reshape(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """Carry the order through when every group of axes that is split or merged lies side by side."""
    source, target = node.inputs[0], node.outputs[0]
    assert source is not None
    rest = _plain_all(node.inputs[1:])
    if not is_constant(source):
        carried = carry_reshape(shape_of(source), shape_of(target), perms[0])
        if carried is not None:
            return NodeLayout((perms[0], *rest), (carried,))
    return NodeLayout((plain_perm(rank_of(source)), *rest), (plain_perm(rank_of(target)),))


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
