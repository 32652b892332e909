"""Networks of the zoo with reproducible weights that make every layer count.

Runs in the environments of peers too: needs torch and this package without its dependencies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.models.zoo import ModelEntry

SEED = 0
CALIBRATION_BATCHES = 3


def seeded_network(entry: ModelEntry, seed: int = SEED) -> nn.Module:
    """The network of `entry` in evaluation mode with random weights and normalization statistics.

    Scale and shift of every batch normalization are drawn at random, so that a converter that dropped
    them would be seen; mean and variance are those of random inputs passed through the network, so that
    the activations neither vanish nor overflow.
    """
    torch.manual_seed(seed)
    network = entry.build()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
            norm.reset_running_stats()
            norm.momentum = None
        network.train()
        for _ in range(CALIBRATION_BATCHES if norms else 0):
            network(*random_inputs(entry))
    return network.eval()


def random_inputs(entry: ModelEntry) -> tuple[Tensor, ...]:
    """One uniform sample in [-1, 1) per input, in the shapes of the contract."""
    return tuple(torch.rand(tensor.shape) * 2 - 1 for tensor in entry.spec.inputs)
