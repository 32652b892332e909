"""Turns Constant nodes into initializers, so that a constant has one form only."""

from __future__ import annotations

import onnx_ir as ir

from toolchain.converters.graph.rewrite import is_op, remove


def lift_constants(model: ir.Model) -> bool:
    """Store the tensor of every Constant node of the main graph as an initializer.

    ::

        Constant -> x -> node        x (initializer) -> node

    1. The value keeps its name.
    2. A Constant whose value is a graph output gets an Identity behind the initializer, because a
       graph output must be computed by a node.
    3. Constants of strings, and those with several values at once, stay.
    """
    graph, changed = model.graph, False
    for node in [node for node in graph if is_op(node, "Constant")]:
        tensor = ir.convenience.get_const_tensor(node.outputs[0]) if _is_dense(node) else None
        if tensor is None:
            continue
        old = node.outputs[0]
        name = old.name or "constant"
        while name in graph.initializers or (old.is_graph_output() and name == old.name):
            name += "_value"
        value = ir.Value(
            name=name,
            shape=ir.Shape(tensor.shape.numpy()),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        tensor.name = name
        graph.register_initializer(value)
        if old.is_graph_output():
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
            node.replace_input_with(0, value)
            old.shape, old.type = value.shape, value.type
        else:
            old.replace_all_uses_with(value)
            remove(node)
        changed = True
    return changed


def _is_dense(node: ir.Node) -> bool:
    return len(node.attributes) == 1 and not {"value_string", "value_strings"} & set(node.attributes)
