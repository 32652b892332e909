"""A .tflite file of one multiplication, written with the schema that LiteRT ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3

Writer = Callable[..., Path]


def tensor(name: str, shape: tuple[int, ...], buffer: int) -> schema.TensorT:
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, list(shape), buffer, schema.TensorType.FLOAT32
    return made


def signature(inputs: dict[str, int], outputs: dict[str, int]) -> schema.SignatureDefT:
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = "serving_default", 0
    made.inputs, made.outputs = ([tensor_map(*pair) for pair in ends.items()] for ends in (inputs, outputs))
    return made


def tensor_map(name: str, index: int) -> schema.TensorMapT:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made


def multiplication(shape: tuple[int, ...], factor: float, signed: bool) -> bytes:
    """A file whose `y` is `x` times `factor`."""
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1], [2]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.MulOptions,
        schema.MulOptionsT(),
    )
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MUL
    code.version = 1
    constant = schema.BufferT()
    constant.data = np.frombuffer(np.float32(factor).tobytes(), np.uint8)
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", shape, 0), tensor("factor", (1,), 1), tensor("y", shape, 0)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = SCHEMA_VERSION, [code], [graph]
    model.buffers = [schema.BufferT(), constant]
    model.signatureDefs = [signature({"x": 0}, {"y": 2})] if signed else []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


@pytest.fixture
def write_multiplication(tmp_path: Path) -> Writer:
    """Function (name, shape, factor, signed) -> path of a file that multiplies its input `x` into `y`."""

    def write(
        name: str, shape: tuple[int, ...] = (1, 8, 8, 4), factor: float = 2.0, signed: bool = True
    ) -> Path:
        path = tmp_path / name
        path.write_bytes(multiplication(shape, factor, signed))
        return path

    return write
