"""Quantize a small network, run it as a QDQ graph on ONNX Runtime and as a file on LiteRT."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from toolchain.converters.graph import clean
from toolchain.converters.quantize.integer_forms import write_integer_forms
from toolchain.converters.quantize.place import place_pairs
from toolchain.converters.quantize.scheme import Range
from toolchain.converters.tflite import TFLiteModel, convert

Arrays = dict[str, np.ndarray]
CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")
RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def run_onnx(model: onnx.ModelProto, feeds: Arrays, names: Collection[str] | None = None) -> Arrays:
    """Outputs by ONNX Runtime, every pair computed as written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = list(names or [value.name for value in model.graph.output])
    return dict(zip(wanted, session.run(wanted, feeds), strict=True))


def quantized(
    model: onnx.ModelProto, feeds: Arrays, kept_float: Collection[str] = (), activations: str = "int8"
) -> onnx.ModelProto:
    """The model with pairs, the ranges those of one run."""
    graph = ir.serde.deserialize_model(model)
    clean(graph)
    write_integer_forms(graph, kept_float)
    ranges = {name: Range(float(array.min()), float(array.max())) for name, array in feeds.items()}
    whole = ir.serde.serialize_model(graph)
    made = [value.name for node in graph.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made)
    for name, array in (run_onnx(whole, feeds) if made else {}).items():
        ranges[name] = Range(float(array.min()), float(array.max()))
    place_pairs(graph, ranges, kept_float, activations)
    return ir.serde.serialize_model(graph)


def run_file(converted: TFLiteModel, feeds: Arrays, resolver: OpResolverType) -> Arrays:
    """Outputs of the file in ONNX's axis order; at its borders floats are quantized and restored."""
    interpreter = Interpreter(
        model_content=converted.data, experimental_op_resolver_type=resolver, num_threads=1
    )
    interpreter.allocate_tensors()
    places = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    for spec, array in zip(converted.inputs, feeds.values(), strict=True):
        stored = np.moveaxis(array, 1, -1) if spec.layout in CHANNELS_LAST else array
        if spec.scale is not None:
            limits = np.iinfo(spec.dtype)
            stored = np.clip(
                np.rint(stored / np.float32(spec.scale)) + spec.zero_point, limits.min, limits.max
            )
        interpreter.set_tensor(places[spec.name], np.array(stored, spec.dtype, order="C"))
    interpreter.invoke()
    results = {}
    for spec, detail in zip(converted.outputs, interpreter.get_output_details(), strict=True):
        stored = interpreter.get_tensor(detail["index"])
        assert stored.dtype.name == spec.dtype
        if spec.scale is not None:
            stored = ((stored.astype(np.float64) - spec.zero_point) * spec.scale).astype(np.float32)
        results[spec.name] = np.moveaxis(stored, -1, 1) if spec.layout in CHANNELS_LAST else stored
    return results


@dataclass
class Outcome:
    """A file beside its QDQ graph.

    Attributes:
        converted: the file.
        expected: the graph's outputs.
        actual: the file's outputs, with XNNPACK and without.
        steps: largest difference, in steps of the output's scale.
        parted: share of values of the file with XNNPACK that differ by more than half a step.
    """

    converted: TFLiteModel
    expected: Arrays
    actual: list[Arrays]
    steps: float
    parted: float


def step_of(qdq: onnx.ModelProto, name: str) -> float:
    """Scale of an output of a QDQ graph."""
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in qdq.graph.initializer}
    node = next(node for node in qdq.graph.node if name in node.output)
    return float(constants[node.input[1]].reshape(-1)[0])


def compare(qdq: onnx.ModelProto, feeds: Arrays, precision: str = "int8", **options: object) -> Outcome:
    """Convert a QDQ graph and run both."""
    converted = convert(ir.serde.deserialize_model(qdq), precision, **options)  # type: ignore[arg-type]
    expected = run_onnx(qdq, feeds)
    actual = [run_file(converted, feeds, resolver) for resolver in RESOLVERS]
    steps, parted = 0.0, 0.0
    for results in actual:
        for name, wanted in expected.items():
            assert results[name].shape == wanted.shape
            step = step_of(qdq, name) if wanted.dtype == np.float32 else 1
            difference = np.abs(results[name] - wanted) / step
            steps = max(steps, float(difference.max()))
            if results is actual[0]:
                parted = max(parted, float((difference > 0.5).mean()))
    return Outcome(converted, expected, actual, steps, parted)


@pytest.fixture(scope="session")
def quantize():
    """`quantized`."""
    return quantized


@pytest.fixture(scope="session")
def run_pairs():
    """`run_onnx`."""
    return run_onnx


@pytest.fixture(scope="session")
def run_int8():
    """`run_file`."""
    return run_file


@pytest.fixture(scope="session")
def side_by_side():
    """`compare`."""
    return compare
