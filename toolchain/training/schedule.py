"""Optimizer and learning rate over time, from the tables of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from toolchain.training.recipe import OptimizerSettings, ScheduleSettings


def make_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimizer of a recipe; biases and normalization do not decay."""
    kind = {"adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[settings.name]
    return kind(decaying_groups(network, settings.weight_decay), lr=settings.learning_rate)


def decaying_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer: all that is trained decays but biases and normalization."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def rate_factor(settings: ScheduleSettings, steps: int, epochs: int) -> Callable[[int], float]:
    """What the learning rate is multiplied by, as a function of the number of steps taken.

    A linear warm-up, then "cosine": half a cosine wave down to 0 (arXiv:1608.03983), or "steps": times
    `factor` after every `every` epochs.

    Args:
        settings: the `[schedule]` table.
        steps: of the whole training.
        epochs: of the whole training.
    """
    warm = int(settings.warmup * steps)
    per_epoch = max(1.0, steps / max(1, epochs))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if settings.name == "steps":
            # Epoch borders are whole numbers of steps: what is lost in the division is put back.
            return settings.factor ** (int((step + 0.5) / per_epoch) // settings.every)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

    return factor
