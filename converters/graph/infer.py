"""Shape and type inference of one node at a time, from what is known of its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir as ir
from toolchain.converters.graph.rewrite import STANDARD, shape_of

from toolchain.errors import UnsupportedError

DATA_LIMIT = 1024
"""Elements up to which a constant input is shown to the inference: shapes, axes, pads, scales."""


def is_known(value: ir.Value) -> bool:
    """Whether the element type and every size are known. Sequences and optionals never are."""
    return isinstance(value.type, ir.TensorType) and shape_of(value) is not None


def infer_outputs(node: ir.Node, opset_imports: Mapping[str, int]) -> bool:
    """Fill in the shape and type of the node's outputs as far as its operator's definition tells.

    Nodes of other domains and nodes with subgraphs are left as they are.

    Returns:
        Whether anything became known.

    Raises:
        UnsupportedError: the operator does not exist, or its inputs contradict its definition.
    """
    if all(is_known(value) for value in node.outputs if value.name):
        return False
    if node.domain != STANDARD or has_subgraph(node):
        return False
    version = opset_imports.get(STANDARD, 1)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, STANDARD)
    except onnx.defs.SchemaError as error:
        raise UnsupportedError(
            f"node '{node.name}' uses the operator {node.op_type}, which opset {version} does not have",
            "check the file with onnx.checker, or export it again with a current exporter",
        ) from error
    types = _infer(node, schema, opset_imports)
    learned = [_learn(value, types.get(value.name or "")) for value in node.outputs]
    return any(learned)


def has_subgraph(node: ir.Node) -> bool:
    """Whether the node is control flow: If, Loop, Scan and their like."""
    return any(
        held.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for held in node.attributes.values()
    )


def _infer(
    node: ir.Node, schema: onnx.defs.OpSchema, opset_imports: Mapping[str, int]
) -> Mapping[str, onnx.TypeProto]:
    proto = ir.serde.serialize_node(node)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or not value.name or value.type is None:
            continue
        types[value.name] = ir.serde.serialize_value(value).type
        held = value.const_value
        if value.is_initializer() and held is not None and held.size <= DATA_LIMIT:
            data[value.name] = ir.serde.serialize_tensor(held)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opset_imports.items()]
    try:
        found = onnx.shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=imports)
        if not found or any(not _complete(kind) for kind in found.values()):
            found = {**found, **_infer_in_graph(proto, types, data, imports)}
    except (
        onnx.shape_inference.InferenceError,
        onnx.checker.ValidationError,
        RuntimeError,
        ValueError,
    ) as error:
        reason = str(error).strip().splitlines()[-1][:300] if str(error).strip() else type(error).__name__
        raise UnsupportedError(
            f"node '{node.name}' ({node.op_type}) contradicts the definition of its operator: {reason}",
            "check the file with onnx.checker and the input shape with --input-shape",
        ) from error
    return found


def _infer_in_graph(
    proto: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    data: Mapping[str, onnx.TensorProto],
    imports: list[onnx.OperatorSetIdProto],
) -> dict[str, onnx.TypeProto]:
    """Inference of a graph of one node, which also looks into operators that are defined by a function."""
    graph = onnx.helper.make_graph(
        [proto],
        "one_node",
        [onnx.helper.make_value_info(name, kind) for name, kind in types.items()],
        [],
    )
    for name, tensor in data.items():
        tensor.name = name
        graph.initializer.append(tensor)
    model = onnx.helper.make_model(graph, opset_imports=imports)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return {info.name: info.type for info in inferred.graph.value_info if _complete(info.type)}


def _complete(kind: onnx.TypeProto) -> bool:
    tensor = kind.tensor_type
    return (
        kind.HasField("tensor_type")
        and tensor.HasField("shape")
        and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    )


def _learn(value: ir.Value, kind: onnx.TypeProto | None) -> bool:
    """Copy what the inference found into a value that was not fully known."""
    if kind is None or is_known(value):
        return False
    found = ir.serde.deserialize_type_proto_for_type(kind)
    shape = ir.serde.deserialize_type_proto_for_shape(kind)
    if found is not None:
        value.type = found
    if shape is not None and (value.shape is None or shape.is_static()):
        value.shape = shape
    return is_known(value)
