"""Every format: what it writes is what it says, and the contract travels inside the file."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from coremltools.models import MLModel
from torch import nn

from toolchain.converters.quantize.calibrate import calibrate
from toolchain.converters.quantize.place import place_pairs
from toolchain.converters.tflite.reader import read_tflite
from toolchain.errors import UsageError
from toolchain.export import clean_graph
from toolchain.publish import sha256_of
from toolchain.quantize import ACTIVATIONS
from toolchain.runtimes import load
from toolchain.source import Source
from toolchain.spec import ModelSpec, Preprocess, TensorSpec
from toolchain.targets import METADATA_NAME, TARGETS, WriteOptions, Written, contract

SPEC = ModelSpec(
    "net é",
    "segmentation",
    (TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),),
    (TensorSpec("scores", (1, 5, 8, 8), layout="NCHW"),),
    Preprocess(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), resize="area"),
    ("a", "b", "c", "d", "ß"),
    ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3), (255, 4, 4)),
)
CASES = [
    (name, WriteOptions(precision, layout))
    for name in TARGETS
    for precision in TARGETS.get(name).precisions
    for layout in (("nhwc", "nchw") if name == "tflite" else ("nhwc",))
]
KINDS = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{name}-{o.precision}-{o.layout}" for name, o in CASES]
)


@pytest.fixture(scope="module")
def graph() -> ir.Model:
    """Conv, ReLU, pool, Conv; wide enough for every kind of compressed weights to be smaller."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 5, 1))
    return clean_graph(Source(SPEC, nn.Sequential(*layers).eval()))


def write(name: str, options: WriteOptions, graph: ir.Model, folder: Path) -> tuple[Path, Written]:
    target = TARGETS.get(name)
    path = folder / f"net{target.suffix}"
    return path, target.write(made_for(options.precision, graph), options, path, SPEC)


def made_for(precision: str, graph: ir.Model) -> ir.Model:
    """A copy of the graph, with pairs for a file of integers."""
    made = graph.clone()
    if precision in ACTIVATIONS:
        random = np.random.default_rng(0)
        samples = [{"image": random.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]
        place_pairs(made, calibrate(made, samples).ranges, activations=ACTIVATIONS[precision])
    return made


@KINDS
def test_file_is_what_the_writer_says(
    name: str, options: WriteOptions, graph: ir.Model, tmp_path: Path
) -> None:
    path, written = write(name, options, graph, tmp_path)
    with load(path) as runtime:
        for stated, found in ((written.inputs, runtime.inputs), (written.outputs, runtime.outputs)):
            assert [(t.name, t.shape, t.dtype, t.image) for t in stated] == [
                (t.name, t.shape, t.dtype, t.image) for t in found
            ]
    picture, scores = written.inputs[0], written.outputs[0]
    last = name == "tflite" and options.layout == "nhwc"
    image = name in ("coreml", "mlmodel")
    assert picture.shape == ((1, 16, 16, 3) if last or image else (1, 3, 16, 16))
    assert picture.layout == ("NHWC" if last or image else "NCHW")
    assert (picture.dtype, picture.image) == (("uint8", "RGB") if image else ("float32", ""))
    assert scores.layout == ("NHWC" if last else "NCHW")
    assert scores.shape == ((1, 8, 8, 5) if last else (1, 5, 8, 8))


def contract_inside(name: str, path: Path) -> str:
    if name == "tflite":
        return read_tflite(path.read_bytes(), "x").metadata[METADATA_NAME].decode()
    if name == "onnx":
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}[METADATA_NAME]
    return MLModel(str(path), skip_model_load=True).user_defined_metadata[METADATA_NAME]


@KINDS
def test_contract_is_inside_the_file(
    name: str, options: WriteOptions, graph: ir.Model, tmp_path: Path
) -> None:
    path, written = write(name, options, graph, tmp_path)
    inside = json.loads(contract_inside(name, path))
    assert inside == json.loads(json.dumps(contract(SPEC, written.inputs, written.outputs)))
    assert inside["name"] == "net é"
    assert inside["labels"][-1] == "ß"
    assert inside["preprocessing"] == json.loads(json.dumps(asdict(SPEC.preprocess)))
    assert inside["inputs"][0]["shape"] == list(written.inputs[0].shape)


@KINDS
def test_same_network_gives_the_same_file(
    name: str, options: WriteOptions, graph: ir.Model, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first, second = (write(name, options, graph, tmp_path / folder)[0] for folder in ("a", "b"))
    assert sha256_of(first) == sha256_of(second)


def test_operators_are_counted(graph: ir.Model, tmp_path: Path) -> None:
    path, written = write("onnx", WriteOptions("fp32"), graph, tmp_path)
    assert written.ops == dict(Counter(node.op_type for node in onnx.load(path).graph.node))
    path, written = write("tflite", WriteOptions("fp32"), graph, tmp_path)
    assert written.ops == read_tflite(path.read_bytes(), "x").histogram() == {"CONV_2D": 2, "MAX_POOL_2D": 1}
    _, written = write("coreml", WriteOptions("fp32"), graph, tmp_path)
    # The picture is normalized inside.
    assert {"conv": 2, "relu": 1, "max_pool": 1}.items() <= written.ops.items()
    _, written = write("mlmodel", WriteOptions("fp32"), graph, tmp_path)
    assert {"convolution": 2, "pooling": 1}.items() <= written.ops.items()


def test_default_precision_is_one_that_can_be_written() -> None:
    for name in TARGETS:
        target = TARGETS.get(name)
        assert target.name == name
        assert target.default in target.precisions
        assert target.suffix.startswith(".")


def test_unknown_format_is_named() -> None:
    with pytest.raises(UsageError, match="unknown format 'tflit'") as caught:
        TARGETS.get("tflit")
    assert "tflite" in caught.value.hint
