"""Classifiers learn, are chosen on validation pictures, and go on bit for bit after a kill."""

from __future__ import annotations

import csv
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from pictures_in_memory import SPEC, Tiny, classification_data, seeded, stripes

from toolchain.errors import ToolchainError, UsageError
from toolchain.models.zoo import zoo
from toolchain.training.checkpoints import Checkpoints
from toolchain.training.classification import (
    ClassifierResult,
    as_inputs,
    error_of,
    fit_classifier,
    fitting_data,
    new_classifier,
    parse_classifier_settings,
)
from toolchain.training.classification_settings import ClassifierSettings
from toolchain.training.trainer import interruptible

EPOCHS = 4
CPU = {"accelerator": "cpu"}


def settings(**values: Any) -> ClassifierSettings:
    table = {
        "epochs": EPOCHS,
        "batch_size": 8,
        "optimizer": {"learning_rate": 0.05},
        "augment": {"shift": 0.13, "colour": 0.1},
        "label_smoothing": 0.05,
    }
    return parse_classifier_settings("test", {**table, **values})


def fit(output: Path, **values: Any) -> ClassifierResult:
    arguments = {
        "network": seeded(Tiny),
        "data": classification_data(),
        "settings": settings(),
        "seed": 7,
        "spec": SPEC,
        "calibrate": False,
        "checkpoint_seconds": 0.0,
        "trainer": CPU,
    }
    return fit_classifier(output=output, **{**arguments, **values})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClassifierResult]:
    output = tmp_path_factory.mktemp("uninterrupted")
    return output, fit(output)


def rows(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "log.csv").open()))


def test_it_learns_and_the_epoch_is_chosen_on_validation(
    uninterrupted: tuple[Path, ClassifierResult],
) -> None:
    output, result = uninterrupted
    errors = [float(row["val_error"]) for row in rows(output)]
    assert len(errors) == EPOCHS
    assert result.best_epoch == 1 + errors.index(min(errors))
    assert result.validation_error == pytest.approx(min(errors), abs=0.01)
    assert result.validation_error < 20
    assert result.test_error < 20


def test_the_weights_are_those_of_the_figures(uninterrupted: tuple[Path, ClassifierResult]) -> None:
    _, result = uninterrupted
    network = Tiny()
    network.load_state_dict(load_file(result.weights))
    data = classification_data()
    assert error_of(network, data.validation, SPEC) == pytest.approx(result.validation_error, abs=1e-3)
    assert error_of(network, data.test, SPEC) == pytest.approx(result.test_error, abs=1e-3)


def test_the_card_says_how(uninterrupted: tuple[Path, ClassifierResult]) -> None:
    output, result = uninterrupted
    card = json.loads((output / "tiny.json").read_text())
    assert card == result.card
    assert (card["model"], card["seed"], card["terms"], card["pictures"]) == ("tiny", 7, "for tests", 48)
    assert card["labels"] == ["across", "down"]
    assert card["recipe"] == settings().as_json()
    assert card["figures"]["test_error"] == result.test_error


def test_the_error_of_a_network_that_always_says_the_same() -> None:
    network = Tiny().eval()
    with torch.no_grad():
        for parameter in network.classifier.parameters():
            parameter.zero_()
        network.classifier[1].bias[1] = 1.0
    split = stripes(300, 0)
    split = replace(split, targets=(torch.arange(300) % 3 == 0).long())
    network.train()
    assert error_of(network, split, SPEC) == pytest.approx(100 * 200 / 300)
    assert network.training


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_inputs_are_normalized_by_the_contract(precision: str) -> None:
    images = stripes(2, 0).images
    found = as_inputs(images, SPEC)
    assert found[1, 2, 3, 4] == pytest.approx((float(images[1, 2, 3, 4]) - 140) / 70, abs=1e-6)
    grey = as_inputs(images[:, :1], replace(SPEC, preprocess=None))
    assert torch.equal(grey, images[:, :1].float() / 255)


class Killed(BaseException):
    """Ends a run where the operating system could have ended it."""


def everything(output: Path) -> dict[str, Any]:
    state = torch.load(output / "last.ckpt", weights_only=True)
    clocks = {"images_per_second", "data_wait"}
    return {
        "weights": load_file(output / "tiny.safetensors"),
        "network": state["state_dict"],
        "optimizer": state["optimizer_states"][0]["state"],
        "step": state["global_step"],
        "log": [{name: row[name] for name in row.keys() - clocks} for row in rows(output)],
    }


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


