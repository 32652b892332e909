"""The few edits that all passes are made of, and how they read constants and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

STANDARD = ""
"""Domain of the ONNX operators."""


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether the node is one of these operators of the ONNX domain."""
    return node is not None and node.domain == STANDARD and node.op_type in op_types


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind an initializer, not to be written to; None for any other value."""
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The number in an initializer with a single element; None for any other value."""
    if (
        value is None
        or not value.is_initializer()
        or value.const_value is None
        or value.const_value.size != 1
    ):
        return None
    array = constant(value)
    return None if array is None else array.item()


def shape_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape if every size is known."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return value.shape.numpy()


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The Python value of an attribute: a number, string, tuple or tensor."""
    held = node.attributes.get(name)
    return default if held is None else held.value


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """An input, None where the optional input is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that holds the node; a ValueError for a node that was removed."""
    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"node '{node.name}' is in no graph")
    return node.graph


def required(node: ir.Node, index: int = 0) -> ir.Value:
    """An input that the operator's definition does not let be left out."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"node '{node.name}' has no input {index}")
    return value


def shape_and_type(value: ir.Value) -> tuple[tuple[int, ...], ir.DataType]:
    """Both, of a value where they are known."""
    shape, dtype = shape_of(value), value.dtype
    if shape is None or dtype is None:
        raise ValueError(f"the shape or type of '{value.name}' is not known")
    return shape, dtype


def opset_version(model: ir.Model) -> int:
    """Version of the ONNX operator set that the graph uses."""
    return model.opset_imports.get(STANDARD) or 1


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The node that alone reads the value, once, in the same graph; None for a graph output."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    consumer = next(iter(uses)).node
    producer = value.producer()
    if producer is not None and consumer.graph is not producer.graph:
        return None
    return consumer


def sole_producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node of one of these operators whose only use is this one reader of `value`."""
    if value is None or not is_op(value.producer(), *op_types) or sole_consumer(value) is None:
        return None
    return value.producer()


def add_initializer(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """Store an array as a new initializer, under `name` or the first free `name_2`, `name_3`, ..."""
    free, number = name, 1
    while free in graph.initializers:
        number += 1
        free = f"{name}_{number}"
    tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=free)
    value = ir.Value(
        name=free, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def insert_before(
    anchor: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: dict[str, Any],
    shape: Sequence[int],
    dtype: ir.DataType,
) -> ir.Value:
    """Add a node with one output of known shape in front of `anchor`; returns that output."""
    node = ir.Node(STANDARD, op_type, inputs, ir.convenience.convert_attributes(attributes))
    node.outputs[0].shape, node.outputs[0].type = ir.Shape(shape), ir.TensorType(dtype)
    graph_of(anchor).insert_before(anchor, node)
    return node.outputs[0]


def set_attributes(node: ir.Node, **values: Any) -> None:
    """Set attributes; None removes one."""
    for name, value in values.items():
        if value is None:
            node.attributes.pop(name, None)
        else:
            node.attributes[name] = ir.convenience.convert_attribute(name, value)


def set_inputs(node: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    """Replace all inputs of a node."""
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)


def remove(nodes: ir.Node | Iterable[ir.Node]) -> None:
    """Take nodes without remaining readers out of their graph."""
    for node in [nodes] if isinstance(nodes, ir.Node) else list(nodes):
        graph_of(node).remove(node, safe=True)


def can_bypass(output: ir.Value, source: ir.Value) -> bool:
    """Whether `source` can stand for `output`: no value can have the names of two graph ends."""
    if not output.is_graph_output():
        return True
    return not (source.is_graph_output() or source.is_graph_input() or source.producer() is None)


def bypass(output: ir.Value, source: ir.Value) -> bool:
    """Let every reader of `output` read `source`; a graph output keeps its name. False if that cannot be."""
    if not can_bypass(output, source):
        return False
    if output.is_graph_output():
        name = output.name
        output.replace_all_uses_with(source, replace_graph_outputs=True)
        output.name = None
        source.name = name
    else:
        output.replace_all_uses_with(source)
    return True
