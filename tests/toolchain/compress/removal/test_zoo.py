"""Every network of the zoo loses its zeroed filters and computes the same function."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from toolchain.compress.removal.remove import remove_filters, zero_filters
from toolchain.models import zoo
from toolchain.models.reshape import fit_to_state
from toolchain.spec import ModelSpec

SHARE = 0.3
SMALL = 32
# One network of every class: variants differ in widths and sizes.
NAMES = sorted({zoo().get(name).factory: name for name in reversed(list(zoo()))}.values())
# Their linear layers fix the size of the picture.
FIXED = ("lenet", "vgg11", "alexnet")


def example_of(spec: ModelSpec) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    fixed = spec.name.startswith(FIXED)
    return tuple(
        torch.randn(
            (1, tensor.shape[1], *(size if fixed else SMALL for size in tensor.shape[2:])),
            generator=generator,
        )
        for tensor in spec.inputs
    )


@torch.no_grad()
def with_zeros(network: nn.Module) -> nn.Module:
    """Trained-looking norms and biases, and filters zeroed at random."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.5)
        if isinstance(module, _ConvNd):
            module.weight[torch.rand(len(module.weight)) < SHARE] = 0
            if module.bias is not None:
                module.bias.normal_(0, 0.3)
    return network.eval()


@pytest.mark.parametrize("name", NAMES)
def test_the_function_stays_and_the_network_gets_smaller(name: str) -> None:
    entry = zoo().get(name)
    network, example = with_zeros(entry.build()), example_of(entry.spec)
    removal = remove_filters(network, example)
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(*(value.double() for value in example))
        found = removal.network(*example)
    assert removal.after.parameters < removal.before.parameters
    assert removal.after.macs < removal.before.macs
    assert removal.difference < 1e-9
    assert (found - exact).abs().max() <= 1e-5 * exact.abs().max().clamp(min=1)
    # The head has one filter for each class, and the first layer one column for each colour.
    assert found.shape == exact.shape

    fresh = entry.build().eval()
    fit_to_state(fresh, removal.network.state_dict())
    fresh.load_state_dict(removal.network.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(*example), found)


@pytest.mark.parametrize("name", ["mobile-hourglass", "mobile-hourglass-video-f16-t3"])
def test_inputs_keep_their_channels(name: str) -> None:
    """Pixels and previous mask come from outside."""
    entry = zoo().get(name)
    removal = remove_filters(with_zeros(entry.build()), example_of(entry.spec))
    shapes = {key: value.shape for key, value in removal.network.state_dict().items()}
    if name == "mobile-hourglass":
        assert (shapes["stem.0.weight"][1], shapes["full.0.weight"][1]) == (3, 3)
        assert (shapes["previous.weight"][1], shapes["head.weight"][0]) == (10, 10)
    else:
        assert shapes["stem.0.0.weight"][1] == 13


@pytest.mark.parametrize("name", ["lenet", "mobile-hourglass-still-f16-t3"])
def test_a_second_time_there_is_nothing_to_remove(name: str) -> None:
    entry = zoo().get(name)
    example = example_of(entry.spec)
    once = remove_filters(with_zeros(entry.build()), example)
    twice = remove_filters(once.network, example)
    assert twice.after == once.after
    assert len(twice.left) == len(once.left) == twice.zeroed


def test_silent_filters_all_go() -> None:
    """Training that zeroes the norm behind a kernel as well leaves nothing to carry: UNet has no sums."""
    network = with_zeros(zoo().get("unet").build())
    with torch.no_grad():
        for block in network.modules():
            if isinstance(block, nn.Sequential) and isinstance(block[0], nn.Conv2d):
                zero = block[0].weight.flatten(1).abs().sum(1) == 0
                for tensor in (block[0].bias, block[1].weight, block[1].bias):
                    tensor[zero] = 0
    removal = remove_filters(network, (torch.randn(1, 3, SMALL, SMALL),))
    assert {kept.layer for kept in removal.left} <= {"head"}
    zeroed = zero_filters(network)
    assert all(
        len(removal.kept[name]) == int((~mask).sum()) for name, mask in zeroed.items() if name != "head"
    )
