"""Parameters and multiply-adds worked out by hand; a file and its ONNX graph must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import toolchain
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.inspection import Inspection, inspect_file
from toolchain.spec import TensorSpec


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    x: Sequence[int | str],
    constants: dict[str, Sequence[int]],
    domain: str = "",
) -> Path:
    """An ONNX file with one input x and one output y; constants are random numbers of these shapes."""
    random = np.random.default_rng(0)
    held = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        held,
    )
    opsets = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def both(path: Path) -> tuple[Inspection, Inspection]:
    """The graph and its .tflite file."""
    [made] = toolchain.export(path, formats=["tflite"], output=path.parent)
    return inspect_file(path), inspect_file(made.path)


def all_of(path: Path) -> dict[str, Inspection]:
    """The graph and each file made of it, by format."""
    formats = ["tflite", "coreml", "mlmodel"]
    made = toolchain.export(path, formats=formats, precisions=["fp32"], output=path.parent)
    return {"onnx": inspect_file(path)} | {one.format: inspect_file(one.path) for one in made}


def node(op: str, names: Sequence[str], **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, names, ["y"], **attributes)


@pytest.mark.parametrize(
    ("op", "constants", "x", "parameters", "macs"),
    [
        # 8 x 8 outputs of 4 channels, each from 3 channels of 3 x 3.
        (
            node("Conv", ["x", "w", "b"], pads=[1] * 4),
            {"w": (4, 3, 3, 3), "b": (4,)},
            (1, 3, 8, 8),
            112,
            6912,
        ),
        # Without a bias; TFLite stores one of zeros, which is no parameter.
        (node("Conv", ["x", "w"], pads=[1] * 4), {"w": (4, 3, 3, 3)}, (1, 3, 8, 8), 108, 6912),
        # Stride 2: 4 x 4 outputs.
        (
            node("Conv", ["x", "w"], pads=[1] * 4, strides=[2, 2]),
            {"w": (4, 3, 3, 3)},
            (1, 3, 8, 8),
            108,
            1728,
        ),
        # Depthwise with two outputs a channel: 6 channels of 6 x 6, each from 3 x 3.
        (node("Conv", ["x", "w", "b"], group=3), {"w": (6, 1, 3, 3), "b": (6,)}, (1, 3, 8, 8), 60, 1944),
        # Two groups: 6 channels of 8 x 8, each from 2 channels.
        (node("Conv", ["x", "w"], group=2), {"w": (6, 2, 1, 1)}, (1, 4, 8, 8), 12, 768),
        # One-dimensional: 4 channels of 6, each from 3 channels of 3.
        (node("Conv", ["x", "w"]), {"w": (4, 3, 3)}, (1, 3, 8), 36, 216),
        # A batch of 2.
        (node("Conv", ["x", "w"]), {"w": (4, 3, 1, 1)}, (2, 3, 8, 8), 12, 1536),
        # Transposed: each of 3 x 4 x 4 inputs meets 5 channels of 2 x 2.
        (node("ConvTranspose", ["x", "w"], strides=[2, 2]), {"w": (3, 5, 2, 2)}, (1, 3, 4, 4), 60, 960),
        (
            node("ConvTranspose", ["x", "w", "b"], strides=[2, 2]),
            {"w": (3, 5, 2, 2), "b": (5,)},
            (1, 3, 4, 4),
            65,
            960,
        ),
        # Matrix products: 2 x 7 outputs, each from 5 numbers.
        (node("Gemm", ["x", "w", "b"], transB=1), {"w": (7, 5), "b": (7,)}, (2, 5), 42, 70),
        (node("Gemm", ["x", "w"]), {"w": (5, 7)}, (2, 5), 35, 70),
        (node("Gemm", ["x", "w"], transA=1), {"w": (5, 7)}, (5, 2), 35, 70),
        (node("MatMul", ["x", "w"]), {"w": (5, 7)}, (2, 3, 5), 35, 210),
        # No product, so no multiply-adds.
        (node("Mul", ["x", "w"]), {"w": (1, 3, 1, 1)}, (1, 3, 4, 4), 3, 0),
        (node("Relu", ["x"]), {}, (1, 3, 4, 4), 0, 0),
    ],
)
def test_figures_worked_out_by_hand(
    op: onnx.NodeProto, constants: dict, x: tuple[int, ...], parameters: int, macs: int, tmp_path: Path
) -> None:
    found = all_of(write(tmp_path / "net.onnx", [op], x, constants))
    assert {name: one.parameters for name, one in found.items()} == dict.fromkeys(found, parameters)
    # The older format of Core ML does not state the shapes between its layers.
    assert {name: one.macs for name, one in found.items()} == {**dict.fromkeys(found, macs), "mlmodel": None}
    assert found.pop("onnx").refused == []
    assert {one.refused for one in found.values()} == {None}


def test_product_of_two_inputs_counts(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    found = all_of(write(tmp_path / "net.onnx", nodes, (2, 3, 5), {}))
    # 2 products of 3 x 3 outputs, each from 5 numbers.
    assert [found[name].macs for name in ("onnx", "tflite", "coreml")] == [90, 90, 90]
    assert {one.parameters for one in found.values()} == {0}


def test_folded_batch_normalization_leaves_a_bias(cnn: Path) -> None:
    found = all_of(cnn)
    # 3 x 3 x 3 weights and a bias for 4 channels; 4 weights and a bias for 5.
    assert {one.parameters for one in found.values()} == {4 * (27 + 1) + 5 * (4 + 1)}
    macs = 16 * 16 * 4 * 27 + 8 * 8 * 5 * 4
    assert [found[name].macs for name in ("onnx", "tflite", "coreml")] == [macs, macs, macs]
    assert found["onnx"].ops == {"Conv": 2, "BatchNormalization": 1, "Relu": 1, "MaxPool": 1}
    assert found["tflite"].ops == {"CONV_2D": 2, "MAX_POOL_2D": 1}
    assert found["coreml"].ops == {"conv": 2, "relu": 1, "max_pool": 1}
    assert found["mlmodel"].ops == {"convolution": 2, "activation": 1, "pooling": 1}
    assert {one.transposes for one in found.values()} == {0}


@pytest.mark.parametrize(("format_", "macs"), [("tflite", 28928), ("coreml", 28928), ("mlmodel", None)])
def test_half_precision_has_the_same_figures(
    format_: str, macs: int | None, cnn: Path, tmp_path: Path
) -> None:
    single, half = toolchain.export(cnn, formats=[format_], precisions=["fp32", "fp16"], output=tmp_path)
    first, second = inspect_file(single.path), inspect_file(half.path)
    assert (first.parameters, first.macs) == (second.parameters, second.macs) == (137, macs)


def test_packed_weights_have_the_same_figures(tmp_path: Path) -> None:
    constants = {"w": (32, 3, 3, 3), "b": (32,)}
    path = write(tmp_path / "net.onnx", [node("Conv", ["x", "w", "b"])], (1, 3, 8, 8), constants)
    packed = ["w8", "palette4", "palette6", "palette8"]
    made = toolchain.export(path, formats=["coreml"], precisions=["fp16", *packed], output=tmp_path)
    found = [inspect_file(one.path) for one in made]
    assert {one.parameters for one in found} == {32 * 28}
    assert {one.macs for one in found} == {6 * 6 * 32 * 27}
    assert all(one.bytes < found[0].bytes for one in found[1:3])


@pytest.mark.parametrize("format_", ["tflite", "coreml", "mlmodel", "onnx"])
def test_rejected_file_can_be_looked_at(format_: str, cnn: Path, tmp_path: Path) -> None:
    [made] = toolchain.export(cnn, formats=[format_], precisions=["fp32"], output=tmp_path)
    good = inspect_file(made.path)
    rejected = made.path.rename(tmp_path / f"{made.path.name}.rejected")
    assert inspect_file(rejected) == replace(good, path=rejected)


def test_transposes_are_counted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[2, 1, 0]),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    found = all_of(write(tmp_path / "net.onnx", nodes, (2, 3, 5), {}))
    assert {name: one.transposes for name, one in found.items()} == dict.fromkeys(found, 1)


def test_tensors_are_as_stored(cnn: Path) -> None:
    graph, file = both(cnn)
    assert graph.inputs == (TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),)
    assert graph.outputs == (TensorSpec("scores", (1, 5, 8, 8), layout="NCHW"),)
    assert file.inputs == (TensorSpec("image", (1, 16, 16, 3)),)
    assert file.outputs == (TensorSpec("scores", (1, 8, 8, 5)),)
    assert file.bytes == file.path.stat().st_size


@pytest.mark.parametrize("format_", ["coreml", "mlmodel"])
def test_tensors_of_core_ml_are_as_stored(format_: str, cnn: Path, tmp_path: Path) -> None:
    [made] = toolchain.export(cnn, formats=[format_], precisions=["fp32"], output=tmp_path)
    found = inspect_file(made.path)
    assert found.inputs == (TensorSpec("image", (1, 3, 16, 16)),)
    assert found.outputs == (TensorSpec("scores", (1, 5, 8, 8)),)
    assert found.bytes == made.bytes


def test_refused_nodes_are_a_table(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="determinant"),
        helper.make_node("Relu", ["a"], ["y"], name="fine"),
    ]
    found = inspect_file(write(tmp_path / "odd.onnx", nodes, (1, 3, 4, 4), {}))
    assert found.refused is not None
    [(op, count, first, reason, hint)] = found.refused
    assert (op, count, first) == ("Det", 1, "determinant")
    assert reason
    assert hint
    assert found.macs == 0


def test_quantized_graph_has_the_figures_of_its_float_one(cnn: Path, tmp_path: Path) -> None:
    shape = inspect_file(cnn).inputs[0].shape
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(0).standard_normal((40, *shape[1:])).astype(np.float32))
    [made] = toolchain.export(cnn, formats=["onnx"], precisions=["int8"], calibration=data, output=tmp_path)
    plain, found = inspect_file(cnn), inspect_file(made.path)
    assert found.refused == []
    assert (found.parameters, found.macs) == (plain.parameters, plain.macs)


def test_unknown_operator_leaves_the_multiply_adds_unknown(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mine", ["x"], ["a"], name="mine", domain="com.example"),
        helper.make_node("Conv", ["a", "w"], ["y"], name="after"),
    ]
    path = write(tmp_path / "odd.onnx", nodes, (1, 3, 4, 4), {"w": (5, 3, 1, 1)}, "com.example")
    found = inspect_file(path)
    assert found.macs is None
    assert found.parameters == 15
    assert found.refused is not None
    assert [row[0] for row in found.refused] == ["com.example::Mine"]


def test_dynamic_input_needs_a_shape(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", [node("Conv", ["x", "w"])], ("n", 3, "h", "w"), {"w": (4, 3, 1, 1)})
    with pytest.raises(UsageError, match="dynamic shape"):
        inspect_file(path)
    assert inspect_file(path, (1, 3, 5, 6)).macs == 5 * 6 * 4 * 3


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("none.tflite", None, UsageError, "no file"),
        ("none.mlpackage", None, UsageError, "no file"),
        ("net.pt", b"x", UsageError, "no model file of a known format"),
        ("net.rejected", b"x", UsageError, "no model file of a known format"),
        ("net.tflite", b"", UnsupportedError, "not a .tflite file"),
        ("net.tflite", b"\0\0\0\0TFL3", UnsupportedError, "damaged"),
        ("net.onnx", b"hello", UnsupportedError, "not an ONNX file"),
        ("net.mlmodel", b"", UnsupportedError, "holds no Core ML"),
        ("net.mlmodel", b"hello", UnsupportedError, "holds no Core ML"),
        ("net.mlpackage", b"hello", UsageError, "a .mlpackage is a folder"),
        ("net.mlmodelc", b"hello", UsageError, "compiled model"),
    ],
)
def test_what_cannot_be_inspected_is_named(
    name: str, content: bytes | None, kind: type, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=message) as caught:
        inspect_file(tmp_path / name)
    assert name in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("folder", UsageError, "no model file of a known format"),
        ("net.tflite", UsageError, "no file"),
        ("net.onnx", UsageError, "no file|folder"),
        ("net.mlpackage", UnsupportedError, r"no readable Manifest\.json"),
    ],
)
def test_folder_is_no_model(name: str, kind: type[ToolchainError], message: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(kind, match=message) as caught:
        inspect_file(tmp_path / name)
    assert name in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("format_", ["tflite", "coreml", "mlmodel"])
def test_shape_for_another_file_than_onnx_is_refused(format_: str, cnn: Path, tmp_path: Path) -> None:
    [made] = toolchain.export(cnn, formats=[format_], precisions=["fp32"], output=tmp_path)
    with pytest.raises(UsageError, match="is for ONNX files"):
        inspect_file(made.path, (1, 3, 4, 4))
