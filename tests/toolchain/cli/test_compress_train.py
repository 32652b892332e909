"""`toolchain compress train`: a small training of each task, its result, and what it refuses."""

from __future__ import annotations

import gzip
import json
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from toolchain.cli import run
from toolchain.compress.sparsity.history import History
from toolchain.compress.sparsity.masks import zeroed_kernels
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo

CLASSES, PER_CLASS = 10, 20


def write_idx(path: Path, values: np.ndarray) -> None:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(head + values.tobytes(), 1))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in the files of MNIST; the class is the column of a bright bar."""
    folder = tmp_path_factory.mktemp("digits")
    random = np.random.default_rng(0)
    for prefix, count in (("train", PER_CLASS), ("t10k", 4)):
        labels = np.tile(np.arange(CLASSES, dtype=np.uint8), count)
        pictures = random.integers(0, 60, (len(labels), 28, 28)).astype(np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[:, 4 + 2 * label : 6 + 2 * label] = 255
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pictures)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return folder


def train(data: str, output: Path, *more: str, model: str = "lenet") -> int:
    common = ["--data", data, "-o", str(output), "--accelerator", "cpu"]
    return run(["compress", "train", model, *common, *more])


FAST = ("--batch-size", "16", "--epochs", "3", "--learning-rate", "0.02", "--threshold", "0.2")


def test_a_classifier_loses_filters_and_says_what_comes_next(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert train(f"mnist:{digits}", output, *FAST, "--may-lose", "100", "--exempt", "features.0") == 0
    shown = capsys.readouterr()
    card = json.loads((output / "lenet.json").read_text())
    left = card["sparsity"]["filters_left"]
    assert card["sparsity"]["filters"] == 50
    assert left < 40
    assert f"filters left: {left} of 50" in shown.out
    assert "epoch 3/3: " in shown.err
    network = zoo().get("lenet").build()
    load_weights(network, output / "lenet.safetensors")
    zeroed = {name: int((~mask).sum()) for name, mask in zeroed_kernels(network).items()}
    assert zeroed == {"features.0": 20, "features.2": left}
    records = History(output / "history").epochs()
    (chosen,) = (record for record in records if record.epoch == card["sparsity"]["epoch"])
    assert chosen.filters_left == left == min(record.filters_left for record in records)
    assert card["figures"]["validation_error"] == pytest.approx(chosen.figures["val_error"], abs=0.01)
    assert {"image", "logits"} <= set(card["calibration"]["ranges"])
    # The command that it names is one that runs.
    (line,) = (line for line in shown.out.splitlines() if line.startswith("next: "))
    command = shlex.split(line.removeprefix("next: "))
    assert command[:3] == ["toolchain", "compress", "remove"]
    assert run(command[1:]) == 0
    smaller = load_file(output / "removed" / "lenet.safetensors")
    assert len(smaller["features.2.weight"]) == left


def test_a_stopped_training_goes_on_and_another_is_not_written_over(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"mnist:{digits}"
    assert train(data, tmp_path / "whole", *FAST) == 0
    assert train(data, tmp_path / "parts", *FAST, "--epochs", "3") == 0
    assert train(data, tmp_path / "parts", *FAST) == 2
    assert "history of a training already" in capsys.readouterr().err
    assert train(data, tmp_path / "parts", *FAST, "--resume", "--strength", "0.5") == 2
    assert "sparsity.strength was 1.0, not 0.5" in capsys.readouterr().err
    assert train(data, tmp_path / "parts", *FAST, "--resume") == 0
    for path in (tmp_path / "whole" / "history").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / "history" / path.name).read_bytes()
    whole, parts = (load_file(tmp_path / name / "lenet.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_nan_is_one_error_that_names_the_strength(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (*FAST, "--strength", "1e30", "--kind", "l1", "--start-epoch", "1")
    assert train(f"mnist:{digits}", tmp_path / "out", *more) == 1
    error = capsys.readouterr().err
    assert "no finite number" in error
    assert "epoch 2" in error
    assert "lower the strength of the sparsity term (1e+30)" in error
    assert History(tmp_path / "out" / "history").numbers() == [1]
    kept = load_file(History(tmp_path / "out" / "history").weights(1))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values())
    state = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_a_face_parser_keeps_its_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--size", "32", "--epochs", "2", "--batch-size", "4", "--precision", "32", "--workers", "0")
    model = "mobile-hourglass-light"
    options = ("--recipe", "quick", "--threshold", "0.05", "--may-lose", "100", "--exempt-coupled")
    assert train("drawn:8", tmp_path, *more, *options, model=model) == 0
    shown = capsys.readouterr()
    assert "no kernel is taken from head" in shown.err
    card = json.loads((tmp_path / f"{model}.json").read_text())
    assert card["sparsity"]["filters_left"] < card["sparsity"]["filters"]
    assert f"chosen by overall_f1: {History(tmp_path / 'history').choose(100).figures['overall_f1']:.2f}" in (
        shown.out
    )
    network = zoo().get(model).build()
    load_weights(network, tmp_path / f"{model}.safetensors")
    zeroed = zeroed_kernels(network)
    assert not zeroed["head"].any()
    # The branches of the trunk's sum are spared: a kernel that is zero there could not be removed alone.
    exempt = card["sparsity"]["settings"]["exempt"]
    assert set(exempt) == {"stem.0", *(name for name in zeroed if name.endswith("body.2"))}
    assert f"exempt are {len(exempt)} of {len(zeroed) - 1} layers, stem.0, " in shown.err
    assert not any(zeroed[name].any() for name in exempt)
    left = sum(int((~mask).sum()) for name, mask in zeroed.items() if name not in ("head", *exempt))
    assert left == card["sparsity"]["filters_left"]


def test_all_layers_take_part_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--size", "32", "--epochs", "1", "--batch-size", "4", "--precision", "32", "--workers", "0")
    options = ("--recipe", "quick", "--may-lose", "100", "--json")
    assert train("drawn:8", tmp_path, *more, *options, model="mobile-hourglass-light") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["sparsity"]["settings"]["exempt"] == []
    assert {"stem.0", "body.up.body.2"} <= set(card["sparsity"]["layers"])


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("lenet", ("--exempt", "feature.0"), "did you mean features.0"),
        ("lenet", ("--threshold", "1"), "sparsity.threshold is 1"),
        ("lenet", ("--strength", "-1"), "sparsity.strength is -1"),
        ("lenet", ("--start-epoch", "2", "--end-epoch", "2"), "start_epoch is 2"),
        ("lenet", ("--resume",), "nothing to resume"),
        ("lenet", ("--recipe", "lenett"), "lenett"),
        ("lennet", (), "did you mean lenet"),
        ("fcn-resnet50", (), "neither a classifier nor a face parser"),
        ("vgg11", (), "'vgg11' takes pictures of 3 x 32 x 32"),
    ],
)
def test_bad_arguments_are_one_error(
    model: str, more: tuple[str, ...], message: str, digits: Path, tmp_path: Path, capsys
) -> None:
    assert train(f"mnist:{digits}", tmp_path / "out", *more, model=model) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "history").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--may-lose", "-1"), "may lose -1 points"),
        (("--may-lose", "nan"), "may lose nan points"),
        (("--epochs", "2", "--start-epoch", "2"), "begins after 2 epochs, and the training has 2"),
    ],
)
def test_what_could_never_be_chosen_or_begin_is_refused_before_the_training(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    assert train(f"mnist:{digits}", tmp_path / "out", "--limit", "1", "--epochs", "1", *more) == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.safetensors"))


OWN = """
from torch import nn

