"""Values that must share their channel scales for a network to compute the same after scaling them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import attribute, constant, input_at, is_op, shape_of

SCALABLE = ("Conv", "ConvTranspose", "Gemm")
"""Operators with constant weights that take up a factor for each channel, on either side."""

ONE_INPUT = frozenset(
    {
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Pad",
        "Relu",
        "Resize",
        "Clip",
    }
)
TWO_INPUTS = frozenset({"Add", "Sub"})


@dataclass
class ScaleGroup:
    """Values connected by operators f with f(x / s) = f(x) / s for a positive s per channel (axis 1).

    Attributes:
        channels: how many.
        values: in the order of the graph.
        producers: operators whose output channels take up 1 / s.
        consumers: operators whose input channels take up s.
        clips: operators inside with an upper bound, which does not scale.
    """

    channels: int
    values: list[ir.Value] = field(default_factory=list)
    producers: list[ir.Node] = field(default_factory=list)
    consumers: list[ir.Node] = field(default_factory=list)
    clips: list[ir.Node] = field(default_factory=list)


def scale_groups(graph: ir.Graph) -> list[ScaleGroup]:
    """The groups that can be scaled, each with a producer and a consumer, in the order of the graph.

    A value that is an input or output of the graph, or that any other operator makes or reads, fixes its
    whole group.
    """
    parents: dict[ir.Value, ir.Value] = {}

    def find(value: ir.Value) -> ir.Value:
        while parents.get(value, value) is not value:
            value = parents[value]
        return value

    for node in graph:
        joined = channelwise(node)
        for value in joined[1:]:
            parents[find(value)] = find(joined[0])
    groups: dict[ir.Value, ScaleGroup] = {}
    blocked: set[ir.Value] = set(graph.inputs)
    for node in graph:
        for value in node.outputs:
            shape = shape_of(value)
            if shape is None or len(shape) < 2 or not _is_free(value):
                blocked.add(find(value))
                continue
            group = groups.setdefault(find(value), ScaleGroup(shape[1]))
            group.values.append(value)
            _note_ends(group, value)
    blocked = {find(value) for value in blocked}
    return [
        group
        for root, group in groups.items()
        if root not in blocked and group.producers and group.consumers and group.channels > 1
    ]


def channelwise(node: ir.Node) -> list[ir.Value]:
    """The values that an operator ties together, its output last; none for any other operator."""
    if is_op(node, *ONE_INPUT):
        data = [node.inputs[0]]
    elif is_op(node, *TWO_INPUTS):
        data = list(node.inputs)
    else:
        return []
    values = [value for value in (*data, node.outputs[0]) if value is not None]
    shapes = [shape_of(value) for value in values]
    if any(constant(value) is not None for value in values) or any(s is None or len(s) < 2 for s in shapes):
        return []
    if len({shape[:2] for shape in shapes if shape is not None}) != 1 or not _scales(node):
        return []
    if is_op(node, *TWO_INPUTS) and len(set(shapes)) != 1:
        return []
    return values


def upper_bound(node: ir.Node) -> float | None:
    """The upper bound of a Clip."""
    bound = constant(input_at(node, 2)) if is_op(node, "Clip") else None
    return None if bound is None else float(bound)


def input_channels(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Weights as (outputs, inputs of a group, kernel); the input channel of each of the first two."""
    weights = constant(node.inputs[1])
    assert weights is not None
    if node.op_type == "Gemm":
        matrix = weights if attribute(node, "transB", 0) else weights.T
        return matrix[:, :, None], np.broadcast_to(np.arange(matrix.shape[1]), matrix.shape)
    groups = attribute(node, "group", 1)
    if node.op_type == "ConvTranspose":
        each = weights.reshape(groups, -1, *weights.shape[1:])
        weights = np.swapaxes(each, 1, 2).reshape(-1, each.shape[1], *weights.shape[2:])
    outputs, inputs = weights.shape[:2]
    first = np.arange(outputs) // (outputs // groups) * inputs
    return weights.reshape(outputs, inputs, -1), first[:, None] + np.arange(inputs)


def _is_free(value: ir.Value) -> bool:
    """Whether only operators that take part make and read the value."""
    if value.is_graph_output() or value.dtype != ir.DataType.FLOAT:
        return False
    producer = value.producer()
    if producer is None or not (_is_weighted(producer) or channelwise(producer)):
        return False
    for use in value.uses():
        reads_as_data = use.idx == 0 if _is_weighted(use.node) else bool(channelwise(use.node))
        if not reads_as_data:
            return False
    return True


def _note_ends(group: ScaleGroup, value: ir.Value) -> None:
    producer = value.producer()
    assert producer is not None
    if _is_weighted(producer):
        group.producers.append(producer)
    elif upper_bound(producer) is not None:
        group.clips.append(producer)
    group.consumers.extend(use.node for use in value.uses() if _is_weighted(use.node))


def _is_weighted(node: ir.Node) -> bool:
    if not is_op(node, *SCALABLE) or constant(node.inputs[1]) is None:
        return False
    if input_at(node, 2) is not None and constant(node.inputs[2]) is None:
        return False
    return node.op_type != "Gemm" or not attribute(node, "transA", 0)


def _scales(node: ir.Node) -> bool:
    """Whether the operator leaves channels apart and a positive factor may pass through it."""
    if node.op_type == "Clip":
        low, high = (input_at(node, index) for index in (1, 2))
        known = [constant(low), constant(high)]
        if (low is not None and known[0] is None) or (high is not None and known[1] is None):
            return False
        bottom, top = (None if array is None else float(array) for array in known)
        return bottom in (None, 0.0) and (top is None or top > 0)
    if node.op_type == "Resize":
        return attribute(node, "coordinate_transformation_mode") != "tf_crop_and_resize"
    if node.op_type == "Pad":
        fill = input_at(node, 2)
        filled = (
            0.0 if fill is None or (attribute(node, "mode", "constant") != "constant") else constant(fill)
        )
        return filled is not None and not np.any(filled)
    return True
