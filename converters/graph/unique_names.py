"""Gives every node and value a name of its own."""

from __future__ import annotations

import onnx_ir as ir


def unique_names(model: ir.Model) -> bool:
    """Name what has no name, and rename what shares one.

    ::

        Conv "" -> x -> Conv "" -> x        Conv "Conv" -> x -> Conv "Conv_2" -> x_2

    1. Graph inputs and outputs keep their names.
    2. Then come initializers and the outputs of nodes, in order: the first to hold a name keeps it.
    3. Names of values inside subgraphs are taken into account and not changed.
    4. An output that its node leaves out (empty name) stays nameless if nothing reads it.
    """
    graph = model.graph
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    inner = list(graph.initializers.values()) + [value for node in graph for value in node.outputs]
    taken = {value.name for value in (*graph.inputs, *graph.outputs) if value.name}
    taken |= {
        value.name for part in graph.subgraphs() if part is not graph for value in _values(part) if value.name
    }
    changed = False
    for value in inner:
        if id(value) in ends or (not value.name and not value.uses()):
            continue
        name = _free(value.name or "value", taken)
        taken.add(name)
        if name != value.name:
            value.name = name
            changed = True
    names: set[str] = set()
    for node in graph:
        name = _free(node.name or node.op_type, names)
        names.add(name)
        if name != node.name:
            node.name = name
            changed = True
    return changed


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def _free(name: str, taken: set[str]) -> str:
    """`name`, or the first of name_2, name_3, ... that is free."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
