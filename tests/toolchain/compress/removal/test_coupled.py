"""A layer is coupled exactly where zeroing one kernel of it removes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from toolchain.compress.removal.coupled import coupled_layers
from toolchain.compress.removal.remove import remove_filters
from toolchain.compress.sparsity.kernels import sparse_layers
from toolchain.compress.sparsity.masks import rows_to_hold, zero_rows
from toolchain.compress.sparsity.wiring import read_wiring
from toolchain.models.layers import InvertedResidual, conv_bn_relu6
from toolchain.models.zoo import zoo


class Blocks(nn.Module):
    """A trunk of two inverted residuals, a block without a sum, and a gate that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn_relu6(3, 4, 3)
        self.first = InvertedResidual(4, 4, 2)
        self.second = InvertedResidual(4, 4, 2)
        self.free = InvertedResidual(4, 6, 2)
        self.gate = nn.Conv2d(6, 6, 1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.free(self.second(self.first(self.stem(x))))
        return self.head(x * torch.sigmoid(self.gate(x)))


class Dense(nn.Module):
    """A concatenation: every kernel has a channel of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv_bn_relu6(3, 4, 3), conv_bn_relu6(4, 4, 3)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(torch.cat([x, self.second(x)], 1))


# The gate is 0.5 where its kernel is zero, and still multiplies something; 0 times the gate is 0.
TRUNK = {"stem.0", "first.body.2", "second.body.2", "gate"}
# With weights alone zeroed, the constant that is left differs at the borders behind a depthwise convolution.
EXPANSIONS = {"free.body.2", "first.body.0.0", "second.body.0.0", "free.body.0.0"}


@pytest.mark.parametrize(
    ("make", "biases", "coupled"),
    [
        (Blocks, True, TRUNK),
        (Blocks, False, TRUNK | EXPANSIONS),
        (Dense, True, set()),
        (Dense, False, set()),
    ],
)
def test_coupled_layers_are_those_that_lose_nothing(
    make: type[nn.Module], biases: bool, coupled: set[str]
) -> None:
    torch.manual_seed(0)
    network, example = make().eval(), (torch.randn(1, 3, 8, 8),)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.1, 0.5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wiring = read_wiring(network)
    assert wiring is not None
    layers, names = sparse_layers(network, (), wiring), wiring.norms if biases else None
    found = coupled_layers(network, example, layers, names)
    assert set(found) == coupled
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    for name in layers:
        pruned = copy.deepcopy(network)
        modules = dict(pruned.named_modules())
        mask = torch.arange(len(modules[name].weight)) == 1
        norms = {name: [modules[norm] for norm in names.get(name, ())]} if names is not None else None
        zero_rows(rows_to_hold({name: modules[name]}, {name: mask}, norms))
        removal = remove_filters(pruned, example)
        # A constant before a padded layer is carried by one kernel, so that a single one stays.
        carried = any("carries" in kept.reason for kept in removal.left)
        assert (removal.after.filters < removal.before.filters) == (name not in found) or carried


def test_the_product_network_is_coupled_where_its_trunk_is_summed() -> None:
    entry = zoo().get("mobile-hourglass")
    network = entry.build()
    example = [torch.zeros(1, tensor.shape[1], 32, 32) for tensor in entry.spec.inputs]
    wiring = read_wiring(network)
    assert wiring is not None
    layers = sparse_layers(network, (), wiring)
    found = coupled_layers(network, example, layers, wiring.norms)
    trunk = {"stem.0", "previous", "lift", "full.0"}
    assert set(found) == trunk | {name for name in layers if name.endswith("body.2")}
    assert len(found) == 17


def test_pruned_weights_do_not_count() -> None:
    """Where all other summands are zero already, the layers are connected as before."""
    network, example = Blocks().eval(), (torch.randn(1, 3, 8, 8),)
    with torch.no_grad():
        network.first.body[2].weight.zero_()
        network.second.body[2].weight.zero_()
    assert {"stem.0", "first.body.2"} <= set(coupled_layers(network, example, sparse_layers(network), {}))
