"""What a student network is asked for besides the truth: to answer as its teacher does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Patches along each side of a feature map whose similarities are compared.
NODES = 16


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of the softmaxes at temperature T, mean over samples (arXiv:1503.02531).

    The factor keeps the size of the gradients when the temperature changes.

    Args:
        student: logits (N, C), any floating point type; computed in float32, float64 stays.
        teacher: logits (N, C); no gradient goes there.
        temperature: above 0.

    Returns:
        A scalar.
    """
    return _divergence(student, teacher, temperature).mean()


def pixel_loss(student: Tensor, teacher: Tensor, temperature: float, known: Tensor | None = None) -> Tensor:
    """The same for every pixel, mean over the known ones ("pixel-wise distillation", arXiv:1903.04197).

    Args:
        student: logits (N, C, H, W).
        teacher: logits (N, C, H, W).
        temperature: above 0.
        known: (N, H, W) bool, pixels that count; None for all. Without any the loss is 0.
    """
    divergence = _divergence(student, teacher, temperature)
    if known is None:
        return divergence.mean()
    return (divergence * known).sum() / known.sum().clamp(min=1)


def pairwise_loss(student: Tensor, teacher: Tensor, nodes: int = NODES) -> Tensor:
    """How differently two feature maps relate their places to each other.

    Both maps are averaged over nodes x nodes patches. Of every two patches of a picture the cosine of the
    angle between their features is taken; the loss is the mean squared difference of these cosines
    ("pair-wise distillation", equation 2 of arXiv:1903.04197). Widths and sizes of the maps may differ.

    Args:
        student: features (N, C, H, W).
        teacher: features (N, D, h, w); no gradient goes there.
        nodes: patches along each side.

    Returns:
        A scalar from 0 to 4.
    """
    own, taught = _similarities(student, nodes), _similarities(teacher.detach(), nodes)
    return (own - taught).square().mean()


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    with torch.autocast(student.device.type, enabled=False):
        precise = torch.float64 if student.dtype == torch.float64 else torch.float32
        own = functional.log_softmax(student.to(precise) / temperature, dim=1)
        taught = functional.log_softmax(teacher.detach().to(precise) / temperature, dim=1)
        return temperature**2 * functional.kl_div(own, taught, reduction="none", log_target=True).sum(1)


def _similarities(features: Tensor, nodes: int) -> Tensor:
    """(N, C, H, W) -> (N, patches, patches) cosines."""
    with torch.autocast(features.device.type, enabled=False):
        height, width = (min(nodes, size) for size in features.shape[2:])
        pooled = functional.adaptive_avg_pool2d(features.float(), (height, width)).flatten(2)
        directions = functional.normalize(pooled, dim=1, eps=1e-6)
        return directions.transpose(1, 2) @ directions


class FeatureTap:
    """Remembers what a layer of a network was given in the last forward pass.

    Args:
        network: any network.
        layer: name of one of its modules.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        self._value: Tensor | None = None
        network.get_submodule(layer).register_forward_pre_hook(self._keep)

    def take(self) -> Tensor:
        """The features, once."""
        value, self._value = self._value, None
        assert value is not None, "the layer has not run"
        return value

    def _keep(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._value = inputs[0]
