"""An If whose condition is known becomes the branch that is taken."""

from __future__ import annotations

import onnx_ir as ir

from toolchain.converters.graph.infer import has_subgraph
from toolchain.converters.graph.rewrite import (
    STANDARD,
    add_initializer,
    attribute,
    bypass,
    constant,
    graph_of,
    is_op,
    remove,
    scalar,
)


def inline_branches(model: ir.Model) -> bool:
    """Put the nodes of the branch that is taken in place of the If.

    ::

        true -> If (then: Relu -> y, else: Neg -> y) -> z        Relu -> z

    1. The condition is an initializer, as it is once what depends on shapes only has been folded.
    2. Types and shapes that the branch claims are forgotten; they are inferred from what the nodes now read.
    3. An If inside the branch is left for the next round.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "If")]:
        condition = scalar(node.inputs[0])
        if condition is None:
            continue
        _inline(node, attribute(node, "then_branch" if condition else "else_branch"))
        changed = True
    return changed


def _inline(node: ir.Node, branch: ir.Graph) -> None:
    results = list(branch.outputs)
    branch.outputs.clear()
    graph = graph_of(node)
    for value in list(branch.initializers.values()):
        array = constant(value)
        assert array is not None
        stored = add_initializer(graph, array, value.name or "constant")
        value.replace_all_uses_with(stored)
        results = [stored if result is value else result for result in results]
    moved = list(branch)
    branch.remove(moved)
    graph.insert_before(node, moved)
    for inner in moved:
        if inner.domain == STANDARD and not has_subgraph(inner):
            for value in inner.outputs:
                value.shape = value.type = None
    for output, result in zip(node.outputs, results, strict=True):
        if not bypass(output, result):
            _copy(node, output, result)
    remove(node)


def _copy(node: ir.Node, output: ir.Value, result: ir.Value) -> None:
    """A graph output that cannot be the result itself becomes an Identity of it."""
    identity = ir.Node(STANDARD, "Identity", [result])
    graph_of(node).insert_before(node, identity)
    made, name = identity.outputs[0], output.name
    output.replace_all_uses_with(made, replace_graph_outputs=True)
    output.name, made.name = None, name
