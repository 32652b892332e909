"""Make a trained network narrower in one go: the weakest channels leave before the training, not during it.

It is magnitude pruning of whole channel groups, as in "Pruning Filters for Efficient ConvNets"
(arXiv:1608.08710) with the groups of DepGraph (arXiv:2301.12900): a quick start for a student, which learns
from the unpruned network afterwards, at the cost per step of the narrow one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.compress.removal.graph import IN, OUT, THROUGH, Slot, Unit, channel_units
from toolchain.compress.removal.remove import Removal, remove_filters
from toolchain.errors import UsageError

EVERYWHERE = "*"


def parse_shares(texts: Sequence[str]) -> dict[str, float]:
    """Shares of channels to keep, as "0.5" (everywhere) or "LAYER=0.5", where LAYER may have wildcards.

    Raises:
        UsageError: a share is no number above 0 and up to 1, or a layer is named twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        layer, _, number = text.rpartition("=")
        layer = layer or EVERYWHERE
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not 0 < share <= 1:
            raise UsageError(
                f"'{text}' names no share of channels to keep", "for example 0.5, or body.skip*=0.25"
            )
        if layer in found:
            raise UsageError(f"'{layer}' has two shares of channels to keep", "give one of them")
        found[layer] = share
    return found


def thin(network: nn.Module, example: Sequence[Tensor], shares: Mapping[str, float]) -> Removal:
    """A copy of the network without its weakest channels.

    Layers whose channels are added to each other lose the same ones; such a group is called like its first
    layer in the order of the network. Of every group the share of the first pattern that fits its name is
    kept, rounded up; groups that no pattern fits stay whole.

    Args:
        network: left as it is.
        example: its inputs.
        shares: layer name with wildcards -> share (0-1] of the channels to keep.

    Returns:
        The narrower network, in evaluation mode, and what is left of each layer.

    Raises:
        UsageError: a pattern fits no convolution or linear layer whose channels can go.
        UnsupportedError: the network cannot be traced.
    """
    made = copy.deepcopy(network).eval()
    groups = channel_groups(made, example)
    unused = set(shares)
    for name, units in groups.items():
        fitting = [pattern for pattern in shares if fnmatchcase(name, pattern)]
        unused.difference_update(fitting)
        free = [unit for unit in units if not unit.blocked]
        if fitting:
            count = math.floor((1 - shares[fitting[0]]) * len(units) + 1e-9)
            for unit in weakest(made, free, min(count, len(units) - 1)):
                _zero(made, unit)
    if unused - {EVERYWHERE}:
        raise UsageError(
            f"no layer whose channels can go is called '{min(unused - {EVERYWHERE})}'",
            f"layers are {', '.join(groups)}",
        )
    return remove_filters(made, example)


def channel_groups(network: nn.Module, example: Sequence[Tensor]) -> dict[str, list[Unit]]:
    """Channels by the first layer of those that make them, without groups of which no channel can go.

    Args:
        network: in evaluation mode.
        example: its inputs.

    Raises:
        UnsupportedError: the network cannot be traced.
    """
    order = {name: position for position, (name, _) in enumerate(network.named_modules())}
    groups: dict[str, list[Unit]] = {}
    for unit in channel_units(network, example):
        makers = {slot.module for slot in unit.slots if slot.side == OUT}
        if makers:
            groups.setdefault(min(makers, key=lambda name: order[name]), []).append(unit)
    found = {name: units for name, units in groups.items() if not all(unit.blocked for unit in units)}
    return dict(sorted(found.items(), key=lambda item: order[item[0]]))


def weakest(network: nn.Module, units: Sequence[Unit], count: int) -> list[Unit]:
    """The `count` units with the smallest strength, the first of equal ones first."""
    strengths = [_strength(network, unit) for unit in units]
    order = sorted(range(len(units)), key=lambda index: (strengths[index], index))
    return [units[index] for index in order[: max(0, count)]]


def _strength(network: nn.Module, unit: Unit) -> float:
    """Mean logarithm of how large the unit's parts are beside the same parts of its neighbours.

    In front of a batch normalization the size of a filter means nothing; the scale of the normalization and
    the weights that read the channel do.
    """
    normalized = any(_is_norm(network, slot) for slot in unit.slots)
    logs = []
    for slot in unit.slots:
        if normalized and slot.side != IN and not _is_norm(network, slot):
            continue
        sizes = _sizes(network.get_submodule(slot.module), slot.side)
        if sizes is not None:
            index = slot.index % len(sizes)
            logs.append(math.log(max(float(sizes[index] / sizes.mean().clamp(min=1e-30)), 1e-30)))
    return sum(logs) / max(1, len(logs))


def _is_norm(network: nn.Module, slot: Slot) -> bool:
    module = network.get_submodule(slot.module)
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine


@torch.no_grad()
def _sizes(module: nn.Module, side: str) -> Tensor | None:
    """Sum of the absolute weights of every channel at one side of a module."""
    weight = getattr(module, "weight", None)
    if weight is None:
        return None
    axis = 0 if side != IN else 1
    if isinstance(module, nn.modules.conv._ConvTransposeNd) and side != THROUGH:
        axis = 1 - axis
    return weight.abs().transpose(0, axis).flatten(1).sum(1) if weight.ndim > 1 else weight.abs()


@torch.no_grad()
def _zero(network: nn.Module, unit: Unit) -> None:
    """Let the unit's channel be exactly 0."""
    for slot in unit.slots:
        module: Any = network.get_submodule(slot.module)
        if slot.side == IN or getattr(module, "weight", None) is None:
            continue
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd) and slot.side == OUT
        module.weight.select(1 if transposed else 0, slot.index).zero_()
        if getattr(module, "bias", None) is not None:
            module.bias[slot.index] = 0
