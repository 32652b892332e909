"""Convert a small ONNX model, run the saved Core ML file on the reference interpreter, and compare."""

from __future__ import annotations

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
from onnx import helper, numpy_helper

from toolchain.converters.coreml.convert import CoreMLModel, convert
from toolchain.converters.graph import clean, load_onnx
from toolchain.errors import UnsupportedOpsError
from toolchain.runtimes.coreml import CoreMLRuntime

Arrays = dict[str, np.ndarray]
OPSET = 18
KINDS = ("mlprogram", "neuralnetwork")
SUFFIXES = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}
# What ONNX Runtime raises for operators, types and ranks that it does not compute.
NO_KERNEL = ("NotImplemented", "Fail", "InvalidGraph", "RuntimeException")


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


def convert_proto(
    model: onnx.ModelProto, kind: str = "mlprogram", ios: int | None = None, precision: str = "fp32"
) -> CoreMLModel:
    """Clean and convert; models of old operator sets are loaded from a file first, which raises them."""
    if model.opset_import[0].version < OPSET:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            graph = load_onnx(path)
    else:
        graph = ir.serde.deserialize_model(model)
    clean(graph)
    return convert(graph, precision, kind, ios)


def run_coreml(converted: CoreMLModel, feeds: Arrays, kind: str = "mlprogram") -> Arrays:
    """Outputs of the saved file; integers and booleans enter in the types that the file states."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{SUFFIXES[kind]}"
        converted.model.save(str(path))
        with CoreMLRuntime(path) as runtime:
            given = {spec.name: feeds[spec.name].astype(spec.dtype) for spec in runtime.inputs}
            return runtime.run(given)


def _run_both(
    model: onnx.ModelProto,
    feeds: Arrays,
    kind: str = "mlprogram",
    ios: int | None = None,
    precision: str = "fp32",
) -> tuple[Arrays, Arrays, dict[str, int]]:
    """Run a model on ONNX Runtime, and its saved conversion on the reference interpreter.

    Args:
        model: network with static shapes.
        feeds: one array per graph input.
        kind: "mlprogram" or "neuralnetwork".
        ios: oldest iOS, as for `convert`.
        precision: as for `convert`.

    Returns:
        The outputs of ONNX Runtime, those of the file in the element types of the ONNX model, and the
        operator histogram of the file.
    """
    converted = convert_proto(model, kind, ios, precision)
    expected, made = reference(model, feeds), run_coreml(converted, feeds, kind)
    assert made.keys() == expected.keys()
    actual = {name: made[name].astype(array.dtype) for name, array in expected.items()}
    return expected, actual, converted.ops


def _check(
    model: onnx.ModelProto,
    feeds: Arrays,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    kinds: Sequence[str] = KINDS,
    ios: int | None = None,
) -> dict[str, int]:
    """Assert that the files compute what ONNX Runtime does; rtol = atol = 0 for exact.

    Returns:
        The operator histogram of the first kind.
    """
    found: list[dict[str, int]] = []
    for kind in kinds:
        expected, actual, ops = _run_both(model, feeds, kind, ios if kind == "mlprogram" else None)
        for name, array in expected.items():
            # Core ML has no scalars at its borders.
            assert actual[name].shape == (array.shape or (1,)) or actual[name].shape == array.shape
            np.testing.assert_allclose(
                actual[name].reshape(array.shape), array, rtol=rtol, atol=atol, err_msg=f"{name}, {kind}"
            )
        found.append(ops)
    return found[0]


def _refusals(model: onnx.ModelProto, kind: str = "mlprogram", ios: int | None = None) -> list[str]:
    """Reasons for which the model cannot be lowered, "; hint" included."""
    with pytest.raises(UnsupportedOpsError) as caught:
        convert_proto(model, kind, ios)
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
def to_coreml():
    """`convert_proto`."""
    return convert_proto


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every test."""
    return np.random.default_rng(0)
