"""A session whose weights stay in memory computes what one of the whole model computes."""

from __future__ import annotations

import gc

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.converters.graph.light_proto import LARGE
from toolchain.converters.graph.weights_beside import session_with, weights_beside
from toolchain.runtimes.onnx_runtime import OnnxRuntime


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def weight(rng):
    return rng.standard_normal((64, 16)).astype(np.float32)


def matmul(weight):
    """x @ weight + 1, as a file of ours has it."""
    arrays = {"weight": weight, "one": np.ones(1, weight.dtype)}
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Add", ["product", "one"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "matmul",
        [helper.make_tensor_value_info("x", kind, (2, 64))],
        [helper.make_tensor_value_info("y", kind, (2, 16))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_only_large_weights_are_taken_out(weight):
    model = ir.from_proto(matmul(weight))
    before = {name: value.const_value for name, value in model.graph.initializers.items()}
    content, weights = weights_beside(model)
    assert list(weights) == ["weight"]
    np.testing.assert_array_equal(weights["weight"], weight)
    assert len(content) < LARGE
    assert {name: value.const_value for name, value in model.graph.initializers.items()} == before


def test_nothing_is_copied(weight):
    model = ir.from_proto(matmul(weight))
    model.graph.initializers["weight"].const_value = ir.Tensor(weight, name="weight")
    assert np.shares_memory(weights_beside(model)[1]["weight"], weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32, np.int64])
def test_the_session_computes_the_same(rng, dtype):
    weight = rng.integers(-9, 9, (64, 32)).astype(dtype)
    proto = matmul(weight)
    x = rng.integers(-9, 9, (2, 64)).astype(dtype)
    whole = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    session = session_with(ir.from_proto(proto), onnxruntime.SessionOptions())
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], whole.run(None, {"x": x})[0])


def test_weights_live_as_long_as_the_session(weight, rng):
    x = rng.standard_normal((2, 64)).astype(np.float32)
    expected = x @ weight + 1
    model = ir.from_proto(matmul(weight))
    session = session_with(model, onnxruntime.SessionOptions())
    runtime = OnnxRuntime(*weights_beside(model))
    del model
    gc.collect()
    # Takes the memory that has become free.
    _ = [np.full(weight.shape, np.nan, np.float32) for _ in range(100)]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-4)
    with runtime:
        np.testing.assert_allclose(runtime.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-4)


def test_a_slice_of_other_weights(weight, rng):
    """An array whose numbers do not lie side by side."""
    model = ir.from_proto(matmul(weight))
    wide = np.repeat(weight, 2, axis=1)
    model.graph.initializers["weight"].const_value = ir.Tensor(wide[:, ::2], name="weight")
    x = rng.standard_normal((2, 64)).astype(np.float32)
    with OnnxRuntime(*weights_beside(model)) as runtime:
        np.testing.assert_allclose(runtime.run({"x": x})["y"], x @ weight + 1, rtol=1e-4, atol=1e-4)


def test_outputs_can_be_others(weight, rng):
    x = rng.standard_normal((2, 64)).astype(np.float32)
    model = ir.from_proto(matmul(weight))
    session = session_with(model, onnxruntime.SessionOptions(), ["product"])
    (made,) = session.run(None, {"x": x})
    np.testing.assert_allclose(made, x @ weight, rtol=1e-4, atol=1e-4)
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_weights_in_another_file(weight, rng, tmp_path):
    path = tmp_path / "model.onnx"
    ir.save(ir.from_proto(matmul(weight)), path, external_data="weights.bin", size_threshold_bytes=0)
    x = rng.standard_normal((2, 64)).astype(np.float32)
    with OnnxRuntime(*weights_beside(ir.load(path))) as runtime:
        np.testing.assert_allclose(runtime.run({"x": x})["y"], x @ weight + 1, rtol=1e-4, atol=1e-4)


def test_types_that_numpy_does_not_have_stay_inside(weight):
    brain = weight.astype(ml_dtypes.bfloat16)
    proto = matmul(weight)
    proto.graph.initializer[0].CopyFrom(
        helper.make_tensor("weight", TensorProto.BFLOAT16, brain.shape, brain.tobytes(), raw=True)
    )
    content, weights = weights_beside(ir.from_proto(proto))
    assert not weights
    assert len(content) > brain.nbytes


