"""What kernel sparsity is compared with: torch-pruning's group norm and magnitude, at equal multiply-adds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from toolchain.compress.removal.figures import network_size
from toolchain.compress.sparsity.callback import network_of
from toolchain.compress.sparsity.kernels import sparse_layers
from toolchain.errors import UnsupportedError, UsageError

# Parts of all channels that are taken before the multiply-adds are counted again.
STEPS = 200
# Largest share (0-1) of a layer that goes: a ranking over all layers may empty one to a single filter.
MOST_GONE = 0.9
MOST_STRENGTH = 1e6


def prune_to(network: nn.Module, example: Sequence[Tensor], multiply_adds: int) -> nn.Module:
    """A copy without the filters of least magnitude, with at most so many multiply-adds.

    Channels that depend on each other are judged and taken together: the mean over their weights of the L2
    norm, scaled by the mean of each layer, ranked over the whole network (torch-pruning's
    `GroupMagnitudeImportance` and global ranking, arXiv:2301.12900). Filters that make the output stay, and
    so do the features of linear layers, as with kernel sparsity. The step before the last had more
    multiply-adds, so that the copy is hardly smaller than asked for.

    Args:
        network: left as it is.
        example: inputs of `forward`, batch 1.
        multiply_adds: most that are allowed for one run.

    Raises:
        UsageError: not even a network with a tenth of each layer is that small.
        UnsupportedError: the network cannot be traced.
    """
    made = copy.deepcopy(network).eval().requires_grad_(True)
    pruner = _pruner(
        "BasePruner", made, example, pruning_ratio=1.0, max_pruning_ratio=MOST_GONE, iterative_steps=STEPS
    )
    count = network_size(made, example).macs
    for _ in range(STEPS):
        if count <= multiply_adds:
            break
        pruner.step()
        count = network_size(made, example).macs
    if count > multiply_adds:
        raise UsageError(
            f"the network cannot be pruned to {multiply_adds:,} multiply-adds: {count:,} are left",
            "ask for more multiply-adds",
        )
    return made


class GroupNormRegularizer(lightning.Callback):
    """Adds the gradient of torch-pruning's group-norm regularizer before each step of the optimizer.

    Every group of dependent channels is drawn to zero in proportion to its weights, weak groups up to
    `2 ** alpha` times as much as the strongest (`GroupNormPruner`, arXiv:2301.12900). The network is
    `pl_module.network`, or the module itself when it has none. It keeps nothing from step to step, so that a
    resumed training goes on exactly.

    Args:
        example: inputs of the network's `forward`, batch 1.
        strength: what the gradient is multiplied with.
        alpha: see above.
    """

    def __init__(self, example: Sequence[Tensor], strength: float = 1e-4, alpha: float = 4.0) -> None:
        if not 0 <= strength <= MOST_STRENGTH:
            raise UsageError(f"the strength of the group norm is {strength:g}", "give a number from 0 on")
        if not 0 <= alpha <= 32:
            raise UsageError(f"alpha of the group norm is {alpha:g}", "give a number from 0 to 32")
        self.example, self.strength, self.alpha = tuple(example), strength, alpha
        self._method: Any = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Find the groups.

        Raises:
            UnsupportedError: the network cannot be traced.
        """
        network = network_of(pl_module)
        example = tuple(tensor.to(pl_module.device) for tensor in self.example)
        was_training = network.training
        self._method = _pruner("GroupNormPruner", network.eval(), example, reg=self.strength)
        network.train(was_training)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer
    ) -> None:
        """Add the gradient."""
        self._method.regularize(network_of(pl_module), alpha=2**self.alpha)


def _pruner(kind: str, network: nn.Module, example: Sequence[Tensor], **settings: Any) -> Any:
    import torch_pruning

    prunable = sparse_layers(network)
    ignored = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and name not in prunable
    ]
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(torch_pruning.pruner, kind)(
                network,
                tuple(example),
                importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
                global_pruning=True,
                ignored_layers=ignored,
                **settings,
            )
    except Exception as error:
        raise UnsupportedError(
            f"torch-pruning cannot trace {type(network).__name__}: {error}",
            "leave rows of the kinds 'magnitude' and 'group-norm' out of the recipe",
        ) from error
