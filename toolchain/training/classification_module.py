"""The Lightning module that trains a classifier, and the error that one makes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from toolchain.spec import ModelSpec
from toolchain.training.classification_augment import augmented
from toolchain.training.classification_settings import ClassifierSettings
from toolchain.training.datasets.classification import Split
from toolchain.training.loading import seed_step
from toolchain.training.memory_fit import Tensors
from toolchain.training.module import TrainedModule
from toolchain.training.schedule import decaying_groups, rate_factor

# Pictures (N, C, H, W) as the network takes them, logits (N, classes) in float32, targets (N,) -> the terms
# of a loss, of which "loss" is the sum.
Loss = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]

MEASURED_AT_ONCE = 250


def as_inputs(images: Tensor, spec: ModelSpec) -> Tensor:
    """Pixels (N, C, H, W) in 0-255 in the range of a network: by its contract, or 0-1 where it has none."""
    if spec.preprocess is None:
        return images.float() / 255
    mean, std = (
        torch.tensor(values, device=images.device).view(1, -1, 1, 1)
        for values in (spec.preprocess.mean, spec.preprocess.std)
    )
    return (images.float() - mean) / std


@torch.no_grad()
def error_of(network: nn.Module, split: Split, spec: ModelSpec) -> float:
    """Share of wrong answers in percent, in float32 on the device of the network.

    Args:
        network: a classifier; it is left in the mode in which it was.
        split: what it is measured on.
        spec: its contract.
    """
    device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
    was_training = network.training
    network.eval()
    wrong = 0
    for start in range(0, len(split), MEASURED_AT_ONCE):
        images = split.images[start : start + MEASURED_AT_ONCE].to(device)
        targets = split.targets[start : start + MEASURED_AT_ONCE].to(device)
        wrong += int((network(as_inputs(images, spec)).argmax(1) != targets).sum())
    network.train(was_training)
    return 100 * wrong / max(1, len(split))


class Classifier(TrainedModule):
    """Training of a classifier. After each validation `val_error` (percent) and `val_loss` are logged.

    Args:
        network: its forward takes pictures in its own range and gives logits.
        settings: optimizer, schedule and augmentation.
        spec: its contract.
        seed: every step's random numbers are made of it, the epoch and the step.
        loss: instead of the cross entropy with the settings' label smoothing.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: ClassifierSettings,
        spec: ModelSpec,
        seed: int = 0,
        loss: Loss | None = None,
    ) -> None:
        super().__init__()
        if settings.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.settings, self.spec, self.seed = network, settings, spec, seed
        self.loss = loss or self._cross_entropy
        self.accuracy, self.val_error = 0.0, 100.0
        self._wrong, self._loss, self._seen = 0, 0.0, 0

    def forward(self, image: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in the range of the network -> logits (N, classes)."""
        if self.settings.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return self.network(image)

    def training_step(self, batch: Tensors, index: int) -> dict[str, Tensor]:
        """Terms of the loss of one augmented batch.

        Raises:
            ToolchainError: the loss is not finite.
        """
        seed_step(self.seed, self.current_epoch, index)
        with torch.autocast(self.device.type, enabled=False):
            images = as_inputs(augmented(batch[0], self.settings.augment), self.spec)
        logits = self(images)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.loss(images, logits.float(), batch[1])
        if not torch.isfinite(terms["loss"]):
            raise self.no_number(f"the loss is no finite number ({float(terms['loss']):g})", index)
        return terms

    def validation_step(self, batch: Tensors, _index: int) -> None:
        """Count a batch."""
        logits = self(as_inputs(batch[0], self.spec)).float()
        self._wrong += int((logits.argmax(1) != batch[1]).sum())
        self._loss += float(functional.cross_entropy(logits, batch[1], reduction="sum"))
        self._seen += len(batch[1])

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the epoch."""
        seen = max(1, self._seen)
        self.val_error = 100 * self._wrong / seen
        self.accuracy = 100 - self.val_error
        self.log("val_error", self.val_error, prog_bar=True)
        self.log("val_loss", self._loss / seen)
        self._wrong, self._loss, self._seen = 0, 0.0, 0

    def verdict(self) -> str:
        """The error of the last validation."""
        return f"validation error {self.val_error:.2f} %"

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer and schedule of the settings; the learning rate changes after every step."""
        return scheduled(self, self.settings)

    def _cross_entropy(self, _images: Tensor, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        smoothing = self.settings.label_smoothing
        return {"loss": functional.cross_entropy(logits, targets, label_smoothing=smoothing)}


def scheduled(module: TrainedModule, settings: ClassifierSettings) -> OptimizerLRSchedulerConfig:
    """Optimizer and learning rate over time for the network of a module that is attached to a Trainer."""
    groups = decaying_groups(module.network, settings.optimizer.weight_decay)
    given = settings.optimizer
    optimizer: torch.optim.Optimizer
    if given.name == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=given.learning_rate, momentum=given.momentum, nesterov=given.momentum > 0
        )
    else:
        optimizer = torch.optim.AdamW(groups, lr=given.learning_rate)
    steps = max(1, int(module.trainer.estimated_stepping_batches))
    factor = rate_factor(settings.schedule, steps, settings.epochs)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
