"""`toolchain export -f tflite -p w8`: int8 weights, float activations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from toolchain.cli import run
from toolchain.export import clean_graph
from toolchain.parity import compare, failures
from toolchain.runtimes import load
from toolchain.samples import samples
from toolchain.source import resolve
from toolchain.spec import load_sidecar
from toolchain.targets import TARGETS, WriteOptions
from toolchain.verify import reference_of, run_file

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    wide = nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 32, 1)
    return nn.Sequential(*wide, nn.MaxPool2d(2), nn.Conv2d(32, 5, 1))
"""


@pytest.fixture
def net(tmp_path: Path) -> list[str]:
    """`export NET` with its shape and its output folder `out`."""
    (tmp_path / "net.py").write_text(NET)
    shape = ["--input-shape", "1,3,16,16", "-o", str(tmp_path / "out")]
    return ["export", f"{tmp_path / 'net.py'}:make", *shape, "-f", "tflite"]


def test_table_says_what_rounds_and_what_does_not(net: list[str], tmp_path: Path, capsys) -> None:
    assert run([*net, "-p", "w8"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = [line.split(maxsplit=4) for line in captured.out.splitlines() if line.startswith(("CONV", "MAX"))]
    assert sorted((row[0], row[1], row[4].strip()) for row in rows) == [
        ("CONV_2D", "1", "float weights: fewer than 256 are not worth their scales"),
        ("CONV_2D", "1", "int8 weights; rounds its activations to 8 bits as it runs"),
        ("CONV_2D", "2", "int8 weights, expanded to floats once, when the file is loaded"),
        ("MAX_POOL_2D", "1", "no weights"),
    ]
    assert "integer ops: 0 (none)" in captured.out
    sidecar = load_sidecar(tmp_path / "out" / "make-w8.tflite")
    assert sidecar.precision == "w8"
    assert {(t.dtype, t.scale) for t in (*sidecar.inputs, *sidecar.outputs)} == {("float32", None)}
    assert sidecar.parity is not None
    assert 30 <= sidecar.parity.sqnr_db <= 60


def test_json_counts_what_is_stored(net: list[str], tmp_path: Path, capsys) -> None:
    assert run([*net, "-p", "w8", "-p", "fp32", "--json"]) == 0
    packed, single = json.loads(capsys.readouterr().out)
    assert (packed["precision"], single["precision"]) == ("w8", "fp32")
    assert packed["integer"]["quantized_bytes"] == 27 * 32 + 9 * 32 * 64 + 64 * 32
    assert packed["integer"]["total_bytes"] == packed["bytes"]
    assert packed["integer"]["integer_ops"] == {}
    assert packed["integer"]["conversions"] == {"DEQUANTIZE": packed["ops"]["DEQUANTIZE"]}
    assert sum(op["op"] == "CONV_2D" for op in packed["integer"]["float_ops"]) == 4
    assert packed["bytes"] <= 0.35 * single["bytes"]


def test_network_without_large_weights_is_refused(cnn: Path, tmp_path: Path, capsys) -> None:
    assert run(["export", str(cnn), "-f", "tflite", "-p", "w8", "-o", str(tmp_path / "out")]) == 3
    shown = capsys.readouterr().err
    assert "no weight that gets smaller as 'w8'" in shown
    assert "\nhint: export with -p fp16 or -p fp32" in shown
    assert not (tmp_path / "out").exists()


def test_trained_face_parser_keeps_its_labels(tmp_path: Path, capsys) -> None:
    name = ["mobile-hourglass", "--input-shape", "1,3,64,64"]
    assert run(["export", *name, "-f", "tflite", "-p", "w8", "-o", str(tmp_path)]) == 0
    path = tmp_path / "mobile-hourglass-w8.tflite"
    sidecar = load_sidecar(path)
    assert sidecar.parity is not None
    assert sidecar.parity.agreement is not None
    assert sidecar.parity.agreement >= 0.99
    assert sidecar.preprocess is not None
    capsys.readouterr()
    assert run(["verify", str(path), "--against", *name, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["precision"] == "w8"
    assert row["parity"] == sidecar.parity.as_json()


@pytest.mark.parametrize(("name", "share"), [("lenet", 0.26), ("vgg11", 0.26), ("mobilenetv2", 0.27)])
def test_size_of_classifiers(name: str, share: float, tmp_path: Path) -> None:
    source = resolve(name)
    graph, target = clean_graph(source), TARGETS.get("tflite")
    path = tmp_path / "net.tflite"
    target.write(graph.clone(), WriteOptions("fp32"), path, source.spec)
    single = path.stat().st_size
    target.write(graph, WriteOptions("w8"), path, source.spec)
    assert path.stat().st_size <= share * single


def test_noise_of_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = resolve("lenet")
    path = tmp_path / "net.tflite"
    written = TARGETS.get("tflite").write(clean_graph(source), WriteOptions("w8"), path, source.spec)
    inputs, origin = samples(source.spec, None, 8)
    with load(path) as runtime, reference_of(source) as reference:
        found = [run_file(runtime, sample, source.spec, written.inputs, written.outputs) for sample in inputs]
        expected = [reference.run(sample) for sample in inputs]
    parity = compare(expected, found, source.spec.task, "torch", origin)
    assert parity.sqnr_db >= 30
    assert failures(parity, "w8", source.spec) == []
