"""A trained face parser from which another one learns (arXiv:1503.02531)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from toolchain.errors import UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.spec import SEGMENTATION, ModelSpec


class NormalizedParser(nn.Module):
    """A face parser that takes pictures as they are.

    Args:
        network: its forward takes a picture and, if its spec says so, the previous mask.
        spec: its contract.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.takes_previous = len(spec.inputs) > 1
        assert spec.preprocess is not None
        self.register_buffer("mean", torch.tensor(spec.preprocess.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.preprocess.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """Picture (N, 3, H, W) in 0-255 and previous mask (N, classes, H, W) -> logits (N, classes, H, W)."""
        image = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        if not self.takes_previous:
            return self.network(image)
        return self.network(image, previous.contiguous(memory_format=torch.channels_last))


def load_teacher(text: str, labels: tuple[str, ...]) -> NormalizedParser:
    """The teacher that `text` names, in evaluation mode and without gradients.

    Args:
        text: "NAME" of a face parser of the zoo that ships with weights, or "NAME:PATH" of its weights.
        labels: classes of the network that learns.

    Raises:
        UsageError: there is no such network, it has no weights, or its classes are others.
    """
    name, _, path = text.partition(":")
    entry = zoo().get(name)
    if entry.spec.task != SEGMENTATION or entry.spec.labels != labels:
        raise UsageError(
            f"teacher '{name}' has other classes than the network", "`toolchain models` lists all"
        )
    weights = Path(path) if path else entry.weights
    if weights is None:
        raise UsageError(f"no weights ship with the teacher '{name}'", f"give them: --teacher {name}:PATH")
    network = entry.build()
    load_weights(network, weights)
    return NormalizedParser(network, entry.spec).eval().requires_grad_(False)
