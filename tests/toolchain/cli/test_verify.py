"""`toolchain verify`: the right file passes, every wrong one is told apart."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from toolchain.cli import run
from toolchain.models.zoo import zoo
from toolchain.spec import sidecar_path

NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, inputs=3):
        super().__init__()
        self.conv = nn.Conv2d(inputs, classes, 3, padding=1)

    def forward(self, image):
        print("a network that talks")
        return self.conv(image)

class Two(nn.Module):
    def forward(self, left, right):
        return left + right

def five():
    torch.manual_seed(0)
    return Net(5)

def other():
    torch.manual_seed(1)
    return Net(5)

def seven():
    return Net(7)

def wide():
    torch.manual_seed(2)
    return Net(32)

def narrow():
    torch.manual_seed(3)
    return Net(32)

def two():
    return Two()
"""
SHAPE = ("--input-shape", "1,3,8,8")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, its networks `five` and `other` as files, each with its sidecar."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "net.py").write_text(NETWORKS)
    formats = ["-f", "tflite", "-f", "coreml", "-f", "mlmodel"]
    made = ["export", f"{folder / 'net.py'}:five", *SHAPE, "-o", str(folder)]
    assert run([*made, *formats, "-f", "onnx", "-p", "fp32"]) == 0
    assert run([*made, *formats, "-p", "fp16"]) == 0
    made = ["export", f"{folder / 'net.py'}:other", *SHAPE, "-o", str(folder)]
    assert run([*made, *formats, "-p", "fp32"]) == 0
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(exported, tmp_path / "files"))


def verify(folder: Path, name: str, network: str, *more: str) -> int:
    return run(["verify", str(folder / name), "--against", f"{folder / 'net.py'}:{network}", *more])


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("five-fp32.tflite", "fp32"),
        ("five-fp16.tflite", "fp16"),
        ("five-fp32.mlpackage", "fp32"),
        ("five-fp16.mlpackage", "fp16"),
        ("five-fp32.mlmodel", "fp32"),
        ("five-fp16.mlmodel", "fp16"),
        ("five-fp32.onnx", "fp32"),
    ],
)
def test_right_file_passes_with_its_figures(name: str, precision: str, folder: Path, capsys) -> None:
    capsys.readouterr()
    assert verify(folder, name, "five", *SHAPE, "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["path"] == str(folder / name)
    assert row["precision"] == precision
    assert row["failures"] == []
    assert row["parity"]["reference"] == "torch"
    assert row["parity"]["samples"] == 4
    assert float(row["parity"]["sqnr_db"]) >= {"fp32": 100, "fp16": 50}[precision]
    assert row["parity"]["max_abs"] < {"fp32": 1e-5, "fp16": 1e-2}[precision]


def test_table_says_what_was_compared(folder: Path, capsys) -> None:
    assert verify(folder, "five-fp32.tflite", "five", *SHAPE, "--samples", "2") == 0
    shown = capsys.readouterr().out
    assert "passed" in shown
    assert "compared with torch on 2 synthetic samples" in shown


def test_file_of_other_weights_exits_with_4_and_its_figures(folder: Path, capsys) -> None:
    assert verify(folder, "five-fp32.tflite", "other", *SHAPE) == 4
    captured = capsys.readouterr()
    assert "is below 80 dB" in captured.out
    assert "'five-fp32.tflite': SQNR" in captured.err
    assert "\nhint: " in captured.err
    assert (folder / "five-fp32.tflite").is_file()


def test_json_of_a_failure_is_whole(folder: Path, capsys) -> None:
    capsys.readouterr()
    assert verify(folder, "five-fp32.tflite", "other", *SHAPE, "--json") == 4
    [row] = json.loads(capsys.readouterr().out)
    assert row["parity"]["sqnr_db"] < 20
    assert row["parity"]["max_abs"] > 0.1
    assert len(row["failures"]) == 1


def test_one_wrong_file_of_several_is_named(folder: Path, capsys) -> None:
    against = ["--against", f"{folder / 'net.py'}:five", *SHAPE, "--json"]
    capsys.readouterr()
    files = [str(folder / f"{name}-fp32.tflite") for name in ("five", "other")]
    assert run(["verify", *files, *against]) == 4
    captured = capsys.readouterr()
    assert [bool(row["failures"]) for row in json.loads(captured.out)] == [False, True]
    assert "1 of 2 file(s)" in captured.err
    assert "'other-fp32.tflite'" in captured.err


ALL = [f"five-fp32{suffix}" for suffix in (".tflite", ".mlpackage", ".mlmodel", ".onnx")]


@pytest.mark.parametrize("name", ALL)
def test_foreign_file_is_matched_by_shape(name: str, folder: Path) -> None:
    sidecar_path(folder / name).unlink()
    assert verify(folder, name, "five", *SHAPE) == 0
    assert verify(folder, name, "other", *SHAPE) == 4


def test_foreign_file_against_an_onnx_file(cnn: Path, tmp_path: Path) -> None:
    assert run(["export", str(cnn), "-p", "fp32", "-o", str(tmp_path)]) == 0
    for name in ("cnn-fp32.tflite", "cnn-fp32.mlpackage"):
        sidecar_path(tmp_path / name).unlink()
        assert run(["verify", str(tmp_path / name), "--against", str(cnn)]) == 0


def conv_onnx(
    path: Path, weight: np.ndarray, bias: np.ndarray, names: tuple[str, str], batch: object
) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Conv", [names[0], "w", "b"], [names[1]], pads=[1, 1, 1, 1])],
        "g",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [batch, 5, 8, 8])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_foreign_names_and_a_dynamic_batch(folder: Path) -> None:
    names: dict = {}
    exec(NETWORKS, names)
    with torch.no_grad():
        weight, bias = (value.numpy().copy() for value in names["five"]().conv.parameters())
    conv_onnx(folder / "mine.onnx", weight, bias, ("picture", "result"), "batch")
    assert verify(folder, "mine.onnx", "five", *SHAPE) == 0
    conv_onnx(folder / "mine.onnx", weight * 2, bias, ("picture", "result"), "batch")
    assert verify(folder, "mine.onnx", "five", *SHAPE) == 4


