"""Whatever small network and whatever zeroed filters: the smaller network computes the same function."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from toolchain.compress.removal.remove import remove_filters, zero_filters
from toolchain.models.reshape import fit_to_state

BLOCKS = (
    "conv",
    "valid",
    "pointwise",
    "residual",
    "projected",
    "concat",
    "input",
    "depthwise",
    "inverted",
    "grouped",
    "transposed",
    "pool",
    "unpool",
    "preact",
    "prelu",
)
ACTIVATIONS = (nn.Identity, nn.ReLU, nn.ReLU6, nn.Sigmoid)


class Block(nn.Module):
    """One way of wiring convolutions; takes and gives (N, width, H, W), with the picture at hand."""

    def __init__(self, kind: str, width: int, activation: type[nn.Module], norm: bool, bias: bool) -> None:
        super().__init__()
        self.kind = kind
        self.layers = nn.ModuleList()

        def layer(inputs: int, outputs: int, kernel: int, **options: int) -> None:
            padding = options.pop("padding", kernel // 2)
            conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=bias, **options)
            tail = [nn.BatchNorm2d(outputs)] if norm else []
            self.layers.append(nn.Sequential(conv, *tail, activation()))

        if kind in ("conv", "residual", "pool", "prelu"):
            layer(width, width, 3)
        elif kind in ("projected", "unpool"):
            layer(width, width, 3)
            layer(width, width, 1)
        elif kind == "valid":
            layer(width, width, 3, padding=0)
        elif kind == "pointwise":
            layer(width, width, 1)
        elif kind in ("concat", "input"):
            layer(width, width, 3)
            layer(2 * width if kind == "concat" else width + 2, width, 3)
        elif kind in ("depthwise", "inverted"):
            hidden = width * (2 if kind == "inverted" else 1)
            layer(width, hidden, 1)
            layer(hidden, hidden, 3, groups=hidden)
            layer(hidden, width, 1)
        elif kind == "grouped":
            layer(width, width, 3, groups=2)
            layer(width, width, 1, groups=2)
        elif kind == "transposed":
            self.up = nn.ConvTranspose2d(width, width, 2, stride=2, bias=bias)
            layer(width, width, 3)
        elif kind == "preact":
            self.norm = nn.BatchNorm2d(width)
            layer(width, width, 3)
        if kind == "prelu":
            self.slope = nn.PReLU(width)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        first = self.layers[0]
        if self.kind == "residual":
            return x + first(x)
        if self.kind == "projected":
            return first(x) + self.layers[1](x)
        if self.kind == "concat":
            return self.layers[1](torch.cat([x, first(x)], 1))
        if self.kind == "input":
            resized = functional.interpolate(image, size=x.shape[2:])
            return self.layers[1](torch.cat([resized, first(x)], 1))
        if self.kind == "transposed":
            return functional.max_pool2d(first(self.up(x)), 2)
        if self.kind == "pool":
            up = functional.interpolate(functional.avg_pool2d(first(x), 2, ceil_mode=True), size=x.shape[2:])
            return up
        if self.kind == "unpool":
            pooled, indices = functional.max_pool2d(first(x), 2, return_indices=True)
            return functional.max_unpool2d(self.layers[1](pooled), indices, 2, output_size=x.shape[2:])
        if self.kind == "preact":
            return x + first(functional.relu(self.norm(x)))
        if self.kind == "prelu":
            return self.slope(first(x))
        for layer in self.layers:
            x = layer(x)
        return x


class Network(nn.Module):
    """A stem, blocks, and one of two heads."""

    def __init__(self, blocks: list[Block], width: int, flat: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        self.blocks = nn.ModuleList(blocks)
        self.flat = flat
        self.head: nn.Module = nn.LazyLinear(3) if flat else nn.Conv2d(width, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        for block in self.blocks:
            x = block(x, image)
        return self.head(x.flatten(1) if self.flat else x)


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    width = 2 * draw(st.integers(1, 3))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    blocks = [
        Block(
            draw(st.sampled_from(BLOCKS)),
            width,
            draw(st.sampled_from(ACTIVATIONS)),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    network = Network(blocks, width, draw(st.booleans())).eval()
    with torch.no_grad():
        network(torch.zeros(1, 2, 12, 12))
    share = draw(st.sampled_from((0.2, 0.5, 0.8)))
    silent = draw(st.booleans())
    spoil(network, share, silent)
    return network


@torch.no_grad()
def spoil(network: nn.Module, share: float, silent: bool) -> None:
    """Trained-looking norms and biases, and zeroed filters; where `silent`, these give exact zeros."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.5)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            outputs = (
                module.weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else module.weight
            )
            zero = torch.rand(len(outputs)) < share
            outputs[zero] = 0
            if module.bias is not None:
                module.bias.normal_(0, 0.5)
                if silent:
                    module.bias[zero] = 0


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(networks())
def test_the_function_stays_and_every_zeroed_filter_is_accounted_for(network: nn.Module) -> None:
    image = torch.randn(3, 2, 12, 12)
    removal = remove_filters(network, (image[:1],))
    exact, smaller = copy.deepcopy(network).double(), copy.deepcopy(removal.network).double()
    with torch.no_grad():
        expected, found = exact(image.double()), smaller(image.double())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    zeroed = zero_filters(network)
    gone = sum(
        int(mask.sum()) - sum(bool(mask[index]) for index in removal.kept[name])
        for name, mask in zeroed.items()
    )
    assert removal.zeroed == sum(int(mask.sum()) for mask in zeroed.values())
    assert gone + len(removal.left) == removal.zeroed
    assert all(removal.kept.values())
    assert (removal.after.parameters < removal.before.parameters) == (gone > 0)

    state = removal.network.state_dict()
    again = copy.deepcopy(network)
    fit_to_state(again, state)
    again.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(again(image), removal.network(image))


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_loses_filters(kind: str) -> None:
    """The property above says nothing where nothing can be removed."""
    torch.manual_seed(0)
    block = Block(kind, 8, nn.ReLU, norm=True, bias=True)
    network = Network([block, Block("conv", 8, nn.ReLU, True, True)], 8, flat=False).eval()
    spoil(network, 0.5, silent=True)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, -10.0)
            nn.init.zeros_(module.running_mean)
    removal = remove_filters(network, (torch.randn(1, 2, 12, 12),))
    inside = [name for name in removal.kept if name.startswith("blocks.")]
    before = sum(removal.before.layers[name].filters for name in inside)
    assert sum(len(removal.kept[name]) for name in inside) < before
