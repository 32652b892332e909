"""Kernels of a network, their values, and what the graph says about them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from toolchain.compress.sparsity.kernels import kernel_norms, sparse_layers
from toolchain.compress.sparsity.wiring import read_wiring
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.zoo import zoo


class Mixed(nn.Module):
    """A residual sum, a concatenation, a norm used twice, and two convolutions in the output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 1)
        self.right = nn.Conv2d(4, 4, 1)
        self.shared = nn.BatchNorm2d(4)
        self.wide = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 2, 1)
        self.side = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        left, right = self.shared(self.left(x)), self.shared(self.right(x))
        return torch.relu(self.head(self.wide(torch.cat([left, right], 1))) + self.side(x)) * 2


class Branching(nn.Module):
    """Its way depends on the numbers in the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x)) if x.sum() > 0 else self.head(self.first(-x))


def test_value_of_a_kernel_is_the_sum_of_its_weights_over_the_number_of_kernels() -> None:
    conv = nn.Conv2d(2, 3, 2)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(24.0).reshape(3, 2, 2, 2) - 12)
    expected = [(12 + 11 + 10 + 9 + 8 + 7 + 6 + 5) / 3, (4 + 3 + 2 + 1 + 0 + 1 + 2 + 3) / 3, 60 / 3]
    assert kernel_norms(conv).tolist() == pytest.approx(expected)


def test_values_of_half_precision_weights_are_summed_in_float32() -> None:
    conv = nn.Conv2d(512, 4, 3).bfloat16()
    assert torch.equal(kernel_norms(conv), conv.weight.float().abs().sum((1, 2, 3)) / 4)
    assert kernel_norms(conv).dtype == torch.float32


def test_a_zero_weight_has_no_slope() -> None:
    conv = nn.Conv2d(1, 2, 1)
    nn.init.zeros_(conv.weight)
    kernel_norms(conv).sum().backward()
    assert torch.equal(conv.weight.grad, torch.zeros_like(conv.weight))


@pytest.mark.parametrize(
    ("model", "filters", "outputs"),
    [
        ("lenet", [20, 50], []),
        ("vgg11", [64, 128, 256, 256, 512, 512, 512, 512], []),
        ("mobile-hourglass", None, ["head"]),
        ("unet", None, ["head"]),
    ],
)
def test_layers_of_the_zoo(model: str, filters: list[int] | None, outputs: list[str]) -> None:
    network = zoo().get(model).build()
    layers = sparse_layers(network)
    every = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    assert [name for name in every if name not in layers] == outputs
    assert list(layers) == [name for name in every if name in layers]
    if filters is not None:
        assert [len(kernel_norms(layer)) for layer in layers.values()] == filters


def test_graph_of_sums_concatenations_and_shared_norms() -> None:
    wiring = read_wiring(Mixed())
    assert wiring is not None
    assert wiring.outputs == {"head", "side"}
    # The shared norm takes two convolutions, the wide one a concatenation.
    assert wiring.norms == {"first": ("norm",)}


def test_every_hidden_convolution_of_the_hourglass_has_its_norm() -> None:
    network = zoo().get("mobile-hourglass-light").build()
    wiring = read_wiring(network)
    assert wiring is not None
    modules = dict(network.named_modules())
    for name in sparse_layers(network):
        (norm,) = wiring.norms[name]
        assert modules[norm].num_features == modules[name].out_channels


def test_a_network_that_cannot_be_traced_has_no_graph_but_layers() -> None:
    assert read_wiring(Branching()) is None
    assert list(sparse_layers(Branching())) == ["first", "head"]
    assert list(sparse_layers(Branching(), exempt=("head",))) == ["first"]


@pytest.mark.parametrize(
    ("exempt", "left"),
    [
        (("features.0",), ["features.2"]),
        (("features.[2]",), ["features.0"]),
        (("*.2",), ["features.0"]),
    ],
)
def test_exempt_layers(exempt: tuple[str, ...], left: list[str]) -> None:
    assert list(sparse_layers(zoo().get("lenet").build(), exempt)) == left


def test_an_unknown_layer_is_told_with_near_names() -> None:
    with pytest.raises(UsageError, match=r"no convolution is called 'feature.2'") as caught:
        sparse_layers(zoo().get("lenet").build(), ("feature.2",))
    assert "did you mean features.2" in caught.value.hint


@pytest.mark.parametrize("network", [nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Conv2d(3, 2, 1))])
def test_a_network_without_kernels_to_take(network: nn.Module) -> None:
    with pytest.raises(UsageError, match="no convolution whose kernels could be taken"):
        sparse_layers(network)


def test_computed_weights_are_refused() -> None:
    network = nn.Sequential(weight_norm(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 2, 1))
    with pytest.raises(UnsupportedError, match="weights of '0' are computed"):
        sparse_layers(network)
