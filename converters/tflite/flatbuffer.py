"""Serialize a program with the flatbuffer schema of LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.tflite.program import Operator, Program, Tensor
from toolchain.errors import UnsupportedError

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
SIGNATURE = "serving_default"
# The schema demands it of buffers (force_align), and XNNPACK reads weights in place.
ALIGNMENT = 16
# Codes above do not fit the old one-byte field; it then holds this marker.
LAST_SHORT_CODE = 127
TENSOR_OVERHEAD = 512
# A flatbuffer addresses with signed 32-bit offsets.
MAX_BYTES = 2**31 - 2**20

TENSOR_TYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "float64": schema.TensorType.FLOAT64,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "uint8": schema.TensorType.UINT8,
    "uint16": schema.TensorType.UINT16,
    "uint32": schema.TensorType.UINT32,
    "uint64": schema.TensorType.UINT64,
    "bool": schema.TensorType.BOOL,
}


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes start at a multiple of ALIGNMENT; the generated code ignores force_align."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        vector = None
        if self.data is not None:
            payload = np.ascontiguousarray(self.data).reshape(-1).view(np.uint8).data
            builder.StartVector(1, len(payload), ALIGNMENT)
            builder.head -= len(payload)
            builder.Bytes[builder.head : builder.head + len(payload)] = payload
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


class _SharedQuantization(schema.QuantizationParametersT):
    """Scales and zero points, equal ones written once: zeros per channel take more room than the weights.

    Args:
        found: what to write.
        written: (name, bytes) -> offset in the file, of what has been written.
    """

    def __init__(self, found: Quantization, written: dict[tuple[str, bytes], int]) -> None:
        super().__init__()
        self.found = found
        self.written = written

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        scale = self.found.scale.astype(np.float32)
        zero = self.found.zero_point.astype(np.int64)
        axis = self.found.axis or 0
        key = (f"parameters {axis}", scale.tobytes() + zero.tobytes())
        if key not in self.written:
            places = [self._vector(builder, "scale", scale), self._vector(builder, "zero_point", zero)]
            schema.QuantizationParametersStart(builder)
            schema.QuantizationParametersAddScale(builder, places[0])
            schema.QuantizationParametersAddZeroPoint(builder, places[1])
            schema.QuantizationParametersAddQuantizedDimension(builder, axis)
            self.written[key] = schema.QuantizationParametersEnd(builder)
        return self.written[key]

    def _vector(self, builder: flatbuffers.Builder, name: str, values: np.ndarray) -> int:
        key = (name, values.tobytes())
        if key not in self.written:
            self.written[key] = builder.CreateNumpyVector(values)
        return self.written[key]


class _Packer:
    """Turns the program's objects into the schema's, each tensor and equal constant once."""

    def __init__(self, program: Program) -> None:
        self.tensors = program.tensors()
        self.index = {id(tensor): position for position, tensor in enumerate(self.tensors)}
        # Buffer 0 is the empty one that activations point to.
        self.buffers: list[schema.BufferT] = [_AlignedBuffer()]
        self.codes: dict[tuple[int, int], int] = {}
        self._constants: dict[tuple[str, bytes], int] = {}
        self.quantizations: dict[tuple[str, bytes], int] = {}

    def buffer(self, data: np.ndarray) -> int:
        """Index of a buffer with these bytes; small equal constants share one."""
        small = data.nbytes <= 1024
        key = (str(data.dtype), data.tobytes()) if small else None
        if key is not None and key in self._constants:
            return self._constants[key]
        buffer = _AlignedBuffer()
        buffer.data = data
        self.buffers.append(buffer)
        if key is not None:
            self._constants[key] = len(self.buffers) - 1
        return len(self.buffers) - 1

    def tensor(self, tensor: Tensor) -> schema.TensorT:
        packed = schema.TensorT()
        packed.name = tensor.name
        packed.shape = np.asarray(tensor.shape, np.int32)
        packed.type = TENSOR_TYPES[tensor.dtype.name]
        packed.hasRank = True
        # A constant without elements still needs a buffer of its own, or it would pass for an activation.
        packed.buffer = 0 if tensor.data is None else self.buffer(tensor.data)
        packed.quantization = None
        if tensor.quantization is not None and tensor.dtype.kind in "iu":
            packed.quantization = _SharedQuantization(tensor.quantization, self.quantizations)
        return packed

    def operator(self, operator: Operator) -> schema.OperatorT:
        packed = schema.OperatorT()
        packed.opcodeIndex = self.codes.setdefault((operator.code, operator.version), len(self.codes))
        packed.inputs = np.asarray(
            [-1 if used is None else self.index[id(used)] for used in operator.inputs], np.int32
        )
        packed.outputs = np.asarray([self.index[id(made)] for made in operator.outputs], np.int32)
        if operator.options is not None:
            table = type(operator.options).__name__.removesuffix("T")
            packed.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            packed.builtinOptions = operator.options
        return packed

    def operator_codes(self) -> list[schema.OperatorCodeT]:
        packed = []
        for code, version in self.codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode = code
            entry.deprecatedBuiltinCode = min(code, LAST_SHORT_CODE)
            entry.version = version
            packed.append(entry)
        return packed

    def signature(self, program: Program) -> schema.SignatureDefT:
        packed = schema.SignatureDefT()
        packed.signatureKey = SIGNATURE
        packed.inputs = self._tensor_maps(program.inputs)
        packed.outputs = self._tensor_maps(program.outputs)
        return packed

    def _tensor_maps(self, tensors: Sequence[Tensor]) -> list[schema.TensorMapT]:
        maps = []
        for tensor in tensors:
            entry = schema.TensorMapT()
            entry.name = tensor.name
            entry.tensorIndex = self.index[id(tensor)]
            maps.append(entry)
        return maps


def serialize(program: Program, description: str = "", metadata: dict[str, bytes] | None = None) -> bytes:
    """Bytes of the .tflite file.

    Args:
        program: what to write; tensor names must be unique.
        description: free text in the model's header.
        metadata: named blobs kept inside the file.

    Raises:
        UnsupportedError: the constants need more than the 2 GB that a flatbuffer can address.
    """
    packer = _Packer(program)
    model: Any = schema.ModelT()
    graph: Any = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [packer.tensor(tensor) for tensor in packer.tensors]
    graph.inputs = [packer.index[id(tensor)] for tensor in program.inputs]
    graph.outputs = [packer.index[id(tensor)] for tensor in program.outputs]
    graph.operators = [packer.operator(operator) for operator in program.operators]
    model.version = SCHEMA_VERSION
    model.description = description
    model.subgraphs = [graph]
    model.operatorCodes = packer.operator_codes()
    model.signatureDefs = [packer.signature(program)]
    model.metadata = []
    for name, blob in (metadata or {}).items():
        entry: Any = schema.MetadataT()
        entry.name = name
        entry.buffer = packer.buffer(np.frombuffer(blob, np.uint8))
        model.metadata.append(entry)
    model.buffers = packer.buffers
    size = sum(buffer.data.nbytes for buffer in packer.buffers if buffer.data is not None)
    if size > MAX_BYTES:
        raise UnsupportedError(
            f"the network's constants need {size / 1e9:.1f} GB; a .tflite file holds 2 GB",
            "export with -p fp16, or split the network",
        )
    # Sized once: a flatbuffer that grows copies everything it holds at every doubling.
    builder = flatbuffers.Builder(
        size + TENSOR_OVERHEAD * (len(packer.tensors) + len(program.operators) + 16)
    )
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
