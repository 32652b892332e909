"""A training small enough to be run many times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from toolchain.training.trainer import quiet

STEPS, BATCH, SIZE = 4, 8, 8


def small_network() -> nn.Sequential:
    """Two convolutions with norms and one without: 6 + 8 + 5 kernels."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 5, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


class SmallTraining(lightning.LightningModule):
    """Three classes of noise; the batches are functions of epoch and step alone."""

    def __init__(self, make_optimizer: Any = None, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = small_network() if network is None else network
        self.make_optimizer = make_optimizer or (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9))

    def batch(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(100 * epoch + index)
        label = torch.randint(0, 3, (BATCH,), generator=random)
        image = torch.randn(BATCH, 1, SIZE, SIZE, generator=random)
        image[torch.arange(BATCH), 0, label] += 3
        return image, label

    def training_step(self, _batch: Any, index: int) -> Tensor:
        image, label = self.batch(self.current_epoch, index)
        return functional.cross_entropy(self.network(image.to(self.device)), label.to(self.device))

    def validation_step(self, _batch: Any, index: int) -> None:
        image, label = self.batch(99, index)
        logits = self.network(image.to(self.device))
        wrong = (logits.argmax(1) != label.to(self.device)).float().mean()
        self.log("val_error", 100 * wrong, batch_size=BATCH)
        self.log("val_loss", functional.cross_entropy(logits, label.to(self.device)), batch_size=BATCH)

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.network.parameters())


class Fit:
    """Runs `SmallTraining` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        *callbacks: lightning.Callback,
        epochs: int = 3,
        optimizer: Any = None,
        network: nn.Module | None = None,
        resume: Path | None = None,
        **trainer: Any,
    ) -> SmallTraining:
        module = SmallTraining(optimizer, network)
        arguments: dict[str, Any] = {
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": self.folder,
        }
        with quiet():
            running = lightning.Trainer(
                **{**arguments, **trainer}, max_epochs=epochs, callbacks=list(callbacks)
            )
            running.fit(
                module,
                DataLoader(range(STEPS), batch_size=1),
                DataLoader(range(2), batch_size=1),
                ckpt_path=str(resume) if resume else None,
                weights_only=True,
            )
        return module


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """`fit(callback, ..., epochs=3, optimizer=, network=, resume=)` trains, and gives the module back."""
    return Fit(tmp_path)
