"""Shape and type inference of one node at a time, from what is known of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
import onnx_ir as ir

from toolchain.converters.graph.rewrite import STANDARD, attribute, required, shape_of
from toolchain.errors import UnsupportedError
from toolchain.spec import shape_text

CHECK_SHAPE = "check the input shape with --input-shape, and the file with onnx.checker"

LARGEST = 1 << 40
"""Elements that no tensor of a network has."""

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
    if any(value is not None and value.type is None for value in node.inputs):
        return False
    version = opset_imports.get(STANDARD, 1)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, STANDARD)
    except onnx.defs.SchemaError as error:
        raise UnsupportedError(
            f"node '{node.name}' uses the operator {node.op_type}, which opset {version} does not have",
            "check the file with onnx.checker, or export it again with a current exporter",
        ) from error
    if node.op_type in ("Conv", "ConvTranspose"):
        _check_channels(node)
    if node.op_type == "Slice" and 0 in (shape_of(node.inputs[0]) or ()):
        # onnx's inference ends the whole process on some slices of nothing.
        raise UnsupportedError(f"node '{node.name}' (Slice) slices a tensor without elements", CHECK_SHAPE)
    types: Mapping[str, onnx.TypeProto]
    if node.op_type == "GroupNormalization":
        # onnx has no inference for it; the output is like the input.
        types = {node.outputs[0].name or "": ir.serde.serialize_value(required(node)).type}
    else:
        types = _infer(node, schema, opset_imports)
    for kind in types.values():
        _check_sizes(node, kind)
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
    # Operators that are defined by a function refer to all attributes.
    proto.attribute.extend(missing_attributes(node, schema))
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
        reason = _last_line(error)
        raise UnsupportedError(
            f"node '{node.name}' ({node.op_type}) contradicts the definition of its operator: {reason}",
            CHECK_SHAPE,
        ) from error
    return found


def missing_attributes(node: ir.Node, schema: onnx.defs.OpSchema) -> list[onnx.AttributeProto]:
    """Attributes with a default value that the node leaves out."""
    return [
        attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.type and name not in node.attributes
    ]


def _last_line(error: Exception) -> str:
    """The last line of onnx's message, which says what is wrong, without the name of its exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("] ")[2][:300] if lines else type(error).__name__


def _check_channels(node: ir.Node) -> None:
    """Compare the channels of input, weight and groups, which onnx's inference does not look at."""
    data, weight = shape_of(node.inputs[0]), shape_of(node.inputs[1])
    if data is None or weight is None:
        return
    groups = attribute(node, "group", 1)
    fits = len(data) == len(weight) > 2 and groups > 0 and weight[0] % groups == 0
    if not fits or data[1] != (weight[1] * groups if node.op_type == "Conv" else weight[0]):
        raise UnsupportedError(
            f"node '{node.name}' ({node.op_type}) contradicts the definition of its operator: an input of"
            f" {shape_text(data)} does not fit weights of {shape_text(weight)} in {groups} group(s)",
            CHECK_SHAPE,
        )


def _check_sizes(node: ir.Node, kind: onnx.TypeProto) -> None:
    """Inference computes negative sizes where a window is larger than its input, and overflows silently."""
    sizes = [dim.dim_value for dim in kind.tensor_type.shape.dim if dim.HasField("dim_value")]
    if any(size < 0 for size in sizes) or math.prod(sizes) > LARGEST:
        raise UnsupportedError(
            f"node '{node.name}' ({node.op_type}) would have an output of {shape_text(sizes)}", CHECK_SHAPE
        )


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