@pytest.mark.parametrize("with_sidecar", [True, False])
@pytest.mark.parametrize(
    ("network", "shapes", "message"),
    [
        ("seven", SHAPE, "output 'output' has shape 1x8x8x5, the network has 1x7x8x8"),
        ("five", ("--input-shape", "1,3,9,8"), "input 'input' has shape 1x8x8x3, the network has 1x3x9x8"),
        (
            "two",
            ("--input-shape", "a=1,3,8,8", "--input-shape", "b=1,3,8,8"),
            "the file has 1 inputs (input), the network has 2 (a, b)",
        ),
    ],
)
def test_wrong_network_exits_with_2_and_names_the_tensor(
    network: str, shapes: tuple[str, ...], message: str, with_sidecar: bool, folder: Path, capsys
) -> None:
    if not with_sidecar:
        sidecar_path(folder / "five-fp32.tflite").unlink()
    capsys.readouterr()
    assert verify(folder, "five-fp32.tflite", network, *shapes) == 2
    captured = capsys.readouterr()
    assert f"error: {message}\nhint: " in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def put(source: Path, target: Path) -> None:
    """Replace a file or package by a copy of another."""
    if target.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


@pytest.mark.parametrize("name", ALL[:-1])
def test_sidecar_of_another_file_is_refused(name: str, folder: Path, capsys) -> None:
    put(folder / name.replace("five", "other"), folder / name)
    assert verify(folder, name, "other", *SHAPE) == 2
    assert "describes another file" in capsys.readouterr().err
    sidecar_path(folder / name).unlink()
    assert verify(folder, name, "other", *SHAPE) == 0


def test_sidecar_of_a_package_covers_all_its_files(folder: Path, capsys) -> None:
    path = folder / "five-fp32.mlpackage"
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        good = part.read_bytes()
        part.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        assert verify(folder, path.name, "five", *SHAPE) == 2, part
        assert "describes another file" in capsys.readouterr().err
        part.write_bytes(good)
    assert verify(folder, path.name, "five", *SHAPE) == 0


