"""`toolchain train` on drawn faces: it learns, it refuses, and its weights and card are usable."""

from __future__ import annotations

import csv
import json
import signal
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from toolchain.cli import run
from toolchain.errors import ToolchainError, UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.training.face_parsing import FaceParsing
from toolchain.training.fit import TrainOptions, train_face_parsing
from toolchain.training.recipe import read_recipe


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
    assert card["parameters"] == 248_066
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
    check_log(tmp_path)
    check_samples(tmp_path / "samples" / "epoch-0002.png")
    recipe = read_recipe("best").with_values(size=64, epochs=2, batch_size=4, precision="32")
    assert card["recipe"] == recipe.as_json()
    assert card["training"]["steps"] == 4
    assert card["training"]["images_per_second"] > 0
    assert 0 <= card["training"]["data_wait_share"] <= 1
    assert card["training"]["best_epoch"] in (1, 2)


def check_log(output: Path) -> None:
    """Two epochs, each with its losses, figures and speed; TensorBoard has the same and the pictures."""
    rows = list(csv.DictReader((output / "log.csv").open()))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4")]
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    for row in rows:
        terms = float(row["train_cross_entropy"]) + float(row["train_dice"])
        assert float(row["train_loss"]) == pytest.approx(terms, rel=1e-4)
        assert float(row["images_per_second"]) > 0
        assert 0 <= float(row["lowest_class_f1"]) <= float(row["overall_f1"]) <= 100
    events = EventAccumulator(str(output / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(rows[0]) - {"epoch", "step"}
    for name in events.Tags()["scalars"]:
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(int(row["epoch"]), pytest.approx(float(row[name]), rel=1e-6)) for row in rows]
    (shown,) = events.Images("samples")
    assert shown.step == 2
    picture = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(picture, cv2.imread(str(output / "samples" / "epoch-0002.png")))


def check_samples(path: Path) -> None:
    """Four rows of picture, truth and answer; truth is drawn over the picture."""
    sheet = cv2.imread(str(path))
    assert sheet.shape == (4 * 64, 3 * 64, 3)
    picture, truth = sheet[:, :64].astype(int), sheet[:, 64:128].astype(int)
    changed = np.abs(picture - truth).max(2) > 16
    assert 0.1 < changed.mean() < 0.6


@pytest.mark.slow
def test_finished_training_goes_on_for_more_epochs(faces: Path, tmp_path: Path) -> None:
    assert train(faces, tmp_path, "--epochs", "1") == 0
    first = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert train(faces, tmp_path, "--epochs", "2", "--resume") == 0
    second = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert second["global_step"] == 2 * first["global_step"]
    assert json.loads((tmp_path / "mobile-hourglass.json").read_text())["training"]["steps"] == 4


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
        (["--data", "drawn:8", "--recipe", "bets"], 2, "did you mean best"),
        (["--data", "drawn:8", "--epochs", "0"], 2, "epochs is 0"),
        (["--data", "drawn:8", "--teacher", "unet"], 2, "no weights ship with the teacher"),
        (["--data", "drawn:8", "--teacher", "lenet"], 2, "other classes"),
        (["--data", "drawn:8", "--seed", "-1"], 2, "--seed"),
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


def fit(faces: Path, output: Path, **more) -> dict:
    recipe = read_recipe("quick").with_values(size=32, epochs=1, batch_size=4)
    values = {"model": "mobile-hourglass", "recipe": recipe, "workers": 0, "trainer": {"accelerator": "cpu"}}
    return train_face_parsing(TrainOptions(f"celebamask:{faces}", output=output, **{**values, **more}))


def test_a_training_is_not_written_over(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"weeks of work")
    with pytest.raises(UsageError, match="holds a training already"):
        fit(faces, tmp_path)
    assert (tmp_path / "last.ckpt").read_bytes() == b"weeks of work"


def test_loss_that_is_no_number_names_the_step_and_keeps_the_checkpoint(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = FaceParsing.forward
    calls = 0

    def diverge(self, image, previous):
        nonlocal calls
        calls += 1
        return forward(self, image, previous) * (float("nan") if calls == 2 else 1.0)

    monkeypatch.setattr(FaceParsing, "forward", diverge)
    with pytest.raises(ToolchainError, match=r"no finite number .*epoch 1, step 2 of 2") as caught:
        fit(faces, tmp_path, checkpoint_seconds=0.0)
    assert "last.ckpt" in caught.value.hint
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in state["state_dict"].values())


def test_weights_that_are_no_numbers_are_not_saved(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = read_recipe("quick").with_values(size=32, epochs=1, batch_size=4, learning_rate=0.0)
    recipe = replace(
        base, optimizer=replace(base.optimizer, learning_rate=100.0, clip=0.0), weight_average=0.0
    )

    def poison(network: torch.nn.Module) -> torch.nn.Module:
        # The loss of the first step is finite, what the optimizer makes of the weights is not.
        network.head.weight.register_hook(lambda gradient: gradient * float("inf"))
        return network

    monkeypatch.setattr("toolchain.training.fit.fake_quantized", poison)
    with pytest.raises(ToolchainError, match=r"'head.weight' is no finite number in epoch 1, step 1 of 2"):
        fit(faces, tmp_path, recipe=recipe, qat=True, checkpoint_seconds=0.0)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 0


def interrupt(self, image, previous):
    raise KeyboardInterrupt


def test_interrupted_training_exits_as_the_command_line_does(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(FaceParsing, "forward", interrupt)
    assert train(faces, tmp_path, "--epochs", "1") == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert capsys.readouterr().err.endswith("interrupted\n")


@pytest.mark.parametrize("model", ["mobile-hourglass", "unet", "segnet"])
def test_every_kind_of_network_is_trained(
    model: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One input or two; a single step changes the weights and the running statistics."""
    monkeypatch.setattr("toolchain.training.fit.calibration", lambda *_: {})
    before = {name: tensor.clone() for name, tensor in seeded(model).items()}
    fit(faces, tmp_path, model=model, limit=1)
    after = load_file(tmp_path / f"{model}.safetensors")
    assert after.keys() == before.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) == len(before)


def seeded(model: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return zoo().get(model).build().state_dict()


def test_a_teacher_is_learnt_from(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.training.fit.calibration", lambda *_: {})
    quick = read_recipe("quick").with_values(size=32, epochs=4, batch_size=4, learning_rate=1e-2)
    recipe = replace(quick, loss=replace(quick.loss, distillation=1.0))
    light = "mobile-hourglass-light"
    card = fit(faces, tmp_path, recipe=recipe, model=light, teacher=light, weights=None)
    assert card["teacher"] == light
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    taught = [float(row["train_distillation"]) for row in rows if row["train_distillation"]]
    assert len(taught) == 4
    assert taught[-1] < 0.8 * taught[0]
    # The teacher is no part of what is kept.
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {"network", "parser"}


@pytest.mark.slow
def test_quantization_aware_training_exports_through_the_same_pairs(
    faces: Path, tmp_path: Path, capsys
) -> None:
    assert train(faces, tmp_path, "--qat", "--epochs", "1", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["recipe"]["name"] == "qat"
    assert card["started_from"] == "mobile-hourglass.safetensors"
    assert card["figures_rounded"]["protocol"].endswith("rounded as int8")
    weights = str(tmp_path / "mobile-hourglass.safetensors")
    options = ["-f", "tflite", "-p", "int8", "--weights", weights, "-o", str(tmp_path / "build"), "--json"]
    assert run(["export", "mobile-hourglass", *options]) == 0
    assert json.loads(capsys.readouterr().out)[0]["parity"]["agreement"] > 0.99


def test_there_must_be_weights_to_fine_tune(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights ship with 'unet'"):
        fit(faces, tmp_path, model="unet", qat=True)


def damaged_copy(faces: Path, path: Path, names: list[str]) -> Path:
    """The same zip, in which some pictures are cut off."""
    with zipfile.ZipFile(faces) as whole, zipfile.ZipFile(path, "w") as part:
        for member in whole.namelist():
            content = whole.read(member)
            part.writestr(member, content[: len(content) // 2] if member in names else content)
    return path


@pytest.mark.slow
def test_a_damaged_pair_is_named_and_left_out_and_resumed_without(
    faces: Path, tmp_path: Path, capsys
) -> None:
    # The first one is among the pictures that ranges are measured on, too.
    data = damaged_copy(faces, tmp_path / "cut.zip", ["train/images/t00000.jpg"])
    output = tmp_path / "out"
    assert train(data, output, "--epochs", "1") == 0
    assert "skipped 't00000': 'train/images/t00000.jpg' in" in capsys.readouterr().err
    card = json.loads((output / "mobile-hourglass.json").read_text())
    assert card["pairs"] == 7
    assert [skipped["name"] for skipped in card["skipped"]] == ["t00000"]
    assert train(data, output, "--epochs", "2", "--resume") == 0
    # Repaired data are other data: the order of the pairs would be another one.
    assert train(faces, output, "--epochs", "3", "--resume") == 2
    assert "pairs was 7, not 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["val/images/v00001.jpg"], "1 of 4 pairs of 'CelebAMask-HQ subset' cannot be measured on"),
        (
            ["train/images/t00001.jpg", "train/labels/t00002.png"],
            "2 of 8 pairs of 'CelebAMask-HQ subset' cannot be trained on",
        ),
    ],
)
def test_damaged_data_are_refused_before_the_training(
    names: list[str], message: str, faces: Path, tmp_path: Path, capsys
) -> None:
    data = damaged_copy(faces, tmp_path / "cut.zip", names)
    assert train(data, tmp_path / "out") == 3
    shown = capsys.readouterr().err
    assert message in shown
    assert all(name in shown for name in names)
    assert not (tmp_path / "out").exists()
