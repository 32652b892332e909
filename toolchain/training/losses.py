"""Losses of face parsing: weighted cross entropy, soft Dice and distillation; unknown pixels do not count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from toolchain.errors import UsageError
from toolchain.training.datasets.pairs import IGNORE
from toolchain.training.settings import check, number, numbers, share


@dataclass(frozen=True)
class LossSettings:
    """The `[loss]` table of a recipe.

    Attributes:
        cross_entropy: factor of the cross entropy.
        dice: factor of the soft Dice loss.
        class_weights: weight of a pixel in the cross entropy, one per class; empty for 1 everywhere.
        boundary: what a pixel near an edge of the label map counts more in the cross entropy: its weight is
            multiplied by 1 + boundary.
        boundary_radius: pixels; near an edge are those whose square neighbourhood of this radius holds an
            edge between two known classes.
        distillation: share (0-1) of the loss that learns from a teacher's logits where there are any.
        temperature: of both softmaxes of the distillation.
    """

    cross_entropy: float = number(1.0, 0.0, 100.0)
    dice: float = number(1.0, 0.0, 100.0)
    class_weights: tuple[float, ...] = numbers(0.0, 1000.0)
    boundary: float = number(0.0, 0.0, 100.0)
    boundary_radius: int = 2
    distillation: float = share(0.5)
    temperature: float = number(2.0, 0.1, 100.0)

    def __post_init__(self) -> None:
        check(self, "loss")
        radius = self.boundary_radius
        if isinstance(radius, bool) or not isinstance(radius, int) or not 1 <= radius <= 64:
            raise UsageError(
                f"loss.boundary_radius is {radius!r}", "give a whole number of pixels from 1 to 64"
            )
        if self.cross_entropy == 0 and self.dice == 0 and self.distillation == 0:
            raise UsageError(
                "loss.cross_entropy, loss.dice and loss.distillation are all 0: nothing is learnt",
                "give one of them a positive value",
            )
        if self.class_weights and not any(self.class_weights):
            raise UsageError("loss.class_weights are all 0", "give at least one class a positive weight")


class FaceParsingLoss(nn.Module):
    """Weighted sum of cross entropy and soft Dice, mixed with distillation where a teacher is at hand.

    Cross entropy: mean over known pixels by their weights. Dice: 1 - mean over the classes that the batch
    shows of (2 overlap + 1) / (predicted + true + 1), sums over the batch (arXiv:1606.04797). Distillation:
    T^2 * KL(teacher || student) of the softmaxes at temperature T, mean over known pixels (arXiv:1503.02531).
    """

    class_weights: Tensor

    def __init__(self, settings: LossSettings = LossSettings()) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("class_weights", torch.tensor(settings.class_weights), persistent=False)

    def forward(
        self, logits: Tensor, label: Tensor, teacher_logits: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The terms of the loss; autocast has no influence on them.

        Args:
            logits: (N, C, H, W), any floating point type; computed in float32, float64 stays.
            label: (N, H, W) int64 with classes 0..C-1, and 255 where unknown.
            teacher_logits: (N, C, H, W), or None.

        Returns:
            Scalars: "loss" = cross_entropy * "cross_entropy" + dice * "dice", with a teacher
            (1 - distillation) * that + distillation * "distillation". Only "loss" has a gradient, and only
            with respect to `logits`. Terms with factor 0 are left out. Without a known pixel all are 0.

        Raises:
            UsageError: there are class weights, but not one per class; or nothing to learn from.
        """
        settings = self.settings
        if settings.class_weights and len(settings.class_weights) != logits.shape[1]:
            raise UsageError(
                f"loss.class_weights has {len(settings.class_weights)} numbers, the network"
                f" {logits.shape[1]} classes",
                "give one weight per class, or none",
            )
        distilled = settings.distillation if teacher_logits is not None else 0.0
        factors = {
            "cross_entropy": (1 - distilled) * settings.cross_entropy,
            "dice": (1 - distilled) * settings.dice,
            "distillation": distilled,
        }
        if not any(factors.values()):
            raise UsageError(
                "loss.cross_entropy and loss.dice are 0 and there is no teacher",
                "give one of them a positive value, or a teacher",
            )
        with torch.autocast(logits.device.type, enabled=False):
            values = _FusedLoss.apply(
                logits, label, teacher_logits, self._pixel_weights(label), tuple(factors.values()), settings
            )
        terms = dict(zip(("loss", *factors), values, strict=True))
        return {name: value for name, value in terms.items() if name == "loss" or factors[name]}

    def _pixel_weights(self, label: Tensor) -> Tensor:
        """(N, H, W) float32 that sum to 1; 0 where unknown."""
        settings = self.settings
        weight = (label != IGNORE).float()
        if settings.class_weights:
            weight *= self.class_weights[torch.where(label == IGNORE, 0, label)]
        if settings.boundary:
            weight *= 1 + settings.boundary * near_edge(label, settings.boundary_radius)
        return weight / weight.sum().clamp(min=1e-12)


