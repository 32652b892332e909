"""How large a network is: filters, parameters and multiply-adds, as a whole and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True)
class LayerSize:
    """A convolution or linear layer.

    Attributes:
        filters: output channels or features.
        parameters: of the layer, bias included.
        macs: multiply-adds for one sample, all calls together.
    """

    filters: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class NetworkSize:
    """A whole network.

    Attributes:
        filters: output channels of all convolutions; linear layers do not count.
        parameters: all, normalization included.
        macs: multiply-adds of convolutions and linear layers for one sample.
        layers: convolutions and linear layers by name.
    """

    filters: int
    parameters: int
    macs: int
    layers: dict[str, LayerSize]

    def totals(self) -> dict[str, Any]:
        """The figures of the whole, as JSON has them."""
        return {key: value for key, value in asdict(self).items() if key != "layers"}


@torch.no_grad()
def network_size(network: nn.Module, example: Sequence[Tensor]) -> NetworkSize:
    """Count, running the network once on `example`.

    A convolution costs kernel positions x input channels per group for every output element (for a transposed
    one: every input element x output channels per group); padding counts as computed.

    Args:
        network: in evaluation mode.
        example: its inputs; the first axis is the batch.
    """
    macs: dict[str, int] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, _ConvNd | nn.Linear):
            macs[name] = 0
            hooks.append(module.register_forward_hook(_counter(name, macs)))
    try:
        network(*example)
    finally:
        for hook in hooks:
            hook.remove()
    modules = dict(network.named_modules())
    layers = {name: _layer(modules[name], count // len(example[0])) for name, count in macs.items()}
    return NetworkSize(
        sum(layers[name].filters for name in layers if isinstance(modules[name], _ConvNd)),
        sum(parameter.numel() for parameter in network.parameters()),
        sum(layer.macs for layer in layers.values()),
        layers,
    )


def _counter(name: str, macs: dict[str, int]) -> Any:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        elements = inputs[0].numel() if isinstance(module, _ConvTransposeNd) else output.numel()
        macs[name] += elements * weight[0].numel()

    return count


def _layer(module: nn.Module, macs: int) -> LayerSize:
    filters = module.out_channels if isinstance(module, _ConvNd) else module.out_features
    assert isinstance(filters, int)
    return LayerSize(filters, sum(parameter.numel() for parameter in module.parameters()), macs)
