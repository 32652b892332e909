"""The Lightning module that trains a face parser."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from toolchain.spec import ModelSpec
from toolchain.training.augment import FaceAugmentation
from toolchain.training.loading import seed_step
from toolchain.training.losses import FaceParsingLoss
from toolchain.training.metrics import FaceF1
from toolchain.training.module import TrainedModule
from toolchain.training.previous import fake_previous
from toolchain.training.recipe import Recipe
from toolchain.training.schedule import make_optimizer, rate_factor
from toolchain.training.teacher import NormalizedParser

Batch = tuple[Tensor, Tensor]


class FaceParsing(TrainedModule):
    """Training of a face parser by a recipe.

    Args:
        network: a face parser whose forward takes a picture and, if its spec says so, the previous mask.
        spec: its contract.
        recipe: loss, optimizer, schedule and augmentation.
        seed: every step's random numbers are made of it, the epoch and the step.
        teacher: whose logits are learnt, too; None for no one.
        computed: what is run instead of `network` while training, sharing its parameters (quantization-aware
            training); None for the network itself.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        recipe: Recipe,
        seed: int = 0,
        teacher: NormalizedParser | None = None,
        computed: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.parser = NormalizedParser(network if computed is None else computed, spec)
        self.classes = len(spec.labels)
        self.recipe, self.seed = recipe, seed
        self.augment = FaceAugmentation(recipe.augment)
        self.loss = FaceParsingLoss(recipe.loss)
        self.validation_f1 = FaceF1(self.classes)
        # In a list, so that the teacher is no part of the module and of its checkpoints.
        self._teacher = [] if teacher is None else [teacher]

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """Picture (N, 3, H, W) in 0-255 and previous mask -> logits (N, classes, H, W)."""
        return self.parser(image, previous)

    def on_fit_start(self) -> None:
        """Bring the teacher to where the network is."""
        for teacher in self._teacher:
            teacher.to(self.device)

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        """Terms of the loss of one augmented batch.

        Raises:
            ToolchainError: the loss is not finite.
        """
        seed_step(self.seed, self.current_epoch, index)
        # Coordinates in bfloat16 would be off by whole pixels.
        with torch.autocast(self.device.type, enabled=False):
            image, label = self.augment(batch[0].float() / 255, batch[1].long())
            image = image * 255
            previous = self._previous(label)
        logits = self(image, previous)
        taught = None
        for teacher in self._teacher:
            with torch.no_grad():
                taught = teacher(image, previous)
        terms = self.loss(logits, label, taught)
        if not torch.isfinite(terms["loss"]):
            found = ", ".join(f"{name.replace('_', ' ')} {float(value):g}" for name, value in terms.items())
            raise self.no_number(f"the loss is no finite number ({found})", index)
        return terms

    def verdict(self) -> str:
        """The overall F1 of the last validation."""
        return f"overall F1 {self.overall_f1:.2f}"

    def _previous(self, label: Tensor) -> Tensor:
        """Faked masks; nothing where no one looks at them."""
        if any(parser.takes_previous for parser in (self.parser, *self._teacher)):
            return fake_previous(label, self.classes, self.recipe.previous)
        return label.new_zeros(len(label), self.classes, 0, 0, dtype=torch.float32)

    def predict_labels(self, image: Tensor) -> Tensor:
        """Picture (N, 3, H, W) in 0-255 -> labels (N, H, W) int64, with an empty previous mask."""
        empty = image.new_zeros(len(image), self.classes, *image.shape[2:])
        return self(image, empty).argmax(1)

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Count a batch."""
        self.validation_f1.update(self.predict_labels(batch[0].float()), batch[1].long())

    def on_validation_epoch_end(self) -> None:
        """Log the F1 figures of the epoch."""
        with self.validation_f1.sync_context():
            scores = self.validation_f1.scores()
        self.log("overall_f1", scores.overall, prog_bar=True, rank_zero_only=True)
        self.log("strict_f1", scores.strict, rank_zero_only=True)
        self.log("micro_f1_with_skin", scores.micro_with_skin, rank_zero_only=True)
        self.log("lowest_class_f1", min(scores.per_class), rank_zero_only=True)
        self.overall_f1 = scores.overall
        self.validation_f1.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer and schedule of the recipe; the learning rate changes after every step."""
        optimizer = make_optimizer(self.network, self.recipe.optimizer)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        factor = rate_factor(self.recipe.schedule, steps, self.recipe.epochs)
        scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