class _FusedLoss(torch.autograd.Function):
    """Loss and its gradient in one go.

    Autograd would keep and pass over a dozen arrays of the size of the logits, which costs as much time on a
    CPU as a small network's own backward pass. The gradient is known in closed form, so that two arrays do.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        label: Tensor,
        teacher_logits: Tensor | None,
        weight: Tensor,
        factors: tuple[float, float, float],
        settings: LossSettings,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        precision = torch.float64 if logits.dtype == torch.float64 else torch.float32
        values = logits.to(precision).contiguous()
        known = (label != IGNORE).to(precision)
        index = torch.where(label == IGNORE, 0, label)
        log_probability = functional.log_softmax(values, dim=1)
        surprise = -log_probability.gather(1, index[:, None])[:, 0]
        probability = log_probability.exp_().mul_(known[:, None])
        weight = weight.to(precision)
        entropy = (weight * surprise).sum()
        dice, by_class, at_truth = _dice(probability, index, known)
        gradient = None
        if ctx.needs_input_grad[0]:
            # The softmax turns a gradient g of the probabilities p into p * (g - sum(p * g)).
            mean = torch.einsum("c,nchw->nhw", by_class, probability) + at_truth
            inside = factors[0] * weight - factors[1] * mean
            for number in range(len(by_class)):
                probability[:, number] *= inside + factors[1] * by_class[number]
            on_truth = factors[1] * at_truth - factors[0] * weight
            gradient = probability.scatter_add_(1, index[:, None], on_truth[:, None])
        divergence = entropy.new_zeros(())
        if factors[2] and teacher_logits is not None:
            divergence = _distill(
                values, teacher_logits.to(precision), known, settings.temperature, factors[2], gradient
            )
        ctx.gradient = None if gradient is None else gradient.to(logits.dtype)
        loss = factors[0] * entropy + factors[1] * dice + factors[2] * divergence
        ctx.mark_non_differentiable(entropy, dice, divergence)
        return loss, entropy, dice, divergence

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.gradient * outer.to(ctx.gradient.dtype), None, None, None, None, None


def _dice(probability: Tensor, index: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Dice loss and its derivative with respect to the probabilities.

    Args:
        probability: (N, C, H, W), 0 where unknown.
        index: (N, H, W) true class, any class where unknown.
        known: (N, H, W) 1 or 0.

    Returns:
        Loss; derivative (C,) with respect to a class anywhere; (N, H, W) what the true class has besides,
        times its probability.
    """
    classes = probability.shape[1]
    at_truth = probability.gather(1, index[:, None])[:, 0]
    flat = index.flatten()
    overlap = probability.new_zeros(classes).index_add_(0, flat, at_truth.flatten())
    truth = probability.new_zeros(classes).index_add_(0, flat, known.flatten())
    area = probability.sum((0, 2, 3)) + truth + 1
    share = (truth > 0) / (truth > 0).sum().clamp(min=1)
    score = (2 * overlap + 1) / area
    return (share * (1 - score)).sum(), share * score / area, (-2 * share / area)[index] * at_truth


def _distill(
    values: Tensor,
    teacher_values: Tensor,
    known: Tensor,
    temperature: float,
    factor: float,
    gradient: Tensor | None,
) -> Tensor:
    """T^2 * KL(teacher || student) at temperature T; `factor` times its gradient is added to `gradient`."""
    area = known.sum().clamp(min=1)
    student = functional.log_softmax(values / temperature, dim=1)
    teacher = functional.log_softmax(teacher_values.contiguous() / temperature, dim=1)
    target = teacher.exp()
    divergence = teacher.sub_(student).mul_(target).sum(1)
    if gradient is not None:
        difference = student.exp_().sub_(target)
        gradient += difference.mul_((factor * temperature / area * known)[:, None])
    return temperature**2 * (divergence * known).sum() / area


def near_edge(label: Tensor, radius: int) -> Tensor:
    """Where the square of side 2 * radius + 1 around a pixel holds two neighbours of different known classes.

    Args:
        label: (N, H, W) integer with 255 where unknown.
        radius: pixels, at least 1.

    Returns:
        (N, H, W) bool.
    """
    known = label != IGNORE
    across = (label[:, :, 1:] != label[:, :, :-1]) & known[:, :, 1:] & known[:, :, :-1]
    along = (label[:, 1:] != label[:, :-1]) & known[:, 1:] & known[:, :-1]
    # A pair counts where both of its pixels lie in the square: along its own direction that is one
    # position less.
    across = _any(_any(across, 2, 2 * radius, radius), 1, 2 * radius + 1, radius)
    along = _any(_any(along, 1, 2 * radius, radius), 2, 2 * radius + 1, radius)
    return across | along


def _any(mask: Tensor, axis: int, width: int, padding: int) -> Tensor:
    """Whether any of `width` successive entries is set, with `padding` unset entries at both ends."""
    ends = [padding, padding] if axis == mask.ndim - 1 else [0, 0, padding, padding]
    padded = functional.pad(mask, ends)
    length = padded.shape[axis] - width + 1
    found = padded.narrow(axis, 0, length).clone()
    for start in range(1, width):
        found |= padded.narrow(axis, start, length)
    return found
