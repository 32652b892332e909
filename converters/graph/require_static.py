"""The condition that every target relies on: each tensor has a known type and size."""

from __future__ import annotations

import onnx_ir as ir

from toolchain.converters.graph.infer import has_subgraph, is_known
from toolchain.converters.graph.rewrite import STANDARD
from toolchain.errors import Refusal, UnsupportedError, UnsupportedOpsError
from toolchain.spec import shape_text


def require_static_inputs(model: ir.Model) -> None:
    """Raise UnsupportedError that names the first graph input whose type or shape is not known."""
    for value in model.graph.inputs:
        if is_known(value):
            continue
        sizes = [size if isinstance(size, int) else None for size in value.shape or ()]
        shape = shape_text(sizes) if value.shape is not None else "unknown rank"
        raise UnsupportedError(
            f"input '{value.name}' has no static shape: {shape}", "give one with --input-shape 1,3,224,224"
        )


def require_static_values(model: ir.Model) -> None:
    """Raise UnsupportedOpsError if a value that is used has an unknown type or shape.

    The error lists the nodes where knowledge ends, not those that merely follow from them.
    """
    refusals = [
        refusal
        for node in model.graph
        if any(not is_known(value) for value in node.outputs if value.uses() or value.is_graph_output())
        and all(value is None or is_known(value) for value in node.inputs)
        for refusal in [_refusal(node)]
    ]
    if refusals:
        raise UnsupportedOpsError(refusals, "a graph of static shapes")


def _refusal(node: ir.Node) -> Refusal:
    op = node.op_type if node.domain == STANDARD else f"{node.domain}::{node.op_type}"
    name = node.name or node.op_type
    if node.domain != STANDARD:
        return Refusal(
            op, name, f"operators of the domain '{node.domain}' are unknown", "replace it in the network"
        )
    if has_subgraph(node):
        return Refusal(
            op, name, "control flow decides at run time", "export the network without branches and loops"
        )
    if any(value.type is not None and not isinstance(value.type, ir.TensorType) for value in node.outputs):
        return Refusal(
            op, name, "its output is a sequence or optional, not a tensor", "export the network without lists"
        )
    return Refusal(
        op, name, "the shape of its output depends on the values of its input", "replace it in the network"
    )
