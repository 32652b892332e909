"""The Lightning module that trains a face parser."""

from __future__ import annotations

import math

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from toolchain.spec import ModelSpec
from toolchain.training.augment import FaceAugmentation, fake_previous
from toolchain.training.datasets.pairs import IGNORE
from toolchain.training.metrics import FaceF1

Batch = tuple[Tensor, Tensor]


def soft_dice_loss(logits: Tensor, label: Tensor) -> Tensor:
    """1 - mean soft Dice over the classes of the batch (arXiv:1606.04797); unknown pixels do not count.

    Args:
        logits: (N, C, H, W).
        label: (N, H, W) int64 with 255 where unknown.
    """
    classes = logits.shape[1]
    known = (label != IGNORE)[:, None]
    probability = functional.softmax(logits.float(), dim=1) * known
    truth = functional.one_hot(torch.where(label == IGNORE, 0, label), classes).permute(0, 3, 1, 2) * known
    overlap = (probability * truth).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1 - ((2 * overlap + 1) / (total + 1)).mean()


class FaceParsing(lightning.LightningModule):
    """Cross entropy plus Dice, AdamW, linear warm-up and cosine decay.

    Args:
        network: a face parser whose forward takes a picture and, if its spec says so, the previous mask.
        spec: its contract.
        learning_rate: peak learning rate.
        weight_decay: decoupled weight decay.
        warmup: share of all steps spent warming up.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        learning_rate: float = 4e-3,
        weight_decay: float = 1e-4,
        warmup: float = 0.05,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classes = len(spec.labels)
        self.takes_previous = len(spec.inputs) > 1
        assert spec.preprocess is not None
        self.register_buffer("mean", torch.tensor(spec.preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.preprocess.std).view(1, 3, 1, 1), persistent=False)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.augment = FaceAugmentation()
        self.validation_f1 = FaceF1(self.classes)

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """Picture (N, 3, H, W) in 0-255 and previous mask -> logits (N, classes, H, W)."""
        image = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        if not self.takes_previous:
            return self.network(image)
        return self.network(image, previous.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Loss of one augmented batch."""
        image, label = self.augment(batch[0].float() / 255, batch[1].long())
        logits = self(image * 255, fake_previous(label, self.classes))
        entropy = functional.cross_entropy(logits.float(), label, ignore_index=IGNORE)
        loss = entropy + soft_dice_loss(logits, label)
        self.log("train_loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Count a batch with an empty previous mask, as on the first frame."""
        image, label = batch[0].float(), batch[1].long()
        empty = image.new_zeros(len(image), self.classes, *image.shape[2:])
        self.validation_f1.update(self(image, empty).argmax(1), label)

    def on_validation_epoch_end(self) -> None:
        """Log the F1 figures of the epoch."""
        scores = self.validation_f1.scores()
        self.log("overall_f1", scores.overall, prog_bar=True)
        self.log("strict_f1", scores.strict)
        self.log("micro_f1_with_skin", scores.micro_with_skin)
        self.log("lowest_class_f1", min(scores.per_class))
        self.validation_f1.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, without decay on biases and normalization."""
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=self.learning_rate,
        )
        total = max(1, int(self.trainer.estimated_stepping_batches))
        warm = max(1, int(self.warmup * total))

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
