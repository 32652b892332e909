"""Sample pictures of a training: what the network makes of a few faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import torch

from toolchain.face.colorize import colorize
from toolchain.training.checkpoints import write_atomically
from toolchain.training.datasets.pairs import IGNORE, FacePairs
from toolchain.training.log import TrainingLog

COUNT = 8
GREY = (128, 128, 128)


class SamplePictures(lightning.Callback):
    """Writes `samples/epoch-NNNN.png` after every few epochs and after the last one, and logs it.

    Each row shows a picture, its true labels and those of the network, all from the validation split.

    Args:
        folder: where the folder `samples` goes.
        pairs: validation pairs, of which a few are taken at equal distances.
        palette: RGB (0-255) per class.
        every: epochs between two sheets.
        log: takes the sheets, too.
    """

    def __init__(
        self,
        folder: Path,
        pairs: FacePairs,
        palette: Sequence[tuple[int, int, int]],
        every: int,
        log: TrainingLog,
    ) -> None:
        self.training_log = log
        self.folder, self.palette, self.every = folder / "samples", palette, every
        chosen = np.linspace(0, len(pairs) - 1, min(COUNT, len(pairs))).round().astype(int)
        self.pairs = [pairs.pair(int(index)) for index in chosen]

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Draw, with the weights that are validated."""
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or (epoch % self.every and epoch != trainer.max_epochs):
            return
        images = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in self.pairs]))
        found = pl_module.predict_labels(images.to(pl_module.device).float()).byte().cpu().numpy()
        sheet = contact_sheet(self.pairs, found, self.palette)
        self.folder.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
        write_atomically(self.folder / f"epoch-{epoch:04d}.png", lambda file: file.write(encoded))
        self.training_log.add_picture("samples", sheet, epoch)


def contact_sheet(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    found: Sequence[np.ndarray] | np.ndarray,
    palette: Sequence[tuple[int, int, int]],
) -> np.ndarray:
    """One row per pair: picture, true labels, found labels; unknown pixels are grey.

    Args:
        pairs: pictures (s, s, 3) RGB uint8 and label maps (s, s) uint8.
        found: label maps (s, s) uint8.
        palette: RGB (0-255) per class.

    Returns:
        (rows * s, 3 * s, 3) RGB uint8.
    """
    colors = [*palette, *[GREY] * (IGNORE + 1 - len(palette))]
    rows = [
        np.hstack([picture, colorize(picture, truth, colors), colorize(picture, labels, colors)])
        for (picture, truth), labels in zip(pairs, found, strict=True)
    ]
    return np.vstack(rows)
