import json

import numpy as np
import pytest

import toolchain
from toolchain.cli import run
from toolchain.spec import load_sidecar

FACTORY = """
import torch
from toolchain.models.faces import face_spec
from toolchain.models.strided_hourglass import StridedHourglass

def make():
    torch.manual_seed(0)
    return StridedHourglass(8, 1, 8), face_spec("tiny", "", "", previous=True, size=64)
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "networks.py"
    path.write_text(FACTORY)
    return f"{path}:make"


def specialise(factory, *more):
    return run(["compress", "specialise", factory, "--data", "drawn:8", "--workers", "0", *more])


def test_a_specialised_parser_is_exported_with_its_own_classes(factory, tmp_path, capsys):
    folder = tmp_path / "lips"
    small = [
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--precision",
        "32",
        "--accelerator",
        "cpu",
        "--keep",
        "lift=0.5",
    ]
    assert specialise(factory, "--classes", "lips,lips", "-o", str(folder), "--json", *small) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["labels"] == ["background", "upper lip", "lower lip"]
    assert card["kept_channels"]["full.0"] == 4
    assert card["sparsity"]["strength"] == 0.1

    weights = str(folder / "tiny.safetensors")
    assert run(["export", factory, "--weights", weights, "-f", "tflite", "-o", str(tmp_path / "build")]) == 0
    path = tmp_path / "build" / "tiny-fp32.tflite"
    sidecar = load_sidecar(path)
    assert sidecar.labels == ("background", "upper lip", "lower lip")
    assert [tensor.shape for tensor in (*sidecar.inputs, *sidecar.outputs)] == [(1, 64, 64, 3)] * 3
    assert len(sidecar.palette) == 3
    runtime = toolchain.load(path)
    zeros = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in sidecar.inputs}
    held = {**zeros, "previous": zeros["previous"] + np.array([0, 1, 0], np.float32)}
    moved = runtime.run(held)["logits"] - runtime.run(zeros)["logits"]
    # Outside of training the previous mask is a prior of the answer, in the class that it names.
    assert moved[..., 1].mean() > moved[..., 2].mean() + 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--classes", "lip"], "no class 'lip'"),
        (["--classes", "background"], "nothing to find"),
        (["--classes", "skin,brows,eyes,nose,mouth"], "nothing to leave out"),
        (["--classes", ","], "no class is named"),
        (["--classes", "lips", "--keep", "2"], "no share of channels"),
        (["--classes", "lips", "--teacher", "segnet"], "no weights ship with the teacher"),
        (["--classes", "lips", "--teacher", "lenet:nowhere.safetensors"], "nowhere.safetensors"),
        (["--classes", "lips", "--threshold", "1"], "threshold"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(factory, more, said, capsys):
    assert specialise(factory, "-o", "unused", *more) == 2
    assert said in capsys.readouterr().err


def test_scratch_and_weights_exclude_each_other(factory, capsys):
    assert specialise(factory, "--classes", "lips", "--scratch", "--weights", "w.safetensors") == 2
    assert "exclude each other" in capsys.readouterr().err


def test_a_student_must_fit_its_teacher(factory, capsys):
    command = ["compress", "distill", factory, "--teacher", "mobile-hourglass", "--data", "drawn:8"]
    assert run(command) == 2
    assert "takes pictures of other sizes" in capsys.readouterr().err
