"""`toolchain train classification` from the command line to weights, and what is refused."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from toolchain.cli import run
from toolchain.cli.train import _plain
from toolchain.export import clean_graph
from toolchain.models.zoo import zoo
from toolchain.source import resolve


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Bars whose place is their class, in MNIST's files."""
    folder = tmp_path_factory.mktemp("digits")
    random = np.random.default_rng(0)
    for prefix, count in (("train", 200), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = random.integers(0, 40, (count, 28, 28), np.uint8)
        for picture, label in zip(pixels, labels, strict=True):
            picture[:, 2 * label + 3 : 2 * label + 6] = 230
        for kind, rank, array in (("images-idx3", 3, pixels), ("labels-idx1", 1, labels)):
            content = bytes((0, 0, 8, rank)) + struct.pack(f">{rank}I", *array.shape) + array.tobytes()
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    return f"mnist:{folder}"


COMMON = ["--accelerator", "cpu", "--batch-size", "16"]


def test_from_pictures_to_weights_with_a_card(
    digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "classification", "--data", digits, "-o", str(tmp_path / "run"), *COMMON]
    assert run([*command, "--epochs", "4", "--json"]) == 0
    shown = capsys.readouterr()
    card = json.loads(shown.out)
    assert card["model"] == "lenet"
    assert card["figures"]["test_error"] < 30
    assert card["pictures"] == 160
    assert "epoch 4/4: loss" in shown.err
    weights = tmp_path / "run" / "lenet.safetensors"
    assert sum(tensor.numel() for tensor in load_file(weights).values()) == card["parameters"] == 431_080
    # The card has a range for every value of the graph that `export` makes of these weights.
    graph = clean_graph(resolve("lenet", weights=weights)).graph
    names = {value.name for node in graph for value in node.outputs} | {"image"}
    assert names <= set(card["calibration"]["ranges"])
    assert card["calibration"]["ranges"]["image"] == pytest.approx([0.0, 1.0], abs=0.15)

    capsys.readouterr()
    assert run([*command, "--epochs", "4"]) == 2
    assert "holds a training already" in capsys.readouterr().err
    assert run([*command, "--epochs", "5", "--resume"]) == 0
    shown = capsys.readouterr()
    assert "epoch 5/5" in shown.err
    assert "epoch 4/5" not in shown.err
    assert "validation_error" in shown.out

    again = ["train", "classification", "--data", digits, "-o", str(tmp_path / "again"), *COMMON]
    assert run([*again, "--epochs", "1", "--weights", str(weights), "--learning-rate", "0"]) == 0
    assert json.loads((tmp_path / "again/lenet.json").read_text())["started_from"] == "lenet.safetensors"


def test_weights_that_are_of_no_use_are_named(digits: str, tmp_path: Path, capsys) -> None:
    given = tmp_path / "given.safetensors"
    save_file({**zoo().get("lenet").build().state_dict(), "auxiliary.weight": torch.ones(3)}, given)
    command = ["train", "classification", "--data", digits, "-o", str(tmp_path / "run"), *COMMON]
    assert run([*command, "--epochs", "1", "--weights", str(given)]) == 0
    assert f"left out of '{given}': auxiliary.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--qat"], "--qat has no meaning for classification"),
        (["--workers", "1"], "--workers has no meaning for classification"),
        (["--size", "32"], "--size has no meaning for classification"),
        (["--samples-every", "2"], "--samples-every has no meaning for classification"),
        (["--model", "unet"], "'unet' is no classifier"),
        (["--model", "lenett"], "did you mean lenet"),
        (["--recipe", "best"], "no recipe 'best' for classifiers"),
        (["--epochs", "0"], "epochs is 0"),
        (["--model", "vgg11"], "takes pictures of 3 x 32 x 32 (channels, height, width), not 1 x 28 x 28"),
        (["--weights", "nowhere.pt"], "'nowhere.pt' cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(
    more: list[str], message: str, digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "classification", "--data", digits, "-o", str(tmp_path), *COMMON, *more]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_face_parsing_keeps_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "face-parsing", "--data", "celebamask:nowhere.zip", "-o", str(tmp_path)]
    assert run([*arguments, "--size", "64", "--workers", "0", "--samples-every", "3"]) == 2
    assert "no data at 'nowhere.zip'" in capsys.readouterr().err


def test_the_figures_of_a_card_are_words() -> None:
    assert _plain({"skin": 37.11, "left brow": 0.0}) == "skin 37.11, left brow 0.0"
    assert _plain(92.5) == "92.5"
