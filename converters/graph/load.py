"""Reads an ONNX file that nobody vouches for into a graph of the form that `clean` takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import InlinePass

from toolchain.converters.graph.bind_shapes import Shapes, bind_shapes
from toolchain.converters.graph.infer import has_subgraph
from toolchain.converters.graph.light_proto import in_memory, light_proto
from toolchain.converters.graph.quiet import quiet
from toolchain.converters.graph.raise_opset import raise_opset
from toolchain.converters.graph.rewrite import STANDARD
from toolchain.converters.graph.unique_names import unique_names
from toolchain.errors import UnsupportedError, UsageError

FOREIGN_MAGIC = (
    (4, b"TFL3", "a TFLite model"),
    (0, b"PK\x03\x04", "a zip archive: a PyTorch checkpoint or a Core ML package?"),
    (0, b"\x89HDF", "an HDF5 file: a Keras model?"),
    (0, b"ORTM", "an ONNX Runtime .ort model"),
    (4, b"ORTM", "an ONNX Runtime .ort model"),
)
NUMBER_FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")
"""Where a TensorProto without raw bytes keeps its numbers."""

EXPORT_AGAIN = "export it again, or copy it again if it was transferred"


def load_onnx(path: str | Path, input_shapes: Shapes | None = None) -> ir.Model:
    """Load and check an ONNX file.

    The weights stay where they are (in the file's bytes, or memory-mapped) until someone reads them.
    Shapes inside the graph are forgotten, since they may be stale: `clean` infers them from the inputs.
    Functions are inlined, opsets from 7 to 17 are converted to 18, newer ones stay. Operators of foreign
    domains and control flow stay as they are.

    Args:
        path: the .onnx file; external data is looked for in its folder only.
        input_shapes: a shape per input name, or one shape for the only input without a static shape.

    Raises:
        UsageError: the file cannot be read, or a shape is missing or does not fit.
        UnsupportedError: the content is not a valid ONNX model, or one that cannot be brought to opset 18.
    """
    path = Path(path)
    proto = _parse(path, _read(path))
    for part in _parts(proto):
        _refuse_sparse(path, part)
        for tensor in _external_tensors(part):
            _check_external(path, tensor)
    with quiet():
        model = _deserialize(path, proto)
        _check(path, model)
        model = _inlined(path, model)
        _drop_default_inputs(model.graph)
        unique_names(model)
        bind_shapes(model.graph, input_shapes, path)
        _forget_shapes(model.graph)
        raise_opset(model, path)
        _forget_shapes(model.graph)
    return model


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no file '{path}'", "check the path, relative to the current folder"
        ) from error
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be read: {error.strerror}", "give the path of an .onnx file"
        ) from error


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    for offset, magic, kind in FOREIGN_MAGIC:
        if content[offset : offset + len(magic)] == magic:
            raise UnsupportedError(f"'{path}' is not an ONNX file but {kind}", "give an .onnx file")
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        # The first field of every ONNX file is ir_version: a varint under the key 0x08.
        if content[:1] == b"\x08":
            raise UnsupportedError(f"'{path}' is a truncated or corrupt ONNX file", EXPORT_AGAIN) from error
        raise UnsupportedError(f"'{path}' is not an ONNX file", "give an .onnx file") from error
    if not proto.HasField("graph") or not proto.ir_version:
        state = "is not an ONNX file: it holds no graph" if content else "is empty"
        raise UnsupportedError(f"'{path}' {state}", EXPORT_AGAIN)
    return proto


def _parts(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The graph, the functions and all graphs inside of them."""
    pending: list[onnx.GraphProto | onnx.FunctionProto] = [proto.graph, *proto.functions]
    while pending:
        part = pending.pop()
        yield part
        for node in part.node:
            for held in node.attribute:
                pending += ([held.g] if held.HasField("g") else []) + list(held.graphs)


def _external_tensors(part: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of one graph whose data lies in another file."""
    tensors = list(getattr(part, "initializer", ()))
    for node in part.node:
        for held in node.attribute:
            tensors += ([held.t] if held.HasField("t") else []) + list(held.tensors)
    yield from (tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL)


def _refuse_sparse(path: Path, part: onnx.GraphProto | onnx.FunctionProto) -> None:
    names = [sparse.values.name for sparse in getattr(part, "sparse_initializer", ())]
    for node in part.node:
        for held in node.attribute:
            if held.HasField("sparse_tensor") or held.sparse_tensors:
                names.append(node.output[0] if node.output else node.op_type)
    if names:
        raise UnsupportedError(
            f"'{path}': the constant '{names[0]}' is sparse", "store the weights as dense tensors"
        )


def _check_external(path: Path, tensor: onnx.TensorProto) -> None:
    """The data must lie in a file inside the model's folder that is long enough."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.parent.resolve()
    target = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not target.is_relative_to(folder):
        raise UnsupportedError(
            f"'{path}': the data of '{tensor.name}' lies outside of the model's folder: '{location}'",
            "such a file may be an attack; move the data beside the model with onnx.external_data_helper",
        )
    if not target.is_file():
        raise UsageError(
            f"'{path}': the external data file '{location}' is missing (for '{tensor.name}')",
            f"put it into the folder '{path.parent}'",
        )
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", target.stat().st_size - offset))
    except ValueError:
        offset, length = -1, -1
    needed = (
        math.ceil(math.prod(tensor.dims) * ir.DataType(tensor.data_type).itemsize) if tensor.data_type else -1
    )
    if offset < 0 or length != needed or offset + length > target.stat().st_size:
        raise UnsupportedError(
            f"'{path}': the external file '{location}' does not hold the {needed} bytes of '{tensor.name}'",
            "copy the data file again",
        )


def _deserialize(path: Path, proto: onnx.ModelProto) -> ir.Model:
    try:
        model = ir.serde.deserialize_model(proto)
        _find_external(model, path.parent)
    except Exception as error:
        raise UnsupportedError(f"'{path}' is corrupt: {_first_line(error)}", EXPORT_AGAIN) from error
    for value in model.graph.initializers.values():
        value.const_value = _sound(path, value)
    return model


def _find_external(model: ir.Model, folder: Path) -> None:
    """Tell external tensors where their file is; read those that are not initializers of the main graph."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        ir.external_data.set_base_dir(graph, folder)
        for node in graph.all_nodes():
            for held in list(node.attributes.values()):
                if isinstance(held.value, ir.ExternalTensor):
                    node.attributes[held.name] = ir.AttrTensor(held.name, in_memory(held.value))
        for inner in graph.subgraphs():
            for value in inner.initializers.values() if inner is not model.graph else ():
                if isinstance(value.const_value, ir.ExternalTensor):
                    value.const_value = in_memory(value.const_value)


def _sound(path: Path, value: ir.Value) -> ir.TensorProtocol:
    """The tensor of an initializer, if its data fit its shape: the checker does not see large tensors.

    Data that are stored number by number are decoded here, once.
    """
    tensor = value.const_value
    try:
        if tensor is None:
            raise ValueError("it has no data")
        if isinstance(tensor, ir.ExternalTensor) or tensor.dtype == ir.DataType.STRING:
            return tensor
        if isinstance(tensor, ir.TensorProtoTensor) and tensor.raw.HasField("raw_data"):
            if len(tensor.raw.raw_data) != tensor.nbytes:
                raise ValueError(f"it has {len(tensor.raw.raw_data)} bytes in place of {tensor.nbytes}")
            return tensor
        if isinstance(tensor, ir.TensorProtoTensor) and not _has_numbers(tensor):
            raise ValueError("it has no data")
        array = tensor.numpy()
        if array.shape != tensor.shape.numpy():
            raise ValueError(f"it has {array.size} numbers for the shape {tensor.shape.numpy()}")
        return ir.Tensor(array, dtype=tensor.dtype, name=tensor.name)
    except Exception as error:
        raise UnsupportedError(
            f"'{path}': the initializer '{value.name}' is corrupt: {_first_line(error)}", EXPORT_AGAIN
        ) from error


def _has_numbers(tensor: ir.TensorProtoTensor) -> bool:
    return tensor.size == 0 or any(len(getattr(tensor.raw, field)) for field in NUMBER_FIELDS)


def _check(path: Path, model: ir.Model) -> None:
    """Run onnx.checker on the graph without its large weights."""
    try:
        proto = light_proto(model)
        for value in (*proto.graph.input, *proto.graph.output):
            # The checker wants a shape; files without one are common, and the shapes are not used anyway.
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(proto)
    except Exception as error:
        raise UnsupportedError(
            f"'{path}' is not a valid ONNX model: {_first_line(error)}", EXPORT_AGAIN
        ) from error


def _inlined(path: Path, model: ir.Model) -> ir.Model:
    if not model.functions:
        return model
    try:
        return InlinePass()(model).model
    except Exception as error:
        raise UnsupportedError(
            f"'{path}': its functions cannot be inlined: {_first_line(error)}", EXPORT_AGAIN
        ) from error


def _drop_default_inputs(graph: ir.Graph) -> None:
    kept = [value for value in graph.inputs if not value.is_initializer()]
    if len(kept) != len(graph.inputs):
        graph.inputs.clear()
        graph.inputs.extend(kept)


def _forget_shapes(graph: ir.Graph) -> None:
    for node in graph:
        if node.domain != STANDARD or has_subgraph(node):
            continue
        for value in node.outputs:
            value.shape, value.type = None, None


def _first_line(error: BaseException) -> str:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(root).__name__