from toolchain.spec import ModelSpec, TensorSpec


def make(outputs=10, labels=(), task="classification", size=28):
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(288, outputs)
    )
    spec = ModelSpec(
        name="bars",
        task=task,
        inputs=(TensorSpec("image", (1, 1, size, size), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, outputs)),),
        labels=labels,
    )
    return network, spec


def bare():
    return make()[0]


def few():
    return make(7)


def named():
    return make(labels=tuple("abcdefghij"))


def generic():
    return make(task="generic")
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "networks.py"
    path.write_text(OWN)
    return path


def test_a_classifier_of_ones_own_is_trained_and_made_smaller(
    own: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert train(f"mnist:{digits}", output, *FAST, "--may-lose", "100", model=f"{own}:make") == 0
    shown = capsys.readouterr().out
    card = json.loads((output / "bars.json").read_text())
    left = card["sparsity"]["filters_left"]
    assert left < card["sparsity"]["filters"] == 8
    (line,) = (line for line in shown.splitlines() if line.startswith("next: "))
    assert run(shlex.split(line.removeprefix("next: "))[1:]) == 0
    smaller = load_file(output / "removed" / "bars.safetensors")
    assert len(smaller["0.weight"]) == left
    weights = ["--weights", str(output / "removed" / "bars.safetensors")]
    assert run(["export", f"{own}:make", *weights, "-f", "tflite", "-o", str(tmp_path / "files")]) == 0
    assert (tmp_path / "files" / "bars-fp32.tflite").is_file()


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("bare", "let the factory return (module, ModelSpec)"),
        ("generic", "is made for generic, and only classifiers"),
        ("few", "gives 7 logits, and the data have 10 classes"),
        ("named", "is in only one of network 'bars' and data"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_a_network_of_ones_own_that_does_not_fit_is_one_error(
    factory: str, said: str, own: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(f"mnist:{digits}", tmp_path / "out", model=f"{own}:{factory}") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "history").exists()


def test_the_removal_is_not_proposed_where_nothing_is_zero(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert train(f"mnist:{digits}", output, "--epochs", "1", "--limit", "1", "--threshold", "0") == 0
    shown = capsys.readouterr().out
    assert "70 of 70" in shown
    assert "compress pictures" in shown
    assert "compress remove" not in shown
