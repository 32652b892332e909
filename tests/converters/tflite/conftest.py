"""Convert a small ONNX model, run the file on LiteRT and the model on ONNX Runtime."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import helper, numpy_helper

from toolchain.converters.graph import clean, load_onnx
from toolchain.converters.tflite import TFLiteModel, convert
from toolchain.errors import UnsupportedOpsError

Arrays = dict[str, np.ndarray]
CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")
# Old runtimes are checked in another environment, with the files that these tests make.
KEEP = os.environ.get("TOOLCHAIN_KEEP_TFLITE")
OPSET = 18
# What ONNX Runtime raises for operators, types and ranks that it does not compute.
NO_KERNEL = ("NotImplemented", "Fail", "InvalidGraph", "RuntimeException")
FOLDER = tempfile.TemporaryDirectory()


def build_model(
    nodes: Sequence[onnx.NodeProto] | onnx.NodeProto,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str] = ("y",),
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model with these nodes.

    Args:
        nodes: one node or several in order.
        inputs: graph inputs; an array stands for its shape and element type.
        outputs: names of the graph outputs.
        constants: initializers.
        opset: version of the ONNX operator set.
    """
    nodes = [nodes] if isinstance(nodes, onnx.NodeProto) else list(nodes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    made = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "test", infos, made, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    unknown = [value for value in model.graph.output if not value.type.HasField("tensor_type")]
    if unknown:
        results = reference(model, dict(inputs))
        for value in unknown:
            array = results[value.name]
            dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, array.shape))
    return model


def node_model(
    op_type: str,
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    order: Sequence[str] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = OPSET,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node.

    Args:
        op_type: ONNX operator.
        inputs: graph inputs.
        constants: initializers.
        order: names of the node's inputs, "" for one that is left out; inputs, then constants, by default.
        outputs: names of the node's outputs.
        opset: version of the ONNX operator set.
        **attributes: attributes of the node.
    """
    names = [*inputs, *(constants or {})] if order is None else list(order)
    node = helper.make_node(op_type, names, list(outputs), name="node", **attributes)
    return build_model(node, inputs, [name for name in outputs if name], constants, opset)


def reference(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    """Outputs by ONNX Runtime without graph optimizations; by the ONNX reference where it has no kernel."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    names = [value.name for value in model.graph.output]
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        results = session.run(names, feeds)
    except Exception as error:
        if type(error).__name__ not in NO_KERNEL:
            raise
        results = onnx.reference.ReferenceEvaluator(model).run(names, feeds)
    return dict(zip(names, results, strict=True))


def convert_proto(model: onnx.ModelProto, layout: str = "nhwc", precision: str = "fp32") -> TFLiteModel:
    """Clean and convert; models of old operator sets are loaded from a file first, which raises them."""
    if model.opset_import[0].version < OPSET:
        path = Path(FOLDER.name) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        graph = load_onnx(path)
    else:
        graph = ir.serde.deserialize_model(model)
    clean(graph)
    return convert(graph, precision, layout)


def _to_storage(array: np.ndarray, layout: str) -> np.ndarray:
    moved = np.moveaxis(array, 1, -1) if layout in CHANNELS_LAST else array
    return np.array(moved, order="C")


def _from_storage(array: np.ndarray, layout: str) -> np.ndarray:
    return np.moveaxis(array, -1, 1) if layout in CHANNELS_LAST else array


def run_tflite(converted: TFLiteModel, feeds: Arrays, resolver: OpResolverType) -> Arrays:
    """Outputs of the file in ONNX's axis order."""
    interpreter = Interpreter(
        model_content=converted.data, experimental_op_resolver_type=resolver, num_threads=1
    )
    interpreter.allocate_tensors()
    for spec, detail, array in zip(
        converted.inputs, interpreter.get_input_details(), feeds.values(), strict=True
    ):
        interpreter.set_tensor(detail["index"], _to_storage(array, spec.layout))
    interpreter.invoke()
    results = {}
    for spec, detail in zip(converted.outputs, interpreter.get_output_details(), strict=True):
        stored = interpreter.get_tensor(detail["index"])
        assert stored.shape == spec.shape
        results[spec.name] = _from_storage(stored, spec.layout)
    return results


def _keep(converted: TFLiteModel, feeds: Arrays, results: Arrays) -> None:
    """Leave the file and what it computed for a run on another runtime."""
    if not KEEP:
        return
    stem = Path(KEEP) / hashlib.sha256(converted.data).hexdigest()[:16]
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".tflite").write_bytes(converted.data)
    given = {
        f"input_{index}": _to_storage(array, spec.layout)
        for index, (spec, array) in enumerate(zip(converted.inputs, feeds.values(), strict=True))
    }
    made = {
        f"output_{index}": _to_storage(results[spec.name], spec.layout)
        for index, spec in enumerate(converted.outputs)
    }
    np.savez(stem.with_suffix(".npz"), **given, **made)


