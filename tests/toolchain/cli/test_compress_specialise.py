import json
import shlex

import numpy as np
import pytest

import toolchain
from toolchain.cli import run
from toolchain.cli.compress_job import open_teacher
from toolchain.errors import UsageError
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
        *["--schedule", "linear", "--start-epoch", "0", "--end-epoch", "1", "--weights-only"],
    ]
    assert specialise(factory, "--classes", "lips,lips", "-o", str(folder), "--json", *small) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["labels"] == ["background", "upper lip", "lower lip"]
    assert card["kept_channels"]["full.0"] == 4
    assert card["sparsity"]["strength"] == 0.1
    assert card["sparsity"]["schedule"] == "linear"
    assert (card["sparsity"]["end_epoch"], card["sparsity"]["biases"]) == (1, False)

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
        (["--classes", "lips", "--share", "0.3"], "--share does nothing without a teacher"),
        (["--classes", "lips", "--temperature", "4"], "--temperature does nothing without a teacher"),
        (["--classes", "lips", "--strength", "0", "--kind", "l1"], "--kind does nothing with --strength 0"),
        (["--classes", "lips", "--strength", "0", "--schedule", "linear"], "--schedule does nothing with"),
        (["--classes", "lips", "--strength", "0", "--weights-only"], "--biases/--weights-only does nothing"),
        (["--classes", "lips", "--start-epoch", "9", "--epochs", "9"], "9 epochs"),
        (["--classes", "lips", "--strength", "0", "--exempt-coupled"], "--exempt-coupled does nothing"),
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


CLASSIFIER = """
import torch
from torch import nn
from toolchain.spec import ModelSpec, TensorSpec

def make():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    inputs, outputs = (TensorSpec("image", (1, 3, 16, 16)),), (TensorSpec("scores", (1, 3)),)
    return network, ModelSpec("own", "classification", inputs, outputs, labels=("dark", "grey", "light"))
"""


@pytest.fixture
def own(tmp_path):
    """A classifier of the user's own and pictures for it: (factory, data)."""
    import cv2

    path = tmp_path / "own_classifier.py"
    path.write_text(CLASSIFIER)
    for split, count in (("train", 10), ("test", 3)):
        for label, grey in (("dark", 20), ("grey", 120), ("light", 230)):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(str(folder / f"{index}.png"), np.full((16, 16, 3), grey + index, np.uint8))
    return f"{path}:make", f"images:{tmp_path / 'pictures'}"


def test_a_card_says_that_the_last_epoch_was_kept_and_how_to_repeat_it(own, tmp_path, capsys, monkeypatch):
    factory, data = own
    folder = tmp_path / "a folder"
    command = ["compress", "specialise", factory, "--classes", "dark, light", "--data", data]
    command += ["-o", str(folder), "--epochs", "2", "--accelerator", "cpu", "--json"]
    monkeypatch.setattr("sys.argv", ["toolchain", *command])
    assert run(command) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["labels"] == ["dark", "light"]
    assert card["figures"]["epoch"] == 2
    assert "after the last epoch" in card["figures"]["protocol"]
    assert "chosen" not in card["figures"]["protocol"]
    assert shlex.split(card["command"]) == ["toolchain", *command]


def test_a_classifier_has_no_places_to_compare(own, tmp_path, capsys):
    factory, data = own
    command = ["compress", "distill", factory, "--teacher", factory, "--data", data, "--pairwise", "2"]
    assert run([*command, "-o", str(tmp_path / "out")]) == 2
    assert "it is for segmenters, not for classifiers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("own")
def test_a_teacher_may_be_in_a_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    taught = open_teacher("own_classifier:make")
    assert taught.spec.labels == ("dark", "grey", "light")
    with pytest.raises(UsageError, match="unknown model 'lenett'"):
        open_teacher("lenett:weights.safetensors")
