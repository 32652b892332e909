"""`toolchain verify --layers`: the table, its CSV, JSON and node data."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from toolchain.cli import run
from toolchain.converters.tflite import convert
from toolchain.export import clean_graph
from toolchain.quantize import QuantizeOptions, quantized_graph
from toolchain.source import resolve


@pytest.fixture
def int8(cnn: Path, tmp_path: Path) -> Path:
    pictures = np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "data.npz", image=pictures)
    source = resolve(cnn)
    options = QuantizeOptions(calibration=tmp_path / "data.npz", equalize=False)
    path = tmp_path / "cnn.tflite"
    path.write_bytes(convert(quantized_graph(source, clean_graph(source), "int8", options), "int8").data)
    return path


def verify(int8: Path, *more: str) -> int:
    folder = int8.parent
    files = ["--against", str(folder / "cnn.onnx"), "--calibration", str(folder / "data.npz")]
    return run(["verify", str(int8), *files, *more])


def test_table(int8: Path, capsys) -> None:
    assert verify(int8, "--layers") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["layer", "op", "SQNR", "dB", "own", "dB", "range"] in [line[:7] for line in lines]
    rows = {line[0]: line for line in lines if line[-2:] == ["int8", "name"]}
    assert set(rows) == {"image", "r1", "p1", "scores"}
    assert rows["p1"][1:4:2] == ["MAX_POOL_2D", "inf"]
    assert float(rows["scores"][2]) > 25
    assert "by the noise that each adds itself (own dB), on 8" in " ".join(" ".join(line) for line in lines)


def test_files(int8: Path, capsys, tmp_path: Path) -> None:
    table, shown = tmp_path / "layers.csv", tmp_path / "layers.json"
    more = ["--layers", "--csv", str(table), "--explorer", str(shown), "--json"]
    assert verify(int8, *more) == 0
    layers = json.loads(capsys.readouterr().out)[0]["layers"]
    assert (layers["samples"], layers["unmatched"]) == (8, [])
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["tensor"] for row in rows] == [layer["tensor"] for layer in layers["layers"]]
    assert [float(row["sqnr_db"]) for row in rows] == [layer["sqnr_db"] for layer in layers["layers"]]
    worst = layers["layers"][0]
    results = json.loads(shown.read_text())["results"]
    assert results[worst["tensor"]] == {"value": round(worst["own_sqnr_db"], 2)}
    assert len(results) == 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--csv", "layers.csv"], "add --layers"),
        (["--explorer", "layers.json"], "add --layers"),
        (["--layers", "--csv", "net.tflite"], "no name for a .csv file"),
        (["--layers", "--explorer", "net.onnx"], "no name for a .json file"),
    ],
)
def test_refusals(more: list[str], message: str, int8: Path, capsys) -> None:
    before = int8.read_bytes()
    assert verify(int8, *more) == 2
    assert message in capsys.readouterr().err
    assert int8.read_bytes() == before


def test_one_file_at_a_time(int8: Path, capsys) -> None:
    assert verify(int8, str(int8), "--layers") == 2
    assert "--layers is for one file, not 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cnn.mlmodel", "cnn.mlpackage", "cnn.mlmodel.rejected"])
def test_files_without_layers_to_see_are_refused_unread(name: str, int8: Path, capsys) -> None:
    path = int8.parent / name
    path.write_bytes(b"no model: reading it would be another error")
    assert verify(path, "--layers") == 2
    assert "give a .tflite or .onnx file" in capsys.readouterr().err
