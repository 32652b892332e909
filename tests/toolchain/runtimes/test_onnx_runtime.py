"""ONNX Runtime on files that are written here by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from toolchain import load
from toolchain.errors import MissingDependencyError, UnsupportedError
from toolchain.runtimes.onnx_runtime import OnnxRuntime
from toolchain.spec import TensorSpec


@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.parametrize("optimize", [True, False])
def test_arrays_go_to_their_names(affine_file, rng, threads, optimize):
    with load(affine_file, threads=threads, delegate=optimize) as runtime:
        assert runtime.inputs == (
            TensorSpec("x", (-1, 3)),
            TensorSpec("previous", (-1, 3)),
            TensorSpec("count", (2,), "int32"),
        )
        assert [spec.name for spec in runtime.outputs] == ["y", "counted"]
        for rows in (1, 4):
            x, previous = rng.standard_normal((2, rows, 3)).astype(np.float32)
            result = runtime.run({"previous": previous, "count": [4, 5], "x": x})
            np.testing.assert_allclose(result["y"], x * np.float32([1, -2, 3]) + previous, rtol=1e-6)
            np.testing.assert_array_equal(result["counted"], np.int32([4, 5]))


def test_bytes_compute_what_the_file_computes(affine_model, affine_file):
    arrays = {"x": np.ones((2, 3)), "previous": np.zeros((2, 3)), "count": [1, 2]}
    from_bytes = OnnxRuntime(affine_model.SerializeToString()).run(arrays)
    np.testing.assert_array_equal(from_bytes["y"], load(affine_file).run(arrays)["y"])


def test_weights_beside_the_file_are_found(affine_model, tmp_path):
    path = tmp_path / "external.onnx"
    onnx.save(affine_model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    result = load(path).run({"x": np.ones((1, 3)), "previous": np.zeros((1, 3)), "count": [1, 2]})
    np.testing.assert_array_equal(result["y"], [[1, -2, 3]])
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UnsupportedError, match=r"weights\.bin"):
        load(path)


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.6, 0.9, 0.99])
def test_a_file_cut_off_is_refused(affine_file, keep):
    data = affine_file.read_bytes()
    affine_file.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(UnsupportedError) as caught:
        load(affine_file)
    assert str(affine_file) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"hello, world", bytes(200), b"TFL3" * 30, b"\xff" * 100])
def test_what_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match="cannot be loaded by ONNX Runtime"):
        load(path)


def one_node(op_type: str, element_type: int) -> bytes:
    """A model of one node from x to y."""
    ends = [helper.make_tensor_value_info(name, element_type, [2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def test_an_unknown_operator_is_named():
    with pytest.raises(UnsupportedError, match="Frobnicate"):
        OnnxRuntime(one_node("Frobnicate", TensorProto.FLOAT))


def test_tensors_without_numbers_are_refused():
    with pytest.raises(UnsupportedError, match=r"'x' .* tensor\(string\)"):
        OnnxRuntime(one_node("Identity", TensorProto.STRING))


def test_sizes_that_do_not_fit_each_other_fail_with_the_message_of_the_runtime(affine_file):
    with pytest.raises(UnsupportedError, match="failed in ONNX Runtime"):
        load(affine_file).run({"x": np.ones((2, 3)), "previous": np.ones((5, 3)), "count": [1, 2]})


def test_a_missing_package_is_named(affine_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError) as caught:
        load(affine_file)
    assert caught.value.hint == "pip install onnxruntime"


def test_nothing_native_reaches_standard_error(affine_file):
    script = """
import sys, numpy
from toolchain import load
from toolchain.errors import UnsupportedError
one = numpy.ones((1, 3))
with load(sys.argv[1]) as runtime:
    print(runtime.run({"x": one, "previous": one, "count": [1, 2]})["y"].tolist())
    try:
        runtime.run({"x": one, "previous": numpy.ones((0, 3)), "count": [1, 2]})
    except UnsupportedError:
        pass
"""
    command = [sys.executable, "-c", script, str(affine_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == "[[2.0, -1.0, 4.0]]\n"


def loud_integers(activations: int) -> bytes:
    """A matrix product of int8 weights, in pairs, whose sums of products are as large as they can be."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["stored"]),
        helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["seen"]),
        helper.make_node("DequantizeLinear", ["weights", "one", "none"], ["kernel"]),
        helper.make_node("MatMul", ["seen", "kernel"], ["y"]),
    ]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, (), [1.0]),
        helper.make_tensor("zero", activations, (), [0]),
        helper.make_tensor("one", TensorProto.FLOAT, (), [1.0]),
        helper.make_tensor("none", TensorProto.INT8, (), [0]),
        helper.make_tensor("weights", TensorProto.INT8, (64, 16), [127] * 64 * 16),
    ]
    graph = helper.make_graph(
        nodes,
        "loud",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (8, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (8, 16))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("activations", "most"),
    [(TensorProto.UINT8, 255), (TensorProto.INT8, 127), (TensorProto.UINT16, 65535)],
    ids=["uint8", "int8", "uint16"],
)
def test_sums_of_integer_products_do_not_saturate(activations: int, most: int) -> None:
    """Processors without VNNI add pairs of products in 16 bits, unless ONNX Runtime is told not to."""
    x = np.random.default_rng(0).integers(most - 3, most + 1, (8, 64)).astype(np.float32)
    with OnnxRuntime(loud_integers(activations), threads=1) as runtime:
        found = runtime.run({"x": x})["y"]
    np.testing.assert_allclose(found, np.repeat(127 * x.sum(1, keepdims=True), 16, axis=1), rtol=1e-6)
