"""Removes what no output depends on."""

from __future__ import annotations

import onnx_ir as ir


def remove_dead(model: ir.Model) -> bool:
    """Remove nodes and initializers that nothing reads.

    ::

        x -+-> A -> y (output)        x -> A -> y (output)
           +-> B -> C

    1. A node stays if one of its outputs is read, by a subgraph too, or is a graph output.
    2. Graph inputs stay, read or not.
    """
    graph, changed = model.graph, False
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
            changed = True
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
            changed = True
    return changed