@pytest.mark.parametrize(
    ("name", "precision", "channels_last"),
    [("sgd", "32", False), ("adamw", "bf16-mixed", True)],
)
def test_a_killed_run_goes_on_bit_for_bit(
    name: str, precision: str, channels_last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within an epoch, then at the end of one."""
    chosen = settings(
        optimizer={"name": name, "learning_rate": 0.02}, precision=precision, channels_last=channels_last
    )
    fit(tmp_path / "whole", settings=chosen)
    write = Checkpoints._save
    for run, last in enumerate((4, 5)):
        written = 0

        def save(*arguments: Any, last: int = last) -> None:
            nonlocal written
            written += 1
            write(*arguments)
            if written == last:
                raise Killed

        monkeypatch.setattr(Checkpoints, "_save", save)
        with pytest.raises(Killed):
            fit(tmp_path / "killed", settings=chosen, resume=run > 0)
    monkeypatch.setattr(Checkpoints, "_save", write)
    # What the network starts from does not matter any more.
    fit(tmp_path / "killed", settings=chosen, resume=True, network=seeded(Tiny, 99))
    assert equal(everything(tmp_path / "whole"), everything(tmp_path / "killed"))


def test_another_run_is_not_resumed(uninterrupted: tuple[Path, ClassifierResult]) -> None:
    output, _ = uninterrupted
    with pytest.raises(UsageError, match=r"seed was 7, not 8"):
        fit(output, resume=True, seed=8)
    with pytest.raises(UsageError, match=r"recipe.optimizer.learning_rate was 0.05, not 0.01"):
        fit(output, resume=True, settings=settings(optimizer={"learning_rate": 0.01}))
    with pytest.raises(UsageError, match=r"strength was None, not 0.5"):
        fit(output, resume=True, identity={"strength": 0.5})
    with pytest.raises(UsageError, match="holds a training already"):
        fit(output)


def test_a_diverging_loss_stops_with_the_last_good_state(tmp_path: Path) -> None:
    def loss(_images: torch.Tensor, logits: torch.Tensor, _targets: torch.Tensor) -> dict[str, torch.Tensor]:
        loss.steps += 1
        return {"loss": logits.mean() if loss.steps < 10 else logits.sum() / 0}

    loss.steps = 0
    with pytest.raises(
        ToolchainError, match=r"loss is no finite number .* in epoch 2, step 4 of 6"
    ) as caught:
        fit(tmp_path, loss=loss)
    assert "last.ckpt" in caught.value.hint
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == 9
    assert all(torch.isfinite(tensor).all() for tensor in state["state_dict"].values())


def test_interrupted_is_a_keyboard_interrupt(tmp_path: Path) -> None:
    class Interrupt(lightning.Callback):
        def on_train_batch_start(self, *_arguments: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, callbacks=[Interrupt()])
    assert (tmp_path / "last.ckpt").is_file()
    with interruptible():
        pass


def test_callbacks_run_before_the_checkpoint_of_the_epoch(tmp_path: Path) -> None:
    """What a callback does to the network after an epoch is in the checkpoint, and its own state too."""

    class Mark(lightning.Callback):
        def on_train_epoch_end(self, _trainer: lightning.Trainer, pl_module: Any) -> None:
            with torch.no_grad():
                pl_module.network.features[0].weight[0] = 0.125

        def state_dict(self) -> dict[str, Any]:
            return {"marked": True}

    fit(tmp_path, callbacks=[Mark()])
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (state["state_dict"]["network.features.0.weight"][0] == 0.125).all()
    assert {"marked": True} in state["callbacks"].values()


def test_data_are_brought_to_the_classes_of_the_network() -> None:
    data = classification_data()
    turned = fitting_data(data, replace(SPEC, labels=("down", "across")))
    assert torch.equal(turned.train.targets, 1 - data.train.targets)
    with pytest.raises(UsageError, match="class 'down' is in only one"):
        fitting_data(data, replace(SPEC, labels=("across", "up")))
    lenet = zoo().get("lenet").spec
    with pytest.raises(UsageError, match=r"takes pictures of 1 x 28 x 28 .* not 3 x 8 x 8"):
        fitting_data(data, lenet)


def test_new_classifiers_depend_on_the_seed_alone() -> None:
    entry = zoo().get("lenet")
    torch.manual_seed(123)
    one, spec = new_classifier(entry, ["a", "b"], seed=3)
    torch.rand(5)
    other, _ = new_classifier(entry, ["a", "b"], seed=3)
    assert equal(one.state_dict(), other.state_dict())
    assert (spec.labels, spec.outputs[0].shape) == (("a", "b"), (1, 2))
    assert one(torch.zeros(1, 1, 28, 28)).shape == (1, 2)
    whole, spec = new_classifier(entry, entry.spec.labels[::-1])
    assert spec is entry.spec
    assert whole(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    with pytest.raises(UsageError, match="'unet' is no classifier"):
        new_classifier(zoo().get("unet"))