FOREIGN = [
    ("five-fp16.tflite", "fp16", " stored as floats of 16 bits"),
    ("five-fp16.mlmodel", "fp16", " stored as floats of 16 bits"),
    ("five-fp16.mlpackage", "fp16", " stored as floats of 16 bits"),
    ("five-fp32.tflite", "fp32", "weights and activations stored as float32"),
    ("wide-w8.tflite", "w8", "1 value stored as integers of 8 bits"),
    ("wide-w8.mlpackage", "w8", "1 value stored as integers of 8 bits"),
    ("wide-int8.tflite", "int8", "2 activations stored as integers"),
    ("wide-int8.mlpackage", "int8", "2 activations stored as integers"),
    ("wide-int8.onnx", "int8", "2 activations stored as integers"),
]


@pytest.mark.parametrize(("name", "precision", "reason"), FOREIGN)
def test_without_its_sidecar_a_file_is_judged_by_how_it_stores_numbers(
    name: str, precision: str, reason: str, packed: Path, capsys
) -> None:
    sidecar_path(packed / name).unlink()
    capsys.readouterr()
    network = name.split("-")[0]
    assert verify(packed, name, network, *SHAPE, "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["precision"] == precision
    assert row["precision_from"].endswith(reason)
    assert verify(packed, name, network, *SHAPE) == 0
    assert f"has no sidecar: judged as {precision}, by " in capsys.readouterr().out
    assert verify(packed, name, {"five": "other", "wide": "narrow"}[network], *SHAPE) == 4


@pytest.fixture
def packed(exported: Path, quantized: Path, tmp_path: Path) -> Path:
    """A copy of both."""
    shutil.copytree(exported, tmp_path / "files")
    return Path(shutil.copytree(quantized, tmp_path / "files", dirs_exist_ok=True))


@pytest.fixture(scope="module")
def quantized(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network `wide` as files of int8."""
    folder = tmp_path_factory.mktemp("quantized")
    made = ["export", f"{exported / 'net.py'}:wide", *SHAPE, "-o", str(folder)]
    np.savez(folder / "data.npz", input=np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype("f4"))
    formats = ["-f", "tflite", "-f", "coreml"]
    assert run([*made, *formats, "-p", "w8"]) == 0
    data = ["--calibration", str(folder / "data.npz")]
    assert run([*made, *formats, "-f", "onnx", "-p", "int8", *data]) == 0
    return folder


def test_of_a_file_with_its_sidecar_nothing_is_guessed(folder: Path, capsys) -> None:
    capsys.readouterr()
    assert verify(folder, "five-fp16.tflite", "five", *SHAPE, "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["precision_from"] == "its sidecar"
    assert verify(folder, "five-fp16.tflite", "five", *SHAPE) == 0
    assert "no sidecar" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["five-fp32.mlpackage", "five-fp32.mlmodel"])
def test_runtime_may_be_named(name: str, folder: Path, capsys) -> None:
    capsys.readouterr()
    assert verify(folder, name, "five", *SHAPE, "--runtime", "coreml", "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["runtime"] == "coreml"
    assert float(row["parity"]["sqnr_db"]) >= 100


def test_each_runtime_is_a_row(folder: Path, capsys) -> None:
    runtimes = ["--runtime", "litert", "--runtime", "litert"]
    capsys.readouterr()
    assert verify(folder, "five-fp32.tflite", "five", *SHAPE, *runtimes) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "five-fp32.tflite" in line]
    assert [row.split()[1] for row in rows] == ["litert", "litert"]


@pytest.mark.parametrize("name", ["five-fp32.mlpackage", "five-fp32.mlmodel"])
def test_core_ml_itself_is_on_a_mac_only(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    capsys.readouterr()
    assert verify(folder, name, "five", *SHAPE, "--runtime", "coreml-native") == 6
    captured = capsys.readouterr()
    assert "only macOS has" in captured.err
    assert "\nhint: " in captured.err
    assert "--runtime coreml" in captured.err
    assert captured.out == ""


def test_unknown_runtime_lists_the_known_ones(folder: Path, capsys) -> None:
    capsys.readouterr()
    assert verify(folder, "five-fp32.mlpackage", "five", *SHAPE, "--runtime", "core-ml") == 2
    assert "coreml, coreml-native" in capsys.readouterr().err


def test_own_inputs_are_used(folder: Path, capsys) -> None:
    samples = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "real.npz", input=samples)
    capsys.readouterr()
    calibration = ["--calibration", str(folder / "real.npz")]
    assert verify(folder, "five-fp32.tflite", "five", *SHAPE, *calibration, "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["parity"]["samples"] == 3
    assert row["parity"]["inputs"] == str(folder / "real.npz")


@pytest.fixture(scope="module")
def lenets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights a and b, and int8 and fp32 files of a."""
    folder = tmp_path_factory.mktemp("lenets")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        save_file(zoo().get("lenet").build().state_dict(), folder / f"{name}.safetensors")
    pictures = np.random.default_rng(0).normal(size=(16, 1, 28, 28)).astype(np.float32)
    np.save(folder / "pictures.npy", pictures)
    made = ["export", "lenet", "--weights", str(folder / "a.safetensors"), "-o", str(folder)]
    given = ["--calibration", str(folder / "pictures.npy")]
    assert run([*made, "-f", "tflite", "-p", "int8", "-p", "fp32", *given]) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "weights", "drop", "code"),
    [("int8", "a", "0", 0), ("int8", "b", "1", 4), ("int8", "b", "100", 0), ("fp32", "a", "1", 2)],
)
def test_max_drop_is_as_at_the_export(
    name: str, weights: str, drop: str, code: int, lenets: Path, capsys
) -> None:
    words = ["verify", str(lenets / f"lenet-{name}.tflite"), "--against", "lenet"]
    given = [
        "--calibration",
        str(lenets / "pictures.npy"),
        "--weights",
        str(lenets / f"{weights}.safetensors"),
    ]
    assert run([*words, *given, "--max-drop", drop]) == code
    message = {0: "", 2: "--max-drop is for int8 files", 4: "is below 99%"}[code]
    assert message in capsys.readouterr().err