def test_weights_that_nothing_reads(weight, rng):
    model = ir.from_proto(matmul(weight))
    model.graph.register_initializer(ir.val("left", const_value=ir.Tensor(weight, name="left")))
    x = rng.standard_normal((2, 64)).astype(np.float32)
    content, weights = weights_beside(model)
    assert list(weights) == ["weight"]
    assert len(content) < LARGE
    with OnnxRuntime(content, weights) as runtime:
        np.testing.assert_allclose(runtime.run({"x": x})["y"], x @ weight + 1, rtol=1e-4, atol=1e-4)


def test_a_weight_that_is_an_input_too(weight, rng):
    """Such inputs may be left out."""
    proto = matmul(weight)
    proto.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, weight.shape))
    x = rng.standard_normal((2, 64)).astype(np.float32)
    (made,) = session_with(ir.from_proto(proto), onnxruntime.SessionOptions()).run(None, {"x": x})
    np.testing.assert_allclose(made, x @ weight + 1, rtol=1e-4, atol=1e-4)


def test_a_weight_that_is_an_output(weight):
    proto = matmul(weight)
    proto.graph.output.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, weight.shape))
    session = session_with(ir.from_proto(proto), onnxruntime.SessionOptions())
    np.testing.assert_array_equal(session.run(["weight"], {"x": np.zeros((2, 64), np.float32)})[0], weight)


def test_a_node_outside_of_the_graph_reads_nothing(weight, rng):
    model = ir.from_proto(matmul(weight))
    left = ir.val("left", const_value=ir.Tensor(weight, name="left"))
    model.graph.register_initializer(left)
    outside = ir.Node("", "Relu", [left])
    assert left.uses()
    x = rng.standard_normal((2, 64)).astype(np.float32)
    with OnnxRuntime(*weights_beside(model)) as runtime:
        np.testing.assert_allclose(runtime.run({"x": x})["y"], x @ weight + 1, rtol=1e-4, atol=1e-4)
    assert outside.inputs == (left,)


@pytest.mark.parametrize("outputs", [None, ["product"], ["priors"]])
def test_a_constant_output_is_left_out_with_the_others(weight, rng, outputs):
    proto = matmul(weight)
    priors = rng.standard_normal((99, 4)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(priors, "priors"))
    proto.graph.output.append(helper.make_tensor_value_info("priors", TensorProto.FLOAT, priors.shape))
    session = session_with(ir.from_proto(proto), onnxruntime.SessionOptions(), outputs)
    x = rng.standard_normal((2, 64)).astype(np.float32)
    expected = {"y": x @ weight + 1, "product": x @ weight, "priors": priors}
    names = [value.name for value in session.get_outputs()]
    assert names == (outputs or ["y", "priors"])
    for name, made in zip(names, session.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(made, expected[name], rtol=1e-4, atol=1e-4)


def test_numbers_that_shapes_follow_from_stay_inside():
    """Split into more parts than a small initializer has."""
    parts = 200
    sizes = np.ones(parts, np.int64)
    assert sizes.nbytes > LARGE
    names = [f"part{index}" for index in range(parts)]
    graph = helper.make_graph(
        [helper.make_node("Split", ["x", "sizes"], names, axis=0)],
        "split",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (parts,))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1,)) for name in names],
        [numpy_helper.from_array(sizes, "sizes")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content, weights = weights_beside(ir.from_proto(proto))
    assert not weights
    with OnnxRuntime(content, weights) as runtime:
        made = runtime.run({"x": np.arange(parts, dtype=np.float32)})
    assert [float(made[name][0]) for name in names] == list(range(parts))


def test_weights_that_only_a_branch_reads(weight, rng):
    """A subgraph reads the initializers of the graph around it."""
    x = rng.standard_normal((2, 64)).astype(np.float32)
    outputs = [helper.make_tensor_value_info("made", TensorProto.FLOAT, (2, 16))]
    branches = {
        key: helper.make_graph([helper.make_node(op, ["x", "weight"], ["made"])], key, [], outputs)
        for key, op in (("then_branch", "MatMul"), ("else_branch", "Gemm"))
    }
    graph = helper.make_graph(
        [helper.make_node("If", ["said"], ["y"], **branches)],
        "branches",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 64)),
            helper.make_tensor_value_info("said", TensorProto.BOOL, ()),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 16))],
        [numpy_helper.from_array(weight, "weight")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content, weights = weights_beside(ir.from_proto(proto))
    assert list(weights) == ["weight"]
    with OnnxRuntime(content, weights) as runtime:
        for said in (True, False):
            made = runtime.run({"x": x, "said": said})["y"]
            np.testing.assert_allclose(made, x @ weight, rtol=1e-4, atol=1e-4)
