"""What a training says about itself: losses, speed, and the share of time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import lightning
import torch

from toolchain.training.loading import TimedLoader
from toolchain.training.log import TrainingLog

Report = Callable[[str], None]


@dataclass
class Totals:
    """Sums over steps.

    Attributes:
        steps: steps taken.
        images: pictures trained on, in all processes.
        seconds: time of the steps by the clock of the first process. It includes the wait for pictures, the
            wait for the slowest process, and checkpoints within an epoch; it does not include validation, the
            checkpoint of a finished epoch, sample pictures and what was lost by a kill.
        waited: seconds of it in which the first process waited for its pictures.
        terms: sum of every term of the loss, each the mean of all processes.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)

    def add(self, images: int, seconds: float, waited: float, terms: dict[str, float]) -> None:
        """Count one step."""
        self.steps += 1
        self.images += images
        self.seconds += seconds
        self.waited += waited
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value

    @property
    def images_per_second(self) -> float:
        """Pictures a second, those of all processes together."""
        return self.images / max(self.seconds, 1e-9)

    @property
    def data_wait(self) -> float:
        """Share (0-1) of the time that was spent waiting for data."""
        return self.waited / max(self.seconds, 1e-9)

    def means(self) -> dict[str, float]:
        """Mean of every term."""
        return {name: value / max(self.steps, 1) for name, value in self.terms.items()}


class Progress(lightning.Callback):
    """Logs losses and speed of every epoch, and says one line about it.

    Sums go into the checkpoints, so that the figures of an epoch are whole ones after an interruption, too.

    Args:
        loader: of the training data.
        log: takes the figures.
        report: takes the lines.
    """

    def __init__(self, loader: TimedLoader, log: TrainingLog, report: Report | None) -> None:
        self.loader, self.training_log, self.report = loader, log, report
        self.epoch, self.total = Totals(), Totals()
        self._step_began = self._waited = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._start_clock()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the clock where an epoch is entered in the middle."""
        self._start_clock()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step."""
        own = torch.stack([value.detach() for value in outputs.values()])
        mean: Any = trainer.strategy.reduce(own, reduce_op="mean")
        terms = dict(zip(outputs, mean.tolist(), strict=True))
        # Read after the values have come from the device: what was only queued there is not done.
        now, waited = time.perf_counter(), self.loader.waited
        images = len(batch[0]) * trainer.world_size
        for totals in (self.epoch, self.total):
            totals.add(images, now - self._step_began, waited - self._waited, terms)
        self._step_began, self._waited = now, waited

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Log and say the figures of the epoch."""
        done, self.epoch = self.epoch, Totals()
        if not trainer.is_global_zero:
            return
        figures = {
            **{f"train_{name}": value for name, value in done.means().items()},
            "images_per_second": done.images_per_second,
            "data_wait": done.data_wait,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        validated = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.training_log.add(trainer.current_epoch + 1, trainer.global_step, {**figures, **validated})
        if self.report is not None:
            self.report(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}:"
                f" loss {figures['train_loss']:.4f}, {pl_module.verdict()},"
                f" {speed_text(done)}"
            )

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"epoch": asdict(self.epoch), "total": asdict(self.total)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.epoch, self.total = Totals(**state_dict["epoch"]), Totals(**state_dict["total"])

    def _start_clock(self) -> None:
        self._step_began, self._waited = time.perf_counter(), self.loader.waited


def speed_text(totals: Totals) -> str:
    """Pictures a second and the share of waiting, in words."""
    wait = f"{100 * totals.data_wait:.0f} % of the time waiting for data"
    return f"{totals.images_per_second:.0f} images/s, {wait}"
