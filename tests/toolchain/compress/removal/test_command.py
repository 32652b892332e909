"""`toolchain compress remove`, and that every other command takes what it wrote."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from toolchain.cli import run
from toolchain.errors import ToolchainError, UsageError
from toolchain.models import zoo
from toolchain.models.weights_file import are_reshaped, load_weights
from toolchain.source import resolve
from toolchain.training.card import write_weights

NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3)
        self.second = nn.Conv2d(width, 5, 1)

    def forward(self, image):
        return self.second(torch.relu(self.first(image)))

class Deciding(Net):
    def forward(self, image):
        return super().forward(image if image.mean() > 0 else -image)

def narrow():
    return Net(6)

def deciding():
    return Deciding(6)
"""


@torch.no_grad()
def zeroed_state(network: torch.nn.Module) -> dict[str, Tensor]:
    """State of the network with every third filter of its convolutions zeroed."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight[::3] = 0
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network.state_dict()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """LeNet with zeroed filters, and a card with ranges that do not fit the smaller network."""
    torch.manual_seed(0)
    path = tmp_path / "given" / "lenet.safetensors"
    path.parent.mkdir()
    save_file(zeroed_state(zoo().get("lenet").build()), path)
    card = {"model": "lenet", "terms": "free", "seed": 3, "calibration": {"ranges": {"image": [0.0, 1.0]}}}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def remove(weights: Path, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    status = run(
        ["compress", "remove", "lenet", "--weights", str(weights), "-o", str(folder), "--json", *more]
    )
    assert status == 0
    return json.loads(capsys.readouterr().out)


def test_figures_card_and_state(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = remove(weights, tmp_path / "out", capsys)
    assert made["zeroed"] == 7 + 17
    assert made["before"] == {"filters": 70, "parameters": 431080, "macs": 2293000}
    # 24 x 24 x 25 x 1 x 13, 8 x 8 x 25 x 13 x 33, 33 x 16 x 500 and 500 x 10.
    assert made["after"]["macs"] == 187200 + 686400 + 264000 + 5000
    assert made["after"]["filters"] == 13 + 33
    assert made["left"] == []
    assert [row["filters"] for row in made["layers"]] == [[20, 13], [50, 33], [500, 500], [10, 10]]

    card = json.loads((tmp_path / "out" / "lenet.json").read_text())
    assert (card["terms"], card["seed"], card["parameters"]) == ("free", 3, made["after"]["parameters"])
    assert "calibration" not in card
    assert card["removal"]["kept"]["features.0"] == [index for index in range(20) if index % 3]

    path = tmp_path / "out" / "lenet.safetensors"
    assert are_reshaped(path)
    assert load_file(path)["features.2.weight"].shape == (33, 13, 5, 5)
    image = torch.rand(4, 1, 28, 28)
    whole, smaller = (resolve("lenet", file).module for file in (weights, path))
    assert whole is not None
    assert smaller is not None
    with torch.no_grad():
        torch.testing.assert_close(smaller(image), whole(image), rtol=1e-5, atol=1e-5)


def test_the_smaller_network_is_exported_and_verified(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gates of `export` compare every file with the smaller network; int8 has ranges from data."""
    smaller = remove(weights, tmp_path / "out", capsys)["path"]
    calibration = tmp_path / "samples.npy"
    np.save(calibration, np.random.default_rng(0).random((16, 1, 28, 28), np.float32))
    files = tmp_path / "files"
    export = ["export", "lenet", "--weights", smaller, "-o", str(files), "--json"]
    assert run([*export, "-f", "tflite", "-f", "coreml", "-p", "fp32"]) == 0
    assert run([*export, "-f", "tflite", "-p", "int8", "--calibration", str(calibration)]) == 0
    sizes = {path.name: path.stat().st_size for path in files.glob("*.tflite")}
    # Of four bytes for each parameter and of one.
    assert sizes["lenet-fp32.tflite"] < 4 * 300_000 < 4 * 431_080
    assert sizes["lenet-int8.tflite"] < 300_000 * 1.2
    capsys.readouterr()

    assert run([*export, "-f", "tflite", "-p", "int8"]) == 2
    assert "--calibration" in capsys.readouterr().err
    verify = ["verify", str(files / "lenet-fp32.tflite"), "--against", "lenet", "--weights"]
    assert run([*verify, smaller]) == 0
    assert run(["inspect", str(files / "lenet-fp32.tflite"), "--json"]) == 0


