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

from toolchain.converters.node_view import is_constant, rank_of, shape_of
from toolchain.converters.tflite.carry import Perm, reshape_ways


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
    """Carry the order through; where axes must be moved to be merged, the handler does that.

    Of two ways the one is taken whose result later nodes will rather want.
    """
    source, target = node.inputs[0], node.outputs[0]
    assert source is not None
    perm, output = first_perm(node, perms), plain_perm(rank_of(target))
    before, after = shape_of(source), shape_of(target)
    if not is_constant(source) and 0 not in before:
        ways = reshape_ways(before, after, perm)
        output = min((way.perm for way in ways), key=lambda way: _strangeness(target, way))
    return NodeLayout((perm, *_plain_all(node.inputs[1:])), (output,))


def _strangeness(value: ir.Value, perm: Perm) -> int:
    """How unlikely it is that later nodes want this order, behind any Transpose that follows.

    0 for channel-last pictures, 1 for ONNX's own order, 2 for matrices stored transposed, 3 for others.
    """
    uses = list(value.uses())
    if len(uses) == 1 and uses[0].node.op_type == "Transpose":
        node = uses[0].node
        return _strangeness(node.outputs[0], transposition(node, [perm]).outputs[0])
    rank = len(perm)
    if rank == 4 and perm == channels_last_perm(4):
        return 0
    orders = [plain_perm(rank), (*range(rank - 2), rank - 1, rank - 2)]
    return 1 + orders.index(perm) if perm in orders else 3
