"""Layers from which no kernel is taken because the network would not get smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from toolchain.compress.removal.coupled import coupled_layers
from toolchain.compress.sparsity.kernels import sparse_layers
from toolchain.compress.sparsity.masks import is_zero
from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.compress.sparsity.wiring import read_wiring
from toolchain.errors import UnsupportedError
from toolchain.spec import TensorSpec
from toolchain.training.progress import Report

# Side of the pictures on which a network is looked at, where it takes pictures of this size.
SIDE = 64
SHOWN = 4


def with_coupled_exempt(
    settings: SparsitySettings,
    network: nn.Module,
    inputs: Sequence[TensorSpec],
    report: Report | None = None,
) -> SparsitySettings:
    """The settings with all layers exempt of which no single kernel could be removed, see `coupled_layers`.

    A layer that has zeroed kernels already is not exempt: they are to stay zero. Where all layers are
    coupled, or the network cannot be traced, the settings stay as they are, and the report says so.

    Args:
        settings: of the method; its own exempt layers stay exempt.
        network: that is going to be trained.
        inputs: of the network's contract.
        report: takes a line.

    Raises:
        UsageError: a pattern in `exempt` fits no convolution.
    """
    say = report or (lambda _line: None)
    wiring = read_wiring(network)
    layers = sparse_layers(network, settings.exempt, wiring)
    norms = (wiring.norms if wiring is not None else {}) if settings.biases else None
    try:
        reasons = coupled_layers(network, _example(network, inputs), layers, norms)
    except UnsupportedError as error:
        say(f"it is not known which kernels could be removed: {error.message}")
        return settings
    coupled = [name for name in reasons if not _has_zeroed(layers[name])]
    if not coupled:
        return settings
    if len(coupled) == len(layers):
        say(f"of no layer a single kernel could be removed: '{coupled[0]}' stays: {reasons[coupled[0]]}")
        return settings
    shown = ", ".join(coupled[:SHOWN]) + (f" and {len(coupled) - SHOWN} more" if len(coupled) > SHOWN else "")
    say(
        f"exempt are {len(coupled)} of {len(layers)} layers, {shown}: a kernel that is zero there cannot be"
        f" removed alone ('{coupled[0]}': {reasons[coupled[0]]})"
    )
    return replace(settings, exempt=(*settings.exempt, *coupled))


def _has_zeroed(layer: nn.Conv2d) -> bool:
    zero = is_zero(layer)
    return bool(zero.any()) and not bool(zero.all())


@torch.no_grad()
def _example(network: nn.Module, inputs: Sequence[TensorSpec]) -> list[Tensor]:
    """Small inputs where the network takes them, those of the contract where it does not."""
    full = [torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype)) for tensor in inputs]
    small = [value[..., :SIDE, :SIDE] if value.dim() == 4 else value for value in full]
    training = network.training
    try:
        network.eval()(*small)
    except Exception:
        # Any code runs in a forward pass; sizes written as numbers fail with any error.
        return full
    finally:
        network.train(training)
    return small