def write_mnist(folder: Path) -> None:
    """The four idx files, with pictures of noise."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 60), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        header = struct.pack(">4i", 0x803, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = struct.pack(">2i", 0x801, count)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))


def test_ranges_are_measured_on_training_pictures(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path / "mnist")
    smaller = remove(weights, tmp_path / "out", capsys, "--data", f"mnist:{tmp_path / 'mnist'}")["path"]
    card = json.loads(Path(smaller).with_suffix(".json").read_text())
    low, high = card["calibration"]["ranges"]["image"]
    assert -0.1 < low <= 0
    assert 0.9 < high < 1.1
    export = ["export", "lenet", "--weights", smaller, "-o", str(tmp_path / "files"), "-f", "tflite"]
    # 2 would say that a range is missing; the gate (4) compares on synthetic inputs beyond 0 to 1.
    assert run([*export, "-p", "int8"]) in (0, 4)
    assert "range of" not in capsys.readouterr().err


def test_the_table_names_layers_and_the_next_command(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert run(["compress", "remove", "lenet", "--weights", str(weights), "-o", str(folder)]) == 0
    out, err = capsys.readouterr()
    (row,) = [line.split() for line in out.splitlines() if line.startswith("features.2")]
    assert row[1:] == ["50", "33", "25,050", "10,758", "1,600,000", "686,400"]
    assert f"next: toolchain export lenet --weights {folder / 'lenet.safetensors'}" in out
    assert "no ranges for int8" in err


def test_training_goes_on_with_the_smaller_network(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written after a training from reshaped weights says that it is reshaped, too."""
    smaller = Path(remove(weights, tmp_path / "out", capsys)["path"])
    network = zoo().get("lenet").build()
    load_weights(network, smaller)
    write_weights(tmp_path, "tuned", network, {"model": "lenet", "terms": ""})
    again = zoo().get("lenet").build()
    load_weights(again, tmp_path / "tuned.safetensors")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())
    write_weights(tmp_path, "whole", zoo().get("lenet").build(), {"model": "lenet", "terms": ""})
    assert not are_reshaped(tmp_path / "whole.safetensors")


@pytest.fixture
def factories(tmp_path: Path) -> str:
    path = tmp_path / "nets.py"
    path.write_text(NETWORKS)
    torch.manual_seed(0)
    state = zeroed_state(resolve(f"{path}:narrow", input_shape=(1, 3, 8, 8)).module)
    save_file(state, tmp_path / "mine.safetensors")
    return str(path)


