"""The log of a training: one row an epoch, as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from torch.utils.tensorboard import SummaryWriter

from toolchain.training.checkpoints import write_atomically

CSV = "log.csv"
TENSORBOARD = "tensorboard"


class TrainingLog(lightning.Callback):
    """Keeps `log.csv` and the event files in `tensorboard/`, both with the epoch, from 1 on, as the step.

    The rows are part of the checkpoints. A resumed run writes the file anew from those of its checkpoint and
    tells TensorBoard to forget what is later, so that a training that was killed at any moment has each epoch
    once. Lightning's own loggers keep no such order: a row may be lost, or written again.

    Args:
        folder: where the log goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self._writer: SummaryWriter | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Bring both logs to where the checkpoint was written."""
        if not trainer.is_global_zero:
            return
        self._writer = SummaryWriter(
            str(self.folder / TENSORBOARD), purge_step=trainer.current_epoch + 1, max_queue=1
        )
        if self.rows:
            self._write_csv()

    def add(self, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Log the figures of a finished epoch; call it before the checkpoint of that epoch is written.

        Args:
            epoch: its number, from 1 on.
            step: steps taken since the training began.
            figures: by name, the same names every time.
        """
        self.rows.append({"epoch": epoch, "step": step, **figures})
        self._write_csv()
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()

    def add_picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """Add a picture (height, width, 3) RGB uint8 to TensorBoard's log."""
        if self._writer is not None:
            self._writer.add_image(name, picture, epoch, dataformats="HWC")
            self._writer.flush()

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.rows = state_dict["rows"]

    def _write_csv(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[-1]), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.folder / CSV, lambda file: file.write(text.getvalue().encode()))
