"""`toolchain export` to Core ML as typed: defaults, iOS versions, what is missing, what stays quiet."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from coremltools.models import MLModel

import toolchain
from toolchain.cli import run
from toolchain.spec import load_sidecar

NATIVE = "coremltools.libmilstoragepython"
NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 5, 1))
"""


@pytest.fixture
def net(tmp_path: Path) -> list[str]:
    """`export NET` with its shape and its output folder `out`; weights are large enough to be packed."""
    (tmp_path / "net.py").write_text(NET)
    return ["export", f"{tmp_path / 'net.py'}:make", "--input-shape", "1,3,8,8", "-o", str(tmp_path / "out")]


@pytest.fixture
def cnn_to(cnn: Path, tmp_path: Path) -> list[str]:
    """The same with an ONNX file, which needs no torch.onnx.export."""
    return ["export", str(cnn), "-o", str(tmp_path / "out")]


def test_default_is_both_phones_from_one_graph_in_one_table(net: list[str], tmp_path: Path, capsys) -> None:
    assert run(net) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    made = {"make-fp32.tflite", "make-fp16.mlpackage"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == made | {f"{name}.json" for name in made}
    header, *rows, compared = captured.out.splitlines()
    assert header.split() == [
        "file",
        "run",
        "by",
        "kB",
        "ops",
        "transposes",
        "SQNR",
        "dB",
        "max",
        "abs",
        "agreement",
    ]
    assert [row.split("  ")[0] for row in rows] == [
        "the network",
        "its ONNX graph",
        str(tmp_path / "out" / "make-fp32.tflite"),
        str(tmp_path / "out" / "make-fp16.mlpackage"),
    ]
    for row, runtime in zip(rows, ("PyTorch", "ONNX Runtime", "LiteRT", "Core ML reference"), strict=True):
        assert f"  {runtime}  " in row
    assert compared == "compared with torch on 4 synthetic samples, after loading from disk"
    for name, least in (("make-fp32.tflite", 100), ("make-fp16.mlpackage", 50)):
        parity = load_sidecar(tmp_path / "out" / name).parity
        assert parity is not None
        assert parity.sqnr_db >= least
        [row] = [row for row in rows if name in row]
        assert f"{parity.sqnr_db:.1f}" in row.split()


def test_json_has_a_row_for_each_file(net: list[str], capsys) -> None:
    assert (
        run([*net, "-f", "coreml", "-p", "fp32", "-p", "fp16", "-p", "w8", "-p", "palette8", "--json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert [row["precision"] for row in rows] == ["fp32", "fp16", "w8", "palette8"]
    assert {row["format"] for row in rows} == {"coreml"}
    single, half, linear, _ = (row["bytes"] for row in rows)
    assert linear < half < single


@pytest.mark.parametrize(
    ("flags", "name", "version", "note"),
    [
        (["-f", "coreml"], "cnn-fp16.mlpackage", 6, ""),
        (["-f", "coreml", "--ios", "15"], "cnn-fp16.mlpackage", 6, ""),
        (["-f", "coreml", "--ios", "16"], "cnn-fp16.mlpackage", 7, ""),
        (["-f", "coreml", "--ios", "17"], "cnn-fp16.mlpackage", 8, ""),
        (["-f", "coreml", "--ios", "18", "-p", "fp32"], "cnn-fp32.mlpackage", 9, ""),
        (["-f", "mlmodel"], "cnn-fp32.mlmodel", 4, ""),
        (["-f", "mlmodel", "--ios", "17"], "cnn-fp32.mlmodel", 4, ""),
    ],
)
def test_ios_decides_the_specification(
    flags: list[str], name: str, version: int, note: str, cnn_to: list[str], tmp_path: Path, capsys
) -> None:
    assert run([*cnn_to, *flags]) == 0
    model = MLModel(str(tmp_path / "out" / name), skip_model_load=True)
    # Specification 4 is iOS 13, 6 is iOS 15, and so on.
    assert model.get_spec().specificationVersion == version
    assert capsys.readouterr().err == note


@pytest.mark.parametrize("precision", ["w8", "palette4", "palette6", "palette8"])
def test_packed_weights_raise_the_ios_version_with_a_note(
    precision: str, net: list[str], tmp_path: Path, capsys
) -> None:
    assert run([*net, "-f", "coreml", "-p", precision]) == 0
    assert capsys.readouterr().err == (
        f"note: precision '{precision}' needs iOS 16: the file does not run on older ones\n"
    )
    model = MLModel(str(tmp_path / "out" / f"make-{precision}.mlpackage"), skip_model_load=True)
    assert model.get_spec().specificationVersion == 7


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        (["-f", "coreml", "--ios", "15", "-p", "w8"], "precision 'w8' needs iOS 16, not 15", "--ios 16"),
        (["-f", "coreml", "--ios", "15", "-p", "palette4"], "needs iOS 16, not 15", "-p fp16"),
        (["-f", "coreml", "--ios", "14"], "unknown iOS version 14", "15, 16, 17, 18"),
        (["-f", "coreml", "--ios", "99"], "unknown iOS version 99", "15, 16, 17, 18"),
        (["--ios", "14"], "unknown iOS version 14", "-f mlmodel run on iOS 13"),
        (["-f", "mlmodel", "--ios", "12"], "unknown iOS version 12", "iOS 13 and later"),
        (["-f", "tflite", "--ios", "16"], "--ios is for Core ML files", "-f coreml or -f mlmodel"),
        (["-f", "coreml", "--layout", "nwhc"], "unknown layout 'nwhc'", "nhwc or nchw"),
        (["-p", "palette4"], "format 'tflite' cannot have precision 'palette4'", "exists for -f coreml"),
        (["-f", "onnx", "-p", "fp16"], "format 'onnx' cannot have", "-f coreml and -f mlmodel and -f tflite"),
        (
            ["-f", "mlmodel", "-p", "palette4"],
            "format 'mlmodel' cannot have",
            "'palette4' exists for -f coreml",
        ),
        (
            ["-f", "coreml", "-p", "int4"],
            "format 'coreml' cannot have precision 'int4'",
            "use fp32, fp16, w8",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_known_before_any_work(
    flags: list[str],
    message: str,
    hint: str,
    cnn_to: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
) -> None:
    forbid_work(monkeypatch)
    assert run([*cnn_to, *flags]) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """As if the module were not installed."""
    find = importlib.import_module

    def missing(name: str, package: str | None = None) -> ModuleType:
        if name == module:
            raise ModuleNotFoundError(f"No module named '{name}'")
        return find(name, package)

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(importlib, "import_module", missing)


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_source: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr("toolchain.export.clean_graph", fail)


@pytest.mark.parametrize(
    "flags", [[], ["-f", "coreml"], ["-f", "mlmodel"], ["-f", "tflite", "-f", "mlmodel"]]
)
@pytest.mark.parametrize("missing", [NATIVE, "coremltools"])
def test_missing_native_library_is_known_before_any_work(
    missing: str,
    flags: list[str],
    cnn_to: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
) -> None:
    # Packages for Windows lack the library.
    hide(monkeypatch, missing)
    forbid_work(monkeypatch)
    assert run([*cnn_to, *flags]) == 6
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith("error: writing Core ML files needs coremltools")
    assert ("native storage library" in first) == (missing == NATIVE)
    assert second.startswith("hint: ")
    assert "-f tflite" in second
    assert not (tmp_path / "out").exists()


def test_without_the_native_library_all_else_works(
    cnn: Path, cnn_to: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert run([*cnn_to, "-p", "fp32"]) == 0
    package = str(tmp_path / "out" / "cnn-fp32.mlpackage")
    hide(monkeypatch, NATIVE)
    assert run([*cnn_to, "-f", "tflite"]) == 0
    assert run(["verify", package, "--against", str(cnn)]) == 0
    assert run(["inspect", package]) == 0
    assert [tensor.name for tensor in toolchain.load(package).outputs] == ["scores"]
    assert capsys.readouterr().err == ""


def left(temporary: Path) -> list[Path]:
    """What Python's tempfile made and nobody removed; torch and ONNX Runtime keep other things there."""
    return list(temporary.glob("tmp*"))


@pytest.mark.parametrize("flags", [[], ["-f", "mlmodel", "-f", "coreml", "-p", "fp32", "-p", "fp16"]])
def test_whole_process_prints_its_json_and_nothing_else(
    flags: list[str], net: list[str], tmp_path: Path
) -> None:
    """coremltools logs while it is imported, draws bars and leaves temporary folders."""
    (tmp_path / "temporary").mkdir()
    code = "from toolchain.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *net, *flags, "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == max(2, len(flags) // 2)
    assert left(tmp_path / "temporary") == []
