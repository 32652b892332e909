"""Read a .tflite file back, for inspection; the file is untrusted."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.flatbuffer import IDENTIFIER, TENSOR_TYPES
from toolchain.converters.tflite.program import OP_NAMES, Op
from toolchain.errors import UnsupportedError
from toolchain.spec import TensorSpec

TYPE_NAMES = {code: name for name, code in TENSOR_TYPES.items()}
# Operators whose second (or, for TRANSPOSE_CONV, second) input holds weights.
WEIGHTED = {Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.TRANSPOSE_CONV}
PARAMETER_TYPES = {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.INT8}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it."""

    name: str
    shape: tuple[int, ...]
    type: int
    constant: bool


@dataclass(frozen=True)
class StoredOperator:
    """An operator as the file describes it; tensor -1 is an optional input left out."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class StoredProgram:
    """The main graph of a file."""

    tensors: list[StoredTensor]
    operators: list[StoredOperator]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    metadata: dict[str, bytes]

    def histogram(self) -> dict[str, int]:
        """Operator name to count, most frequent first."""
        names = (OP_NAMES.get(operator.code, f"op {operator.code}") for operator in self.operators)
        return dict(Counter(names).most_common())

    def parameters(self) -> int:
        """Elements of constants with more than one element, shapes and indices left out."""
        return sum(
            prod(t.shape)
            for t in self.tensors
            if t.constant and t.type in PARAMETER_TYPES and prod(t.shape) > 1
        )

    def macs(self) -> int:
        """Multiply-adds of convolutions and matrix products for one run."""
        return sum(self._macs(operator) for operator in self.operators)

    def _macs(self, operator: StoredOperator) -> int:
        if operator.code == Op.BATCH_MATMUL:
            a = self.tensors[operator.inputs[0]].shape
            return prod(self.tensors[operator.outputs[0]].shape) * a[-1]
        if operator.code not in WEIGHTED:
            return 0
        out = self.tensors[operator.outputs[0]].shape
        weights = self.tensors[operator.inputs[1]].shape
        if operator.code == Op.DEPTHWISE_CONV_2D:
            return prod(out) * prod(weights[1:3])
        if operator.code == Op.TRANSPOSE_CONV:
            # Every input element meets every tap of every output channel.
            return prod(self.tensors[operator.inputs[2]].shape) * prod(weights[:3])
        return prod(out) * prod(weights[1:])


def read_tflite(data: bytes, name: str) -> StoredProgram:
    """Parse the first graph of a file.

    Args:
        data: the file's bytes.
        name: what to call it in errors.

    Raises:
        UnsupportedError: it is not a .tflite file, or a damaged one.
    """
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise UnsupportedError(f"'{name}' is not a .tflite file", "the identifier TFL3 is missing at byte 4")
    try:
        return _read(data)
    except (
        struct.error,
        IndexError,
        ValueError,
        TypeError,
        AttributeError,
        UnicodeDecodeError,
        OverflowError,
    ) as e:
        raise UnsupportedError(
            f"'{name}' is a damaged .tflite file: {e}", "export or download it again"
        ) from e


def _read(data: bytes) -> StoredProgram:
    model: Any = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    buffers = model.BuffersLength()
    tensors = []
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        if not 0 <= tensor.Buffer() < buffers:
            raise ValueError(f"tensor {index} points to buffer {tensor.Buffer()} of {buffers}")
        shape = (
            tuple(int(size) for size in np.atleast_1d(tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()
        )
        constant = model.Buffers(tensor.Buffer()).DataLength() > 0
        tensors.append(StoredTensor((tensor.Name() or b"").decode(), shape, tensor.Type(), constant))
    codes = [_code(model.OperatorCodes(index)) for index in range(model.OperatorCodesLength())]
    operators = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = tuple(operator.Inputs(i) for i in range(operator.InputsLength()))
        outputs = tuple(operator.Outputs(i) for i in range(operator.OutputsLength()))
        if max((*inputs, *outputs, 0)) >= len(tensors):
            raise ValueError(f"operator {index} uses a tensor that does not exist")
        operators.append(StoredOperator(codes[operator.OpcodeIndex()], inputs, outputs))
    return StoredProgram(
        tensors,
        operators,
        [_spec(tensors[graph.Inputs(i)]) for i in range(graph.InputsLength())],
        [_spec(tensors[graph.Outputs(i)]) for i in range(graph.OutputsLength())],
        _metadata(model),
    )


def _code(entry: Any) -> int:
    return max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())


def _spec(tensor: StoredTensor) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.shape, TYPE_NAMES.get(tensor.type, f"type {tensor.type}"))


def _metadata(model: Any) -> dict[str, bytes]:
    found = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        buffer = model.Buffers(entry.Buffer())
        if buffer.DataLength():
            found[(entry.Name() or b"").decode()] = buffer.DataAsNumpy().tobytes()
    return found