def test_the_users_own_module(factories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = ("--input-shape", "1,3,8,8")
    given, folder = str(tmp_path / "mine.safetensors"), str(tmp_path / "out")
    command = ["compress", "remove", f"{factories}:narrow", "--weights", given, "-o", folder, *shape]
    assert run([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [row["filters"] for row in made["layers"]] == [[6, 4], [5, 5]]
    assert made["left"][0]["reason"] == "an output of the network"
    assert made["next"].split()[-2:] == list(shape)
    export = ["export", f"{factories}:narrow", "--weights", made["path"], "-o", folder, *shape]
    assert run([*export, "-f", "tflite", "-f", "coreml"]) == 0


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = run(["compress", "remove", *arguments])
    return status, capsys.readouterr().err


def test_nothing_to_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, message = refusal(["mobile-hourglass-light", "-o", str(tmp_path / "out")], capsys)
    assert status == 3
    assert "no filter of the weights of 'mobile-hourglass-light' is zero" in message
    assert "compress train" in message
    assert not (tmp_path / "out").exists()


def test_nothing_that_can_go(factories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = load_file(tmp_path / "mine.safetensors")
    state["first.weight"] = torch.ones_like(state["first.weight"])
    save_file(state, tmp_path / "mine.safetensors")
    arguments = [f"{factories}:narrow", "--weights", str(tmp_path / "mine.safetensors")]
    status, message = refusal([*arguments, "--input-shape", "1,3,8,8"], capsys)
    assert status == 3
    assert "none of the 2 zeroed filters" in message
    assert "filter 0 of 'second' stays because an output of the network" in message


def test_a_network_that_cannot_be_traced(
    factories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"{factories}:deciding", "--weights", str(tmp_path / "mine.safetensors")]
    status, message = refusal([*arguments, "--input-shape", "1,3,8,8"], capsys)
    assert status == 3
    assert "module Deciding, the whole network" in message


def test_wrong_files(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cnn: Path) -> None:
    assert onnx.load(cnn)
    assert refusal([str(cnn)], capsys)[0] == 2
    status, message = refusal(["lenet", "--weights", str(weights), "-o", str(weights.parent)], capsys)
    assert (status, "would replace the weights" in message) == (2, True)
    assert refusal(["vgg11", "--weights", str(weights)], capsys)[0] == 2
    weights.write_bytes(weights.read_bytes()[:1000])
    status, message = refusal(["lenet", "--weights", str(weights)], capsys)
    assert (status, "lenet.safetensors' is damaged" in message) == (3, True)


@pytest.mark.parametrize("palette", [[[0, 0, 0], [9, 9, 9], [5, 5, 5]], []])
def test_a_card_with_labels_is_the_contract(palette: list[list[int]], tmp_path: Path) -> None:
    network = zoo().get("mobile-hourglass-light").factory(classes=3)
    path = tmp_path / "lips.safetensors"
    save_file(network.state_dict(), path, metadata={"reshaped": "true"})
    card = {"model": "mobile-hourglass-light", "labels": ["background", "upper lip", "lower lip"]}
    path.with_suffix(".json").write_text(json.dumps({**card, "palette": palette}))
    spec = resolve("mobile-hourglass-light", path).spec
    assert spec.labels == ("background", "upper lip", "lower lip")
    assert spec.palette == tuple(map(tuple, palette))
    assert [tensor.shape for tensor in spec.inputs] == [(1, 3, 256, 256), (1, 3, 256, 256)]
    assert spec.outputs[0].shape == (1, 3, 256, 256)
    shape = {"image": (1, 3, 64, 64)}
    assert resolve("mobile-hourglass-light", path, shape).spec.outputs[0].shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("labels", "palette", "message"),
    [
        (["a", "a", "b"], [], "no proper labels"),
        (["a", "b", "c"], [[0, 0, 0]], "no proper labels"),
        (["a", "b", "c"], [[0, 0]] * 3, "no proper labels"),
        (7, [], "no proper labels"),
        (["a", "b"], [], "has 3 classes instead of 2"),
        ([], [], "has 3 classes instead of 10"),
    ],
)
def test_cards_that_do_not_fit(labels: Any, palette: Any, message: str, tmp_path: Path) -> None:
    network = zoo().get("mobile-hourglass-still-f16-t3").factory(width=16, expansion=3, classes=3)
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path, metadata={"reshaped": "true"})
    card = {"model": "mobile-hourglass-still-f16-t3", "labels": labels, "palette": palette}
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ToolchainError, match=message):
        resolve("mobile-hourglass-still-f16-t3", path, {"image": (1, 3, 32, 32)})


def test_widths_that_do_not_fit_each_other(tmp_path: Path) -> None:
    state = zoo().get("lenet").build().state_dict()
    state["features.2.weight"] = torch.zeros(50, 7, 5, 5)
    save_file(state, tmp_path / "w.safetensors", metadata={"reshaped": "true"})
    with pytest.raises(UsageError, match=r"the widths in .*w\.safetensors' do not fit 'lenet'"):
        resolve("lenet", tmp_path / "w.safetensors")