def _run_both(
    model: onnx.ModelProto, feeds: Arrays, layout: str = "nhwc", precision: str = "fp32"
) -> tuple[Arrays, Arrays, dict[str, int]]:
    """Run a model on ONNX Runtime, and its conversion on LiteRT.

    Args:
        model: network with static shapes.
        feeds: one array per graph input, in the order of the graph's inputs.
        layout: storage of pictures at the borders, as for `convert`.
        precision: as for `convert`.

    Returns:
        The outputs of ONNX Runtime, those of LiteRT in ONNX's axis order (XNNPACK on; it is checked
        that the built-in kernels agree), and the operator histogram of the file.
    """
    converted = convert_proto(model, layout, precision)
    return reference(model, feeds), _run_converted(converted, feeds), converted.ops


def _run_converted(converted: TFLiteModel, feeds: Arrays) -> Arrays:
    """Outputs with XNNPACK, which the built-in kernels must agree with."""
    actual = run_tflite(converted, feeds, OpResolverType.AUTO)
    builtin = run_tflite(converted, feeds, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    for name, array in actual.items():
        np.testing.assert_allclose(array, builtin[name], rtol=1e-4, atol=1e-5, err_msg="XNNPACK differs")
    _keep(converted, feeds, actual)
    return actual


def _check(
    model: onnx.ModelProto,
    feeds: Arrays,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    layouts: Sequence[str] = ("nhwc", "nchw"),
) -> dict[str, int]:
    """Assert that LiteRT computes what ONNX Runtime does, in both layouts; rtol = atol = 0 for exact.

    Returns:
        The operator histogram in the first layout.
    """
    expected = reference(model, feeds)
    files: list[TFLiteModel] = []
    for layout in layouts:
        converted = convert_proto(model, layout)
        if any(converted.data == other.data for other in files):
            continue
        files.append(converted)
        actual = _run_converted(converted, feeds)
        assert actual.keys() == expected.keys()
        for name, array in expected.items():
            assert actual[name].dtype == array.dtype
            assert actual[name].shape == array.shape
            np.testing.assert_allclose(actual[name], array, rtol=rtol, atol=atol, err_msg=f"{name}, {layout}")
    return files[0].ops


def _refusals(model: onnx.ModelProto) -> list[str]:
    """Reasons for which the model cannot be lowered, "; hint" included."""
    with pytest.raises(UnsupportedOpsError) as caught:
        convert_proto(model)
    assert all(refusal.hint for refusal in caught.value.refusals)
    return [f"{refusal.reason}; {refusal.hint}" for refusal in caught.value.refusals]


@pytest.fixture(scope="session")
def run_both():
    """`_run_both`."""
    return _run_both


@pytest.fixture(scope="session")
def check():
    """`_check`."""
    return _check


@pytest.fixture(scope="session")
def refusals():
    """`_refusals`."""
    return _refusals


@pytest.fixture(scope="session")
def make_model():
    """`build_model`."""
    return build_model


@pytest.fixture(scope="session")
def make_node_model():
    """`node_model`."""
    return node_model


@pytest.fixture(scope="session")
def to_tflite():
    """`convert_proto`."""
    return convert_proto


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every test."""
    return np.random.default_rng(0)
