"""`toolchain train` on drawn faces: it learns, it resumes, and its weights and card are usable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from toolchain.cli import run
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo


def train(faces: Path, output: Path, *more: str) -> int:
    common = [
        "--size",
        "64",
        "--batch-size",
        "4",
        "--workers",
        "0",
        "--precision",
        "32",
        "--accelerator",
        "cpu",
    ]
    return run(["train", "face-parsing", "--data", f"celebamask:{faces}", "-o", str(output), *common, *more])


@pytest.mark.slow
def test_training_writes_weights_and_card(faces: Path, tmp_path: Path, capsys) -> None:
    assert train(faces, tmp_path, "--epochs", "2", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card == json.loads((tmp_path / "mobile-hourglass.json").read_text())
    assert card["parameters"] == 58_650
    assert set(card["figures"]["per_class_f1"]) == set(zoo().get("mobile-hourglass").spec.labels)
    assert "research" in card["terms"]
    ranges = card["calibration"]["ranges"]
    assert ranges["image"][0] >= -1
    assert ranges["image"][1] <= 1
    assert ranges["previous"][0] == 0
    assert 0.1 <= ranges["previous"][1] <= 1 + 1e-6
    assert "logits" in ranges
    # ReLU6 outputs end at 6.
    assert any(high <= 6 and low == 0 for low, high in ranges.values())
    network = zoo().get("mobile-hourglass").build()
    load_weights(network, tmp_path / "mobile-hourglass.safetensors")
    assert list((tmp_path / "log").glob("*/metrics.csv"))


@pytest.mark.slow
def test_resumed_training_goes_on_where_it_stopped(faces: Path, tmp_path: Path) -> None:
    assert train(faces, tmp_path, "--epochs", "1") == 0
    first = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert train(faces, tmp_path, "--epochs", "2", "--resume") == 0
    second = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (first["epoch"], second["epoch"]) == (0, 1)
    assert second["global_step"] == 2 * first["global_step"]


@pytest.mark.slow
def test_training_starts_from_given_weights(faces: Path, tmp_path: Path) -> None:
    assert train(faces, tmp_path / "a", "--epochs", "1") == 0
    weights = tmp_path / "a" / "mobile-hourglass.safetensors"
    more = ("--epochs", "1", "--weights", str(weights), "--learning-rate", "0")
    assert train(faces, tmp_path / "b", *more) == 0
    before, after = load_file(weights), load_file(tmp_path / "b" / "mobile-hourglass.safetensors")
    assert torch.equal(before["stem.0.weight"], after["stem.0.weight"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "celebamask:nowhere.zip"], 2, "nowhere.zip"),
        (["--data", "imagenet:x"], 2, "unknown data"),
        (["--data", "celebamask:nowhere.zip", "--model", "lenet"], 2, "no face parser"),
        (["--data", "celebamask:nowhere.zip", "--size", "100"], 2, "multiple of 32"),
        (["--data", "celebamask:nowhere.zip", "--model", "mobile-hourglas"], 2, "did you mean"),
    ],
)
def test_bad_arguments_are_one_error(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys
) -> None:
    assert run(["train", "face-parsing", *arguments, "-o", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_resume_without_a_checkpoint(faces: Path, tmp_path: Path, capsys) -> None:
    assert train(faces, tmp_path / "out", "--resume") == 2
    assert "nothing to resume" in capsys.readouterr().err
