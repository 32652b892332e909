"""Exponential moving average of a network's weights."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

WARMUP = 10


class WeightAverage(lightning.Callback):
    """Averages weights and BatchNorm statistics after every step; the network has them in validation.

    The decay grows as min(decay, (1 + n) / (10 + n)) with the number n of steps, so that the first weights
    are forgotten (as in TensorFlow's ExponentialMovingAverage). Lightning's own callback has no such growth
    and averages the whole module, the metrics' and augmentation's tensors included.

    Args:
        decay: share of the old average that is kept in each step, 0-1.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Begin with the weights as they are, unless a checkpoint brought an average."""
        own = _floats(pl_module.network)
        if self.average:
            self.average = {name: self.average[name].to(tensor.device) for name, tensor in own.items()}
        else:
            self.average = {name: tensor.clone() for name, tensor in own.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average a little towards the weights."""
        decay = min(self.decay, (1 + self.steps) / (WARMUP + self.steps))
        for name, tensor in _floats(pl_module.network).items():
            self.average[name].lerp_(tensor, 1 - decay)
        self.steps += 1

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Lend the average to the network."""
        self._swap(pl_module.network)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take it back."""
        self._swap(pl_module.network)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.steps, self.average = state_dict["steps"], state_dict["average"]

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        for name, tensor in _floats(network).items():
            own = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(own)


def _floats(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network without its integers (counters)."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
