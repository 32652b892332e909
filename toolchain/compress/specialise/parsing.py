"""The Lightning module that trains a face parser for some of the classes of a face."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.compress.distill.losses import FeatureTap, pairwise_loss
from toolchain.compress.distill.teacher import Teacher
from toolchain.compress.specialise.head import find_head
from toolchain.compress.specialise.reduction import ClassReduction
from toolchain.compress.specialise.scores import ReducedF1
from toolchain.models.faces import LABELS
from toolchain.spec import ModelSpec
from toolchain.training.face_parsing import Batch, FaceParsing
from toolchain.training.loading import seed_step
from toolchain.training.previous import fake_previous
from toolchain.training.recipe import Recipe
from toolchain.training.teacher import NormalizedParser


class ReducedParsing(FaceParsing):
    """Training on label maps with all classes of a network that knows some of them, or all.

    Pictures are augmented and previous masks faked with all classes, as for the whole network, and only then
    reduced: a flip swaps left and right, occluders take skin's texture, and a mask may miss any class.

    A teacher is shown an empty previous mask. Face parsers add the previous mask to their answer outside of
    training, so that a teacher that was shown a faked one would teach its errors.

    Args:
        network: a face parser; its forward takes a picture and, if its spec says so, the previous mask.
        spec: its contract; its labels are some of `toolchain.models.faces.LABELS`, in that order.
        recipe: loss, optimizer, schedule and augmentation.
        seed: every step's random numbers are made of it, the epoch and the step.
        teacher: a face parser that knows these classes or more of them; None for no one. Share and
            temperature are taken from the recipe's table `[loss]`.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        recipe: Recipe,
        seed: int = 0,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__(network, spec, recipe, seed)
        self.validation_f1 = ReducedF1(spec.labels)  # type: ignore[assignment]
        self.reduction = ClassReduction(LABELS, spec.labels)
        self._taps: list[FeatureTap] = []
        self._pairwise = (0.0, 0)
        if teacher is not None:
            self._teacher.append(NormalizedParser(teacher.network, teacher.spec).eval().requires_grad_(False))
            self.taught_classes = len(teacher.spec.labels)
            self.taught_reduction = ClassReduction(teacher.spec.labels, spec.labels)
            if teacher.pairwise:
                self._pairwise = (teacher.pairwise, teacher.nodes)
                self._taps = [
                    FeatureTap(who, find_head(who, contract))
                    for who, contract in ((network, spec), (teacher.network, teacher.spec))
                ]

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        """Terms of the loss of one augmented batch.

        Raises:
            ToolchainError: the loss is not finite.
        """
        seed_step(self.seed, self.current_epoch, index)
        # Coordinates in bfloat16 would be off by whole pixels.
        with torch.autocast(self.device.type, enabled=False):
            image, whole = self.augment(batch[0].float() / 255, batch[1].long())
            image = image * 255
            previous = self._previous(whole)
            label = self.reduction.labels(whole)
        logits = self(image, previous)
        terms = self.loss(logits, label, self._taught(image))
        if self._taps:
            factor, nodes = self._pairwise
            own, taught = (tap.take() for tap in self._taps)
            terms["pairwise"] = pairwise_loss(own, taught, nodes)
            terms["loss"] = terms["loss"] + factor * terms["pairwise"]
        if not torch.isfinite(terms["loss"]):
            found = ", ".join(f"{name.replace('_', ' ')} {float(value):g}" for name, value in terms.items())
            raise self.no_number(f"the loss is no finite number ({found})", index)
        return terms

    def _previous(self, label: Tensor) -> Tensor:
        """Faked masks of the classes that are known; nothing where no one looks at them."""
        if not self.parser.takes_previous:
            return label.new_zeros(len(label), self.classes, 0, 0, dtype=torch.float32)
        return self.reduction.probabilities(fake_previous(label, len(LABELS), self.recipe.previous))

    def _taught(self, image: Tensor) -> Tensor | None:
        for teacher in self._teacher:
            with torch.no_grad():
                empty = image.new_zeros(len(image), self.taught_classes, *image.shape[2:])
                return self.taught_reduction.logits(teacher(image, empty).float())
        return None

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Count a batch."""
        self.validation_f1.update(
            self.predict_labels(batch[0].float()), self.reduction.labels(batch[1].long())
        )

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the epoch."""
        with self.validation_f1.sync_context():
            scores = self.validation_f1.scores()
        self.log("overall_f1", scores.overall, prog_bar=True, rank_zero_only=True)
        self.log("strict_f1", scores.strict, rank_zero_only=True)
        self.log("mean_iou", scores.mean_iou, rank_zero_only=True)
        self.log("lowest_class_f1", min(scores.per_class), rank_zero_only=True)
        self.overall_f1 = scores.overall
        self.validation_f1.reset()
