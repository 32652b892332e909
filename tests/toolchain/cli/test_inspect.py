"""`toolchain inspect`: what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from toolchain.cli import run
from toolchain.spec import load_sidecar


@pytest.fixture
def tflite(cnn: Path, tmp_path: Path, capsys) -> Path:
    assert run(["export", str(cnn), "-f", "tflite", "-o", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path / "cnn-fp32.tflite"


def test_text_of_a_tflite_file(tflite: Path, capsys) -> None:
    assert run(["inspect", str(tflite)]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert f"{tflite}: tflite, {tflite.stat().st_size / 1000:.0f} kB" in shown
    assert "137 parameters, 0.0 million multiply-adds" in shown
    assert ["input", "image", "1x16x16x3", "float32"] in lines
    assert ["output", "scores", "1x8x8x5", "float32"] in lines
    assert ["CONV_2D", "2"] in lines
    assert "transposes: 0" in shown


def test_json_of_a_tflite_file(tflite: Path, capsys) -> None:
    assert run(["inspect", str(tflite), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": str(tflite),
        "format": "tflite",
        "bytes": tflite.stat().st_size,
        "inputs": [{"name": "image", "shape": [1, 16, 16, 3], "dtype": "float32"}],
        "outputs": [{"name": "scores", "shape": [1, 8, 8, 5], "dtype": "float32"}],
        "ops": {"CONV_2D": 2, "MAX_POOL_2D": 1},
        "parameters": 137,
        "macs": 28928,
        "transposes": 0,
        "refused": None,
    }


@pytest.mark.parametrize(
    ("format_", "suffix", "ops", "macs"),
    [
        ("coreml", ".mlpackage", {"conv": 2, "relu": 1, "max_pool": 1}, 28928),
        ("mlmodel", ".mlmodel", {"convolution": 2, "activation": 1, "pooling": 1}, None),
    ],
)
def test_json_of_a_core_ml_file(
    format_: str, suffix: str, ops: dict, macs: int | None, cnn: Path, tmp_path: Path, capsys
) -> None:
    assert run(["export", str(cnn), "-f", format_, "-p", "fp32", "-o", str(tmp_path)]) == 0
    capsys.readouterr()
    path = tmp_path / f"cnn-fp32{suffix}"
    assert run(["inspect", str(path), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "path": str(path),
        "format": format_,
        "bytes": load_sidecar(path).bytes,
        "inputs": [{"name": "image", "shape": [1, 3, 16, 16], "dtype": "float32"}],
        "outputs": [{"name": "scores", "shape": [1, 5, 8, 8], "dtype": "float32"}],
        "ops": ops,
        "parameters": 137,
        "macs": macs,
        "transposes": 0,
        "refused": None,
    }
    assert captured.err == ""
    assert run(["inspect", str(path)]) == 0
    assert "137 parameters, " in capsys.readouterr().out


def test_onnx_file_says_that_all_can_be_lowered(cnn: Path, capsys) -> None:
    assert run(["inspect", str(cnn)]) == 0
    shown = capsys.readouterr().out
    assert "everything can be lowered to TFLite" in shown
    assert ["output", "scores", "1x5x8x8", "float32"] in [line.split() for line in shown.splitlines()]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Two operators that TFLite does not have, and one unknown to ONNX."""
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="one"),
        helper.make_node("Det", ["x"], ["b"], name="two"),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Mine", ["c"], ["y"], name="[bold]mine", domain="com.example"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "odd.onnx")
    return tmp_path / "odd.onnx"


def test_refusals_are_a_table_and_no_failure(odd: Path, capsys) -> None:
    assert run(["inspect", str(odd)]) == 0
    captured = capsys.readouterr()
    assert "what --format tflite would refuse" in captured.out
    rows = [line.split() for line in captured.out.splitlines()]
    assert any(row[:3] == ["Det", "2", "one"] for row in rows)
    assert any(row[:3] == ["com.example::Mine", "1", "[bold]mine"] for row in rows)
    assert captured.err == ""


def test_refusals_as_json(odd: Path, capsys) -> None:
    assert run(["inspect", str(odd), "--json"]) == 0
    refused = json.loads(capsys.readouterr().out)["refused"]
    assert {(row["op"], row["count"], row["first_node"]) for row in refused} == {
        ("Det", 2, "one"),
        ("com.example::Mine", 1, "[bold]mine"),
    }
    assert all(row["reason"] and row["hint"] for row in refused)


@pytest.mark.parametrize("as_json", [True, False])
def test_damaged_file_is_one_error(as_json: bool, tflite: Path, capsys) -> None:
    tflite.write_bytes(tflite.read_bytes()[:-300])
    assert run(["inspect", str(tflite), *(["--json"] if as_json else [])]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: '{tflite}' is a damaged .tflite file")
    assert "\nhint: " in captured.err