def test_network_without_weights_cannot_be_compared_with(folder: Path, capsys) -> None:
    assert run(["verify", str(folder / "five-fp32.tflite"), "--against", "lenet"]) == 2
    shown = capsys.readouterr().err
    assert "'lenet' ships no weights" in shown
    assert "--weights" in shown


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda t: t / "none.tflite", 2, "none.tflite"),
        (lambda t: t, 2, "suffix"),
        (lambda t: t / "net.py", 2, "suffix"),
        (lambda t: cut(t), 3, "cut.tflite"),
        (lambda t: damaged_sidecar(t), 3, "sidecar of"),
        (lambda t: t / "none.mlpackage", 2, "none.mlpackage"),
        (lambda t: without(t, "five-fp32.mlpackage", "weight.bin"), 3, "weight.bin"),
        (lambda t: without(t, "five-fp32.mlpackage", "model.mlmodel"), 3, "lacks its specification"),
        (lambda t: without(t, "five-fp32.mlpackage", "Manifest.json"), 3, "no readable Manifest.json"),
    ],
)
def test_what_is_no_model_file_is_one_error(make, code: int, message: str, folder: Path, capsys) -> None:
    path = make(folder)
    capsys.readouterr()
    assert run(["verify", str(path), "--against", f"{folder / 'net.py'}:five", *SHAPE]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def cut(folder: Path) -> Path:
    path = folder / "cut.tflite"
    path.write_bytes((folder / "five-fp32.tflite").read_bytes()[:-500])
    return path


def without(folder: Path, name: str, part: str) -> Path:
    """A package that lost a part, and its sidecar."""
    sidecar_path(folder / name).unlink()
    [found] = (folder / name).rglob(part)
    found.unlink()
    return folder / name


def damaged_sidecar(folder: Path) -> Path:
    sidecar_path(folder / "five-fp32.tflite").write_text("{}")
    return folder / "five-fp32.tflite"
