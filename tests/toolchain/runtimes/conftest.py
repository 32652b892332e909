"""Model files written by hand: .tflite with the schema that LiteRT ships, .onnx with onnx.helper."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Tensor:
    """A tensor of a hand-written graph; `data` makes it a constant."""

    name: str
    shape: tuple[int, ...]
    type: int = schema.TensorType.FLOAT32
    data: np.ndarray | None = None
    shape_signature: tuple[int, ...] | None = None
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class Graph:
    """A hand-written graph of one operator.

    `signatures` maps a key to (subgraph, {input name: tensor}, {output name: tensor}).
    """

    tensors: list[Tensor]
    operator: int
    options_type: int
    options: object
    operands: list[int]
    results: list[int]
    inputs: list[int]
    outputs: list[int]
    signatures: dict[str, tuple[int, dict[str, int], dict[str, int]]] = field(default_factory=dict)


def tensor_map(names: dict[str, int]) -> list[schema.TensorMapT]:
    entries = []
    for name, index in names.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        entries.append(entry)
    return entries


def written(graph: Graph) -> bytes:
    """The graph as a .tflite file."""
    buffers = [schema.BufferT()]
    tensors = []
    for item in graph.tensors:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = item.name, list(item.shape), item.type
        tensor.shapeSignature = list(item.shape_signature) if item.shape_signature else None
        if item.data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(item.data.tobytes(), np.uint8)
            tensor.buffer = len(buffers)
            buffers.append(buffer)
        if item.scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [item.scale], [item.zero_point]
        tensors.append(tensor)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = graph.operator
    code.version = 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = graph.operands, graph.results
    operator.builtinOptionsType, operator.builtinOptions = graph.options_type, graph.options
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.operators = tensors, [operator]
    subgraph.inputs, subgraph.outputs = graph.inputs, graph.outputs
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [subgraph], buffers
    model.signatureDefs = []
    for key, (index, inputs, outputs) in graph.signatures.items():
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, index
        signature.inputs, signature.outputs = tensor_map(inputs), tensor_map(outputs)
        model.signatureDefs.append(signature)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def convolution(rng: np.random.Generator) -> tuple[Graph, np.ndarray, np.ndarray]:
    """3x3 "same" convolution of a 5x6 picture, 3 to 4 channels; weights are (4, 3, 3, 3) OHWI."""
    weight = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
    graph = Graph(
        tensors=[
            Tensor("graph_in", (1, 5, 6, 3)),
            Tensor("weight", weight.shape, data=weight),
            Tensor("bias", bias.shape, data=bias),
            Tensor("graph_out", (1, 5, 6, 4)),
        ],
        operator=schema.BuiltinOperator.CONV_2D,
        options_type=schema.BuiltinOptions.Conv2DOptions,
        options=options,
        operands=[0, 1, 2],
        results=[3],
        inputs=[0],
        outputs=[3],
        signatures={"serving_default": (0, {"image": 0}, {"logits": 3})},
    )
    return graph, weight, bias


def difference(**changes: object) -> Graph:
    """`left` - `right` of two (2, 3) tensors; the signature lists `right` first."""
    graph = Graph(
        tensors=[Tensor("a", (2, 3)), Tensor("b", (2, 3)), Tensor("c", (2, 3))],
        operator=schema.BuiltinOperator.SUB,
        options_type=schema.BuiltinOptions.SubOptions,
        options=schema.SubOptionsT(),
        operands=[0, 1],
        results=[2],
        inputs=[0, 1],
        outputs=[2],
        signatures={"serving_default": (0, {"right": 1, "left": 0}, {"result": 2})},
    )
    return replace(graph, **changes)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every test."""
    return np.random.default_rng(7)


@pytest.fixture
def conv_graph(rng):
    """`convolution(rng)`: graph, weights, bias."""
    return convolution(rng)


@pytest.fixture(scope="session")
def make_difference():
    """`difference`: a graph, with fields replaced."""
    return difference


@pytest.fixture(scope="session")
def make_tensor():
    """`Tensor`."""
    return Tensor


@pytest.fixture(scope="session")
def write_tflite():
    """`written`."""
    return written


@pytest.fixture
def conv_file(tmp_path, conv_graph):
    """Path of the convolution as a .tflite file."""
    path = tmp_path / "conv.tflite"
    path.write_bytes(written(conv_graph[0]))
    return path


@pytest.fixture
def affine_model() -> onnx.ModelProto:
    """Y = x * scale + previous, with a free batch size; an integer `count` passes through."""
    scale = np.array([1, -2, 3], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "previous"], ["y"]),
            helper.make_node("Identity", ["count"], ["counted"]),
        ],
        "affine",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("previous", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("count", TensorProto.INT32, [2]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("counted", TensorProto.INT32, [2]),
        ],
        [numpy_helper.from_array(scale, "scale")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def affine_file(tmp_path, affine_model):
    """Path of the affine model as an .onnx file."""
    path = tmp_path / "affine.onnx"
    onnx.save(affine_model, path)
    return path
