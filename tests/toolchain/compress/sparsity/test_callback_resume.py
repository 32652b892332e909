"""A training that is stopped anywhere goes on as if nothing had happened: weights, optimizer and history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint

from toolchain.compress.sparsity.callback import KernelSparsity, SparsitySettings
from toolchain.compress.sparsity.history import History
from toolchain.errors import UsageError
from toolchain.training.weight_average import WeightAverage

SETTINGS = SparsitySettings(0.1, threshold=0.12)


class Stopped(Exception):  # noqa: N818
    """The process is gone."""


class StopAt(Checkpoint):
    """Saves a checkpoint and goes down: after a step, or, as step -1, at the end of an epoch."""

    def __init__(self, path: Path, epoch: int, step: int) -> None:
        self.path, self.place = path, (epoch, step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, out: Any, batch: Any, index: int) -> None:
        self.stop_if((trainer.current_epoch, index), trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.stop_if((trainer.current_epoch, -1), trainer)

    def stop_if(self, place: tuple[int, int], trainer: Any) -> None:
        if place == self.place:
            trainer.save_checkpoint(self.path)
            raise Stopped


def make_adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, 0.01, weight_decay=0.1)


def callbacks(folder: Path) -> list[lightning.Callback]:
    return [KernelSparsity(SETTINGS, folder, keep="all"), WeightAverage(0.9)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("place", [(0, 1), (1, -1), (2, 0), (2, 2)])
def test_resumed_training_is_bit_exact(place: tuple[int, int], fit, tmp_path: Path) -> None:
    whole = fit(*callbacks(tmp_path / "whole"), epochs=4, optimizer=make_adam)
    checkpoint = tmp_path / "stopped.ckpt"
    with pytest.raises(Stopped):
        fit(*callbacks(tmp_path / "parts"), StopAt(checkpoint, *place), epochs=4, optimizer=make_adam)
    resumed = callbacks(tmp_path / "parts")
    parts = fit(*resumed, epochs=4, optimizer=make_adam, resume=checkpoint)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, parts.network.state_dict()[name]), name
    assert content(tmp_path / "whole") == content(tmp_path / "parts")
    assert History(tmp_path / "parts").epochs()[-1].filters_left < 19


def test_an_epoch_whose_checkpoint_was_lost_is_written_again(fit, tmp_path: Path) -> None:
    """The record is there before the checkpoint; a kill between them leaves one epoch to repeat."""
    fit(*callbacks(tmp_path / "whole"), epochs=3, optimizer=make_adam)
    checkpoint = tmp_path / "stopped.ckpt"

    class SaveThenStop(StopAt):
        def stop_if(self, place: tuple[int, int], trainer: Any) -> None:
            if place == (1, 0):
                trainer.save_checkpoint(self.path)
            if place == (1, -1):
                raise Stopped

    with pytest.raises(Stopped):
        fit(*callbacks(tmp_path / "parts"), SaveThenStop(checkpoint, 0, 0), epochs=3, optimizer=make_adam)
    assert History(tmp_path / "parts").numbers() == [1, 2]
    fit(*callbacks(tmp_path / "parts"), epochs=3, optimizer=make_adam, resume=checkpoint)
    assert content(tmp_path / "whole") == content(tmp_path / "parts")


def test_other_settings_are_another_training(fit, tmp_path: Path) -> None:
    checkpoint = tmp_path / "stopped.ckpt"
    with pytest.raises(Stopped):
        fit(KernelSparsity(SETTINGS), StopAt(checkpoint, 1, 1))
    other = KernelSparsity(SparsitySettings(0.2, threshold=0.12))
    with pytest.raises(UsageError, match=r"strength was 0\.1, not 0\.2"):
        fit(other, resume=checkpoint)
