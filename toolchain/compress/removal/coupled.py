"""Convolutions whose kernels cannot leave a network one by one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from toolchain.compress.removal.constants import input_constants, random_inputs
from toolchain.compress.removal.graph import IN, OUT, Slot, Unit, channel_units
from toolchain.compress.removal.plan import obstacles


def coupled_layers(
    network: nn.Module,
    example: Sequence[Tensor],
    layers: Iterable[str],
    norms: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Of which convolutions no kernel can be removed when it alone is zero.

    Such are the branches of a sum: where one of them has a zeroed channel, the sum still holds what the
    others add, so that the channel stays, and nothing gets smaller. A layer is judged by the kernel whose
    channel is shared with the fewest others. The values of the weights do not count, only how the layers are
    connected.

    Args:
        network: left as it is.
        example: its inputs; shapes count.
        layers: names of convolutions.
        norms: the BatchNorms behind each convolution whose scale and shift are zeroed with a kernel, the bias
            with them; None when weights alone are zeroed.

    Returns:
        Name -> why its kernels cannot go, as the end of "they stay: ...".

    Raises:
        UnsupportedError: the network cannot be traced; the message names the module.
        MissingDependencyError: torch-pruning is missing.
    """
    # Kernels are set to zero in this copy alone, whose weights are made anew for each round.
    twin = copy.deepcopy(network).double().eval().requires_grad_(False)
    inputs = random_inputs(example)
    choices = _choices(channel_units(twin, inputs), layers)
    found: dict[str, str] = {}
    while choices:
        chosen = _apart(choices)
        _fill(twin)
        for slot in chosen:
            _zero(twin, slot, norms)
        reasons = obstacles(twin, chosen.values(), input_constants(twin, inputs))
        found |= {slot.module: reasons[unit] for slot, unit in chosen.items() if unit in reasons}
        for slot in chosen:
            del choices[slot.module]
    return found


def _choices(units: Sequence[Unit], layers: Iterable[str]) -> dict[str, list[tuple[Slot, Unit]]]:
    """The kernels of each layer with their units, those first whose channel has the fewest sources."""
    found: dict[str, list[tuple[Slot, Unit]]] = {name: [] for name in layers}
    for unit in units:
        for slot in unit.slots:
            if slot.side != IN and slot.module in found:
                found[slot.module].append((slot, unit))
    for kernels in found.values():
        kernels.sort(key=lambda kernel: (sum(slot.side == OUT for slot in kernel[1].slots), kernel[0].index))
    # The only kernel of a layer stays in any case.
    return {name: kernels for name, kernels in found.items() if len(kernels) > 1}


def _apart(choices: Mapping[str, Sequence[tuple[Slot, Unit]]]) -> dict[Slot, Unit]:
    """One kernel of as many layers as possible, no two of them in one unit."""
    chosen: dict[Slot, Unit] = {}
    taken: set[Unit] = set()
    for kernels in choices.values():
        free = next(((slot, unit) for slot, unit in kernels if unit not in taken), None)
        if free is not None:
            chosen[free[0]] = free[1]
            taken.add(free[1])
    return chosen


@torch.no_grad()
def _fill(network: nn.Module) -> None:
    """Weights none of which is zero by chance, or because it was pruned."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, _ConvNd | nn.Linear | _BatchNorm):
            for parameter in module.parameters(recurse=False):
                parameter.uniform_(0.1, 1, generator=generator)


@torch.no_grad()
def _zero(network: nn.Module, slot: Slot, norms: Mapping[str, Sequence[str]] | None) -> None:
    layer = network.get_submodule(slot.module)
    parts = [layer.weight]
    if norms is not None:
        parts.append(layer.bias)
        for name in norms.get(slot.module, ()):
            norm = network.get_submodule(name)
            parts += [norm.weight, norm.bias]
    for part in parts:
        if isinstance(part, Tensor):
            part[slot.index] = 0
