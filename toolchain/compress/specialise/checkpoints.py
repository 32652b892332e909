"""Which epoch of a training with the sparsity term is kept."""

from __future__ import annotations

from typing import Any

import lightning

from toolchain.training.checkpoints import Checkpoints


class LatestCheckpoints(Checkpoints):
    """Keeps the network of the latest epoch in `best.ckpt`, not the one with the best figure.

    Kernels go one by one in a training with the sparsity term; the best figure is that of an early epoch, in
    which hardly any are gone. The history has the epochs in between.
    """

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Keep the network."""
        self.best = -1.0
        super().on_validation_end(trainer, pl_module)
