"""A file's precision is found from the file alone, for ours and for those of other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from torch import nn

from toolchain.converters.quantize.calibrate import calibrate
from toolchain.converters.quantize.place import place_pairs
from toolchain.export import clean_graph
from toolchain.quantize import ACTIVATIONS
from toolchain.source import Source
from toolchain.spec import ModelSpec, TensorSpec
from toolchain.stored_precision import stored_precision
from toolchain.targets import TARGETS, WriteOptions

SHAPE = (1, 3, 16, 16)
SPEC = ModelSpec("net", "generic", (TensorSpec("image", SHAPE),), (TensorSpec("scores", (1, 5, 8, 8)),))
CASES = [
    (name, WriteOptions(precision, ios=ios))
    for name in TARGETS
    for precision in TARGETS.get(name).precisions
    for ios in ((None, 18) if name == "coreml" else (None,))
]


@pytest.fixture(scope="module")
def graph() -> ir.Model:
    """Wide enough for every kind of compressed weights to be smaller."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 5, 1))
    return clean_graph(Source(SPEC, nn.Sequential(*layers).eval()))


def pictures(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [{"image": random.standard_normal(SHAPE).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{name}-{o.precision}-{o.ios or ''}" for name, o in CASES]
)
def test_every_precision_that_is_written_is_found(
    name: str, options: WriteOptions, graph: ir.Model, tmp_path: Path
) -> None:
    made = graph.clone()
    if options.precision in ACTIVATIONS:
        found = calibrate(made, pictures(4)).ranges
        place_pairs(made, found, activations=ACTIVATIONS[options.precision])
    path = tmp_path / f"net{TARGETS.get(name).suffix}"
    TARGETS.get(name).write(made, options, path, SPEC)
    assert stored_precision(path).name == options.precision


@pytest.fixture
def plain(graph: ir.Model, tmp_path: Path) -> Path:
    path = tmp_path / "plain.onnx"
    onnx.save(ir.serde.serialize_model(graph), path)
    return path


class Reader(quantization.CalibrationDataReader):
    """Four pictures."""

    def __init__(self) -> None:
        self.samples = iter(pictures(4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.samples, None)


@pytest.mark.parametrize(
    ("form", "kind", "precision"),
    [
        ("QDQ", "QInt8", "int8"),
        ("QDQ", "QUInt8", "int8"),
        ("QDQ", "QInt16", "int16x8"),
        ("QOperator", "QUInt8", "int8"),
    ],
)
def test_onnx_runtimes_static_quantizer(
    form: str, kind: str, precision: str, plain: Path, tmp_path: Path
) -> None:
    path = tmp_path / "quantized.onnx"
    quantization.quantize_static(
        str(plain),
        str(path),
        Reader(),
        quant_format=getattr(quantization.QuantFormat, form),
        activation_type=getattr(quantization.QuantType, kind),
        weight_type=quantization.QuantType.QInt8,
        extra_options={"UseQDQContribOps": kind == "QInt16"},
    )
    assert stored_precision(path).name == precision


def test_onnx_runtimes_dynamic_quantizer(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    quantization.quantize_dynamic(str(plain), str(path), weight_type=quantization.QuantType.QUInt8)
    assert stored_precision(path).name == "w8"


def weighted(weights: onnx.TensorProto, *before: onnx.NodeProto) -> onnx.ModelProto:
    """A product with weights that other nodes may unpack."""
    used = before[-1].output[0] if before else weights.name
    kind = weights.data_type if not before else TensorProto.FLOAT
    graph = helper.make_graph(
        [*before, helper.make_node("MatMul", ["x", used], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, [2, 4])],
        [helper.make_tensor_value_info("y", kind, [2, 4])],
        [weights, numpy_helper.from_array(np.float32(0.1), "s")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    ("dtype", "unpacked", "precision", "found"),
    [
        (TensorProto.FLOAT16, False, "fp16", "1 value stored as floats of 16 bits"),
        (TensorProto.FLOAT, False, "fp32", "weights and activations stored as float32"),
        (TensorProto.INT8, True, "w8", "1 value stored as integers of 8 bits"),
        (TensorProto.INT4, True, "w4", "1 value stored as integers of 4 bits"),
    ],
)
def test_weights_of_onnx_files(
    dtype: int, unpacked: bool, precision: str, found: str, tmp_path: Path
) -> None:
    weights = helper.make_tensor("w", dtype, [4, 4], [1] * 16)
    before = [helper.make_node("DequantizeLinear", ["w", "s"], ["wf"])] if unpacked else []
    path = tmp_path / "net.onnx"
    onnx.save(weighted(weights, *before), path)
    stored = stored_precision(path)
    assert (stored.name, stored.found) == (precision, found)


def test_pixels_and_labels_are_no_activations(tmp_path: Path) -> None:
    """Integers without a scale: a camera's picture goes in, labels come out, floats are between them."""

    class Labels(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return (image.to(torch.float32) * 0.5).argmax(1).to(torch.int8)

    spec = ModelSpec(
        "labels",
        "generic",
        (TensorSpec("image", SHAPE, "uint8"),),
        (TensorSpec("labels", (1, 16, 16), "int8"),),
    )
    path = tmp_path / "net.tflite"
    TARGETS.get("tflite").write(clean_graph(Source(spec, Labels())), WriteOptions("fp32"), path, spec)
    assert stored_precision(path).name == "fp32"
