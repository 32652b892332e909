"""Checkpoints from which a training that was killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.loading import EpochSampler
from toolchain.training.module import TrainedModule
from toolchain.training.weight_average import WeightAverage

LAST = "last.ckpt"
BEST = "best.ckpt"
RUN = "run"
PROCESSES = "processes"
# Steps between two looks at the clock when processes must agree on it.
AGREED_EVERY = 50
# May change between a run and its continuation.
FREE = ("epochs", "description", "name")


class Checkpoints(Checkpoint):
    """Keeps `last.ckpt` (everything) and `best.ckpt` (the network with the best figure).

    `last.ckpt` is written at the start, after every epoch, and in between after so many seconds; each
    file replaces the one before it in one move. Random numbers, order and learning rate are functions of
    seed, epoch and step, so that weights, optimizer, average and position are all that there is to keep.

    Args:
        folder: where the files go.
        sampler: of the training data; brought to the position of a loaded checkpoint.
        run: what must be the same when it is resumed, as JSON can express it.
        average: the averaged weights, None when there are none.
        seconds: between two checkpoints within an epoch.
        figure: attribute of the module that says how good the last validation was, from 0 (worst) on.
    """

    def __init__(
        self,
        folder: Path,
        sampler: EpochSampler,
        run: dict[str, Any],
        average: WeightAverage | None,
        seconds: float,
        figure: str = "overall_f1",
    ) -> None:
        self.folder, self.sampler, self.run = folder, sampler, run
        self.average, self.seconds, self.figure = average, seconds, figure
        self.position = (0, 0)
        self.best, self.best_epoch = -1.0, -1
        self._saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"position": list(self.position), "best_f1": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        epoch, batch = state_dict["position"]
        self.position = (epoch, batch)
        self.sampler.start_at(epoch, batch)
        self.best, self.best_epoch = state_dict["best_f1"], state_dict["best_epoch"]

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Note what run this is."""
        checkpoint[RUN] = {**self.run, PROCESSES: trainer.world_size}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """There is something to resume from the first step on."""
        if trainer.global_step == 0:
            self._save(trainer, pl_module, (0, 0))
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint if the last one is old; the one of a finished epoch waits for the validation."""
        if batch_idx + 1 < trainer.num_training_batches and self._is_due(trainer, batch_idx):
            self._save(trainer, pl_module, (trainer.current_epoch, batch_idx + 1))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Keep the network if it is better than all before; it is written before the score counts."""
        found = float(getattr(pl_module, self.figure))
        if found <= self.best:
            return
        self.best, self.best_epoch = found, trainer.current_epoch
        if trainer.is_global_zero:
            weights = network_weights(pl_module, self.average)
            state = {"state_dict": {f"network.{name}": tensor for name, tensor in weights.items()}}
            write_atomically(self.folder / BEST, lambda file: torch.save(state, file))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the checkpoint of the finished epoch."""
        self._save(trainer, pl_module, (trainer.current_epoch + 1, 0))

    def _is_due(self, trainer: lightning.Trainer, index: int) -> bool:
        due = time.monotonic() - self._saved >= self.seconds
        if trainer.world_size == 1:
            return due
        return index % AGREED_EVERY == 0 and bool(trainer.strategy.broadcast(due))

    def _save(self, trainer: lightning.Trainer, module: TrainedModule, position: tuple[int, int]) -> None:
        for name, tensor in module.network.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise module.no_number(f"'{name}' is no finite number", max(0, position[1] - 1))
        self.position = position
        partial = self.folder / f"{LAST}.partial"
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(self.folder / LAST)
        trainer.strategy.barrier("checkpoint")
        self._saved = time.monotonic()


def network_weights(module: TrainedModule, average: WeightAverage | None) -> dict[str, Tensor]:
    """State dict of the network, with the averaged tensors where there are any."""
    return {**module.network.state_dict(), **(average.average if average else {})}


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file that is either there completely or not at all, whenever the process ends."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def check_resumable(folder: Path, run: dict[str, Any], resume: bool) -> None:
    """Refuse to resume another run than the one in the folder, and to write over one.

    Raises:
        UsageError: there is nothing to resume, the runs differ, or there is a run that would be lost.
        UnsupportedError: the checkpoint is damaged, or not one of this version.
    """
    last = folder / LAST
    if not resume:
        if last.is_file():
            raise UsageError(
                f"'{folder}' holds a training already",
                "go on with it with --resume, or give another -o folder",
            )
        return
    if not last.is_file():
        raise UsageError(f"nothing to resume: '{last}' is missing", "leave --resume out")
    before = _read_run(last)
    # Known only when there is a trainer, see `check_processes`.
    before.pop(PROCESSES, None)
    changed = _differences(before, run)
    if changed:
        raise UsageError(
            f"the run in '{folder}' is another one: {'; '.join(changed)}",
            "resume with the options that it was started with, or start anew in another folder",
        )


def check_processes(folder: Path, processes: int) -> None:
    """Refuse to resume with another number of processes: each has its own share of an epoch.

    Raises:
        UsageError: the run in the folder has another number.
        UnsupportedError: the checkpoint is damaged, or not one of this version.
    """
    before = _read_run(folder / LAST)[PROCESSES]
    if before != processes:
        raise UsageError(
            f"the run was started with {before} process(es), not {processes}",
            "resume with the same --devices and --nodes",
        )


def _read_run(path: Path) -> dict[str, Any]:
    hint = "start anew in another folder"
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True)[RUN])
    except Exception as error:
        raise UnsupportedError(f"'{path}' is no checkpoint of this version: {error!r}", hint) from error


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new and key not in FREE:
            found.append(f"{prefix}{key} was {old!r}, not {new!r}")
    return found
