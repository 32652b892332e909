"""Writes out the operators that ONNX itself defines by a graph of other operators."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from toolchain.converters.graph.infer import has_subgraph, is_known, missing_attributes
from toolchain.converters.graph.rewrite import STANDARD, opset_version


def expand_functions(model: ir.Model, kept: Container[str]) -> bool:
    """Replace operators that the target does not know by their definition in the ONNX standard.

    ::

        a -> SwiGLU -> y           a -> Swish -> Mul -> y
        b ---^                     b -------------^

    Operators without such a definition stay, and so does control flow. The new nodes carry the name of the
    node that they stand for; what they compute has no types and shapes yet, so `clean` comes next. A
    definition may use further operators that have one: repeat until nothing changes.

    Args:
        model: a cleaned graph; definitions may depend on types and shapes.
        kept: operators of the ONNX domain that stay as they are.
    """
    bodies = []
    for number, node in enumerate(model.graph):
        if node.domain != STANDARD or node.op_type in kept or has_subgraph(node):
            continue
        body = _definition(node, opset_version(model))
        if body is None:
            continue
        node.overload = body.overload = f"{number}"
        _spell_out(node, body)
        bodies.append(ir.serde.deserialize_function(body))
    if not bodies:
        return False
    model.functions.update({body.identifier(): body for body in bodies})
    InlinePass()(model)
    return True


def _definition(node: ir.Node, version: int) -> onnx.FunctionProto | None:
    """The body for this node's attributes and input types, in the graph's opset; None if there is none."""
    try:
        schema = onnx.defs.get_schema(node.op_type, version, STANDARD)
    except onnx.defs.SchemaError:
        return None
    body = _body(node, schema, version)
    if body is None and version != schema.since_version:
        # Some definitions are given only for the version in which the operator appeared.
        body = _body(node, schema, schema.since_version)
        if body is None or not all(_unchanged(inner, schema.since_version, version) for inner in body.node):
            return None
    if body is None or not _make_left_out_outputs(node, body):
        return None
    for part in body.opset_import:
        part.version = version
    for inner in body.node:
        inner.name = f"{node.name}/{inner.op_type}"
    return body


# `Any`, as the stubs of OpSchema leave out everything about functions.
def _body(node: ir.Node, schema: Any, version: int) -> onnx.FunctionProto | None:
    content = b""
    if schema.has_function:
        content = schema.get_function_with_opset_version(version)
    elif schema.has_context_dependent_function and all(v is None or is_known(v) for v in node.inputs):
        types = [_type(value).SerializeToString() for value in node.inputs]
        proto = ir.serde.serialize_node(node).SerializeToString()
        content = schema.get_context_dependent_function_with_opset_version(version, proto, types)
    if not content:
        return None
    body = onnx.FunctionProto.FromString(content)
    return body if all(part.domain == STANDARD for part in body.opset_import) else None


def _type(value: ir.Value | None) -> onnx.TypeProto:
    return ir.serde.serialize_value(value).type if value is not None else onnx.TypeProto()


def _unchanged(node: onnx.NodeProto, old: int, new: int) -> bool:
    """Whether the node means the same in both versions: inputs and attributes may only have been added."""
    before, after = (onnx.defs.get_schema(node.op_type, version, STANDARD) for version in (old, new))
    inputs = [value.name for value in after.inputs]
    used = {attribute.name for attribute in node.attribute}
    return (
        [value.name for value in before.inputs] == inputs[: len(before.inputs)]
        and len(before.inputs) >= after.min_input
        and [value.name for value in before.outputs] == [value.name for value in after.outputs]
        and used.issubset(after.attributes)
        and all(
            name in after.attributes and after.attributes[name].default_value == attribute.default_value
            for name, attribute in before.attributes.items()
            if name not in used and attribute.default_value.type
        )
    )


def _make_left_out_outputs(node: ir.Node, body: onnx.FunctionProto) -> bool:
    """Give outputs that the definition leaves out, since nobody reads them, a node; False if one is read."""
    made = {name for inner in body.node for name in inner.output}
    for index, name in enumerate(body.output):
        if name in made:
            continue
        if index < len(node.outputs) and (
            node.outputs[index].uses() or node.outputs[index].is_graph_output()
        ):
            return False
        body.node.append(onnx.helper.make_node("Identity", [body.input[0]], [name]))
    return True


def _spell_out(node: ir.Node, body: onnx.FunctionProto) -> None:
    """Add default attributes, which the body refers to, and the outputs behind the last one that is read."""
    schema = onnx.defs.get_schema(node.op_type, body.opset_import[0].version, STANDARD)
    for attribute in missing_attributes(node, schema):
        node.attributes[attribute.name] = ir.serde.deserialize_attribute(attribute)
    node.resize_outputs(len(body.output))
