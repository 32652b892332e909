"""Every format: what it writes is what it says, and the contract travels inside the file."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import onnx
import pytest

from toolchain.converters.tflite.reader import read_tflite
from toolchain.errors import UsageError
from toolchain.export import clean_graph
from toolchain.runtimes import load
from toolchain.source import resolve
from toolchain.spec import ModelSpec, Preprocess, TensorSpec
from toolchain.targets import METADATA_NAME, TARGETS, Written, contract

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
    (name, precision, layout)
    for name in TARGETS
    for precision in TARGETS.get(name).precisions
    for layout in (("nhwc", "nchw") if name == "tflite" else ("nhwc",))
]


def write(name: str, precision: str, layout: str, cnn: Path, folder: Path) -> tuple[Path, Written]:
    target = TARGETS.get(name)
    path = folder / f"net{target.suffix}"
    return path, target.write(clean_graph(resolve(cnn)), precision, layout, path, SPEC)


@pytest.mark.parametrize(("name", "precision", "layout"), CASES)
def test_file_is_what_the_writer_says(
    name: str, precision: str, layout: str, cnn: Path, tmp_path: Path
) -> None:
    path, written = write(name, precision, layout, cnn, tmp_path)
    with load(path) as runtime:
        for stated, found in ((written.inputs, runtime.inputs), (written.outputs, runtime.outputs)):
            assert [(t.name, t.shape, t.dtype) for t in stated] == [(t.name, t.shape, t.dtype) for t in found]
    last = name == "tflite" and layout == "nhwc"
    assert written.inputs[0].shape == ((1, 16, 16, 3) if last else (1, 3, 16, 16))
    assert written.inputs[0].layout == ("NHWC" if last else "NCHW")
    assert written.outputs[0].layout == ("NHWC" if last else "NCHW")


@pytest.mark.parametrize(("name", "precision", "layout"), CASES)
def test_contract_is_inside_the_file(
    name: str, precision: str, layout: str, cnn: Path, tmp_path: Path
) -> None:
    path, written = write(name, precision, layout, cnn, tmp_path)
    if name == "tflite":
        text = read_tflite(path.read_bytes(), "x").metadata[METADATA_NAME].decode()
    else:
        [text] = [entry.value for entry in onnx.load(path).metadata_props if entry.key == METADATA_NAME]
    inside = json.loads(text)
    assert inside == json.loads(json.dumps(contract(SPEC, written.inputs, written.outputs)))
    assert inside["name"] == "net é"
    assert inside["labels"][-1] == "ß"
    assert inside["preprocessing"] == json.loads(json.dumps(asdict(SPEC.preprocess)))
    assert inside["inputs"][0]["shape"] == list(written.inputs[0].shape)


def test_operators_are_counted(cnn: Path, tmp_path: Path) -> None:
    path, written = write("onnx", "fp32", "nhwc", cnn, tmp_path)
    assert written.ops == dict(Counter(node.op_type for node in onnx.load(path).graph.node))
    path, written = write("tflite", "fp32", "nhwc", cnn, tmp_path)
    assert written.ops == read_tflite(path.read_bytes(), "x").histogram() == {"CONV_2D": 2, "MAX_POOL_2D": 1}


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
