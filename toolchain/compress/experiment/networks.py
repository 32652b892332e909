"""Kept networks of an experiment: written as ordinary weights files, read again, or begun anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolchain.compress.experiment.task import ExperimentTask
from toolchain.compress.reshaped_weights import write_reshaped
from toolchain.models.layers import kaiming_init
from toolchain.models.reshape import fit_to_state
from toolchain.models.weights_file import read_state


def write_kept(path: Path, network: nn.Module, task: ExperimentTask, about: Mapping[str, Any]) -> None:
    """Write the weights, and then the card, so that `toolchain export MODEL --weights` takes them.

    Args:
        path: the .safetensors file; the card lies beside it.
        network: narrow or at full size, on the CPU.
        task: whose contract, data and terms the card names.
        about: further entries of the card.
    """
    spec = task.spec_of(network)
    card = {
        "model": spec.name,
        "data": task.description,
        "terms": task.terms,
        **about,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    write_reshaped(path.parent, path.stem, network, spec, card)


def load_kept(network: nn.Module, path: Path) -> nn.Module:
    """The network at full size, brought to the widths of a kept one and with its weights, in eval mode.

    Raises:
        ToolchainError: the file is damaged or of another network.
    """
    state = read_state(path)
    fit_to_state(network, state)
    network.load_state_dict(state)
    return network.eval()


def fresh(network: nn.Module, seed: int) -> nn.Module:
    """The same widths with new weights, as the networks of the zoo begin; they depend on the seed alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        kaiming_init(network)
    return network
