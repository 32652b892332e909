"""Lists of tensors whose members are known become the tensors themselves."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    STANDARD,
    add_initializer,
    attribute,
    bypass,
    constant,
    graph_of,
    input_at,
    insert_before,
    is_op,
    remove,
    required,
    set_attributes,
    set_inputs,
    shape_and_type,
    shape_of,
)


def unpack_sequences(model: ir.Model) -> bool:
    """Let the readers of a sequence read its members.

    ::

        x -> SplitToSequence -+-> SequenceAt(0) -> a        x -> Split -+-> a
                              +-> SequenceAt(1) -> b                    +-> b

        a, b -> SequenceConstruct -> ConcatFromSequence -> y        a, b -> Concat -> y

    1. A SplitToSequence along an axis of known size, with constant sizes, is a Split; without keepdims,
       which drops the axis of chunks of size 1, a Squeeze follows each part.
    2. SequenceAt with a constant position reads that member; SequenceLength is a constant.
    3. ConcatFromSequence is a Concat; with new_axis, of members with that axis put in.
    4. Sequences that are inputs, outputs, or read by other nodes stay as they are.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "SequenceConstruct", "SplitToSequence")]:
        uses = node.outputs[0].uses()
        if not uses or node.outputs[0].is_graph_output() or not all(_is_readable(use.node) for use in uses):
            continue
        members = _members(node)
        if members is None or any(shape_of(member) is None for member in members):
            continue
        for use in uses:
            _read(use.node, members)
        remove(node)
        changed = True
    return changed


def _is_readable(node: ir.Node) -> bool:
    if is_op(node, "SequenceAt"):
        return constant(node.inputs[1]) is not None
    return is_op(node, "SequenceLength", "ConcatFromSequence")


def _members(node: ir.Node) -> list[ir.Value] | None:
    if node.op_type == "SplitToSequence":
        return _split(node)
    return [required(node, index) for index in range(len(node.inputs))]


def _split(node: ir.Node) -> list[ir.Value] | None:
    """Put a Split in front of the SplitToSequence and return its parts; None if the sizes are not known."""
    source, shape = node.inputs[0], shape_of(node.inputs[0])
    if source is None or shape is None or source.dtype is None:
        return None
    axis = attribute(node, "axis", 0) % len(shape)
    sizes = _sizes(node, shape[axis])
    if sizes is None:
        return None
    counts = add_initializer(graph_of(node), np.array(sizes, np.int64), f"{node.name}.sizes")
    split = ir.Node(
        STANDARD,
        "Split",
        [source, counts],
        ir.convenience.convert_attributes({"axis": axis}),
        num_outputs=len(sizes),
        name=f"{node.name}.split",
    )
    for part, size in zip(split.outputs, sizes, strict=True):
        part.shape, part.type = (
            ir.Shape((*shape[:axis], size, *shape[axis + 1 :])),
            ir.TensorType(source.dtype),
        )
    graph_of(node).insert_before(node, split)
    if attribute(node, "keepdims", 1) or input_at(node, 1) is not None:
        return list(split.outputs)
    axes = add_initializer(graph_of(node), np.array([axis], np.int64), f"{node.name}.axis")
    rest = (*shape[:axis], *shape[axis + 1 :])
    return [insert_before(node, "Squeeze", [part, axes], {}, rest, source.dtype) for part in split.outputs]


def _sizes(node: ir.Node, total: int) -> list[int] | None:
    """Sizes of the parts along the axis: given, or equal chunks of which the last may be smaller."""
    given = input_at(node, 1)
    array = constant(given)
    if given is not None and array is None:
        return None
    if array is not None and array.ndim == 1:
        sizes = [int(size) for size in array]
        return sizes if sum(sizes) == total else None
    chunk = 1 if array is None else int(array)
    if chunk < 1:
        return None
    return [min(chunk, total - start) for start in range(0, total, chunk)]


def _read(node: ir.Node, members: list[ir.Value]) -> None:
    """Replace one reader of the sequence."""
    graph, output = graph_of(node), node.outputs[0]
    if node.op_type == "SequenceLength":
        length = add_initializer(graph, np.array(len(members), np.int64), f"{node.name}.length")
        _become(node, "Identity", [length])
    elif node.op_type == "SequenceAt":
        position = constant(node.inputs[1])
        assert position is not None
        member = members[int(position)]
        if bypass(output, member):
            remove(node)
        else:
            _become(node, "Identity", [member])
    else:
        axis = attribute(node, "axis")
        if attribute(node, "new_axis", 0):
            members = [_with_axis(node, member, axis) for member in members]
        _become(node, "Concat", members, axis=axis)


def _with_axis(node: ir.Node, member: ir.Value, axis: int) -> ir.Value:
    shape, dtype = shape_and_type(member)
    place = axis % (len(shape) + 1)
    axes = add_initializer(graph_of(node), np.array([place], np.int64), f"{node.name}.axis")
    return insert_before(node, "Unsqueeze", [member, axes], {}, (*shape[:place], 1, *shape[place:]), dtype)


def _become(node: ir.Node, op_type: str, inputs: list[ir.Value], **attributes: int) -> None:
    node.op_type = op_type
    node.attributes.clear()
    set_attributes(node, **attributes)
    set_inputs(node, inputs)
