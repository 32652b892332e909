"""Kept networks of an experiment: written as ordinary weights files, read again, or begun anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from toolchain.compress.experiment.task import ExperimentTask
from toolchain.models.layers import kaiming_init
from toolchain.models.reshape import fit_to_state
from toolchain.models.weights_file import read_state
from toolchain.training.checkpoints import write_atomically

# What says in a weights file that its tensors are smaller than those of the network in the zoo.
RESHAPED = {"reshaped": "true"}


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
        "labels": list(spec.labels),
        "palette": [list(colour) for colour in spec.palette],
        "data": task.description,
        "terms": task.terms,
        **about,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    state = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    content = save(state, metadata={"terms": task.terms, **RESHAPED})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(content))
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path.with_suffix(".json"), lambda file: file.write(text.encode()))


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
