"""Builds small graphs from text and judges passes by the numbers and the operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper

from toolchain.converters.graph import clean
from toolchain.converters.graph.fold_constants import fold_constants

Pass = Callable[[ir.Model], bool]


def build(text: str, opset: int = 18, **constants: np.ndarray) -> onnx.ModelProto:
    """A model from the ONNX text form of its graph: "(float[1,3] x) => (float[1,3] y) { y = Relu(x) }"."""
    graph = onnx.parser.parse_graph(f"test {text}")
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)


def run(proto: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs according to ONNX Runtime without any optimization of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, inputs)


def random_inputs(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Normally distributed floats, and small integers, in the shapes of the inputs."""
    generator = np.random.default_rng(0)
    feeds = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        shape = [size.dim_value for size in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        feeds[value.name] = np.asarray(generator.standard_normal(shape) * 3).astype(dtype)
    return feeds


def ops(model: ir.Model) -> dict[str, int]:
    """How often each operator occurs."""
    return dict(Counter(node.op_type for node in model.graph))


def assert_same(before: onnx.ModelProto, model: ir.Model, tolerance: float = 1e-5) -> None:
    """The model is valid and computes what `before` computes, under the same names."""
    after = ir.serde.serialize_model(model)
    onnx.checker.check_model(after, full_check=True)
    assert [value.name for value in after.graph.output] == [value.name for value in before.graph.output]
    feeds = random_inputs(before)
    for wanted, found in zip(run(before, feeds), run(after, feeds), strict=True):
        assert wanted.shape == found.shape
        assert wanted.dtype == found.dtype
        finite = np.isfinite(wanted.astype(np.float64))
        assert np.array_equal(wanted[~finite], found[~finite], equal_nan=True)
        wanted, found = wanted[finite].astype(np.float64), found[finite].astype(np.float64)
        assert np.abs(wanted - found).max(initial=0) <= tolerance * np.abs(wanted).max(initial=1e-6)


def parse(before: onnx.ModelProto) -> ir.Model:
    """A graph of its own, with the shapes of all values known."""
    model = ir.serde.deserialize_model(onnx.ModelProto.FromString(before.SerializeToString()))
    inferred = onnx.shape_inference.infer_shapes(before, data_prop=True)
    known = {value.name: value for value in inferred.graph.value_info}
    for node in model.graph:
        for value in node.outputs:
            if value.name in known:
                value.type = ir.serde.deserialize_type_proto_for_type(known[value.name].type)
                value.shape = ir.serde.deserialize_type_proto_for_shape(known[value.name].type)
    return model


def judge(
    change: Pass | Sequence[Pass],
    before: onnx.ModelProto,
    wanted: dict[str, int] | None = None,
    tolerance: float = 1e-5,
) -> ir.Model:
    """Run passes once each on a graph of known shapes; numbers and operators must be right, a rerun idle."""
    changes = change if isinstance(change, Sequence) else [change]
    model = ir.serde.deserialize_model(onnx.ModelProto.FromString(before.SerializeToString()))
    fold_constants(model)
    unchanged = ops(model)
    changed = False
    for each in changes:
        changed |= each(model)
    if wanted is not None:
        assert ops(model) == wanted
        assert changed or ops(model) == unchanged
    assert_same(before, model, tolerance)
    for each in changes:
        assert not each(model)
    return model


def cleaned(before: onnx.ModelProto) -> ir.Model:
    """The graph after all passes."""
    model = ir.serde.deserialize_model(onnx.ModelProto.FromString(before.SerializeToString()))
    clean(model)
    return model


def inside(model: ir.Model) -> ir.Model:
    """The same model with its external data read in."""
    ir.external_data.load_to_model(model)
    return model


class Graphs:
    """The functions above, for tests to reach through one fixture."""

    build = staticmethod(build)
    run = staticmethod(run)
    random_inputs = staticmethod(random_inputs)
    ops = staticmethod(ops)
    proto = staticmethod(ir.serde.serialize_model)
    inside = staticmethod(inside)
    parse = staticmethod(parse)
    clean = staticmethod(cleaned)
    assert_same = staticmethod(assert_same)
    judge = staticmethod(judge)


@pytest.fixture(scope="session")
def graphs() -> type[Graphs]:
    """Builds and judges small graphs."""
    return Graphs
