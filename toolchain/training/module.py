"""What every Lightning module of this package has, whatever it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod

import lightning
from torch import nn

from toolchain.errors import ToolchainError


class TrainedModule(lightning.LightningModule, ABC):
    """A training of `network`, judged after each epoch.

    Attributes:
        network: what is trained and written.
        seed: every step's random numbers are made of it, the epoch and the step.
    """

    network: nn.Module
    seed: int

    @abstractmethod
    def verdict(self) -> str:
        """The figures of the last validation, for the line about an epoch."""

    def no_number(self, what: str, index: int) -> ToolchainError:
        """The error of a training that has diverged, naming epoch and step as people count them."""
        return ToolchainError(
            f"{what} in epoch {self.current_epoch + 1}, step {index + 1} of"
            f" {self.trainer.num_training_batches} (seed {self.seed})",
            "lower --learning-rate or use --precision 32, in another output folder; the last good checkpoint"
            f" is '{self.trainer.default_root_dir}/last.ckpt'",
        )
