"""Removal case by case: what goes, what stays and why, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.compress.removal.remove import Removal, remove_filters, zero_filters
from toolchain.errors import UnsupportedError, UsageError


class Apply(nn.Module):
    """Layers a, b, c and d in an arrangement of their own."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


@torch.no_grad()
def zero(layer: nn.Module, *filters: int, bias: float = 0.0) -> nn.Module:
    """The layer with these filters zeroed, and `bias` as their constant."""
    for index in filters:
        if isinstance(layer, nn.ConvTranspose2d):
            group, column = divmod(index, layer.weight.shape[1])
            layer.weight.chunk(layer.groups)[group][:, column] = 0
        else:
            layer.weight[index] = 0
    if layer.bias is not None:
        layer.bias[list(filters)] = bias
    return layer


def conv(inputs: int, outputs: int, kernel: int = 3, padding: int = 1, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=padding, **options)


def removed(network: nn.Module, *shapes: tuple[int, ...]) -> Removal:
    """The removal, after a comparison in float32."""
    torch.manual_seed(5)
    inputs = [torch.randn(shape) for shape in shapes or ((2, 3, 8, 8),)]
    removal = remove_filters(network.eval(), inputs)
    with torch.no_grad():
        torch.testing.assert_close(removal.network(*inputs), network(*inputs), rtol=1e-5, atol=1e-5)
    return removal


def reasons(removal: Removal) -> set[str]:
    return {f"{kept.layer}.{kept.index}: {kept.reason}" for kept in removal.left}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


def test_silent_filters_of_a_chain_go_with_norm_and_inputs() -> None:
    network = nn.Sequential(
        zero(conv(3, 6), 0, 4), nn.BatchNorm2d(6, affine=False), nn.ReLU(), conv(6, 5), nn.Conv2d(5, 2, 1)
    )
    removal = removed(network)
    assert removal.kept == {"0": [1, 2, 3, 5], "3": [0, 1, 2, 3, 4], "4": [0, 1]}
    assert removal.network[1].running_mean.shape == (4,)
    assert removal.network[3].weight.shape == (5, 4, 3, 3)
    assert removal.left == ()
    # 64 pixels: 3 -> 6 and 6 -> 5 with 9 weights each, and 5 -> 2.
    assert removal.before.macs == 64 * (9 * 3 * 6 + 9 * 6 * 5 + 5 * 2)
    assert removal.after.macs == 64 * (9 * 3 * 4 + 9 * 4 * 5 + 5 * 2)
    assert (removal.before.filters, removal.after.filters) == (13, 11)


@pytest.mark.parametrize("bias", [True, False])
def test_a_constant_goes_into_the_bias_of_an_unpadded_layer(bias: bool) -> None:
    network = nn.Sequential(zero(conv(3, 4), 1, 2, bias=1.5), nn.ReLU6(), conv(4, 5, padding=0, bias=bias))
    removal = removed(network)
    assert removal.kept["0"] == [0, 3]
    before = network[2].bias.detach() if bias else torch.zeros(5)
    added = 1.5 * network[2].weight.detach()[:, 1:3].sum((1, 2, 3))
    torch.testing.assert_close(removal.network[2].bias.detach(), before + added)


def test_zero_padding_leaves_one_filter_that_carries_the_constants() -> None:
    network = nn.Sequential(zero(conv(3, 6), 0, 2, 5, bias=0.5), nn.ReLU(), conv(6, 4), conv(4, 2))
    with torch.no_grad():
        network[0].bias[2] = 2.0
    removal = removed(network)
    assert removal.kept["0"] == [1, 2, 3, 4]
    assert reasons(removal) == {
        "0.2: it carries its constant and those of 2 more to '2', which pads with zeros"
    }


def test_a_filter_that_carries_its_own_constant_alone_names_no_others() -> None:
    network = nn.Sequential(zero(conv(3, 6), 2, bias=0.5), nn.ReLU(), conv(6, 4), conv(4, 2))
    assert reasons(removed(network)) == {"0.2: it carries its constant to '2', which pads with zeros"}


def test_padding_with_the_border_is_exact() -> None:
    network = nn.Sequential(zero(conv(3, 4), 1, bias=0.7), conv(4, 2, padding_mode="replicate"))
    assert removed(network).kept["0"] == [0, 2, 3]


def test_flattened_maps_lose_all_features_of_a_filter() -> None:
    network = nn.Sequential(
        zero(conv(3, 4), 0, 3, bias=0.9),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 6),
        nn.ReLU(),
        nn.Linear(6, 2),
    )
    removal = removed(network)
    assert removal.kept["0"] == [1, 2]
    assert removal.network[3].weight.shape == (6, 32)


def residual(first: tuple[int, ...], second: tuple[int, ...]) -> nn.Module:
    return Apply(
        lambda net, x: net.d(functional.relu(net.b(net.a(x)) + net.c(x))),
        a=conv(3, 4),
        b=zero(conv(4, 5), *first),
        c=zero(conv(3, 5), *second),
        d=conv(5, 2),
    )


def test_a_channel_of_a_sum_goes_only_where_all_summands_are_zero() -> None:
    removal = removed(residual((0, 1, 3), (1, 2, 3)))
    assert removal.kept["b"] == removal.kept["c"] == [0, 2, 4]
    assert reasons(removal) == {
        "b.0: 'd' is fed something else in the same channel",
        "c.2: 'd' is fed something else in the same channel",
    }


def test_a_concatenation_keeps_the_order() -> None:
    network = Apply(
        lambda net, x, y: net.c(torch.cat([y, net.a(x), x, net.b(x)], 1)),
        a=zero(conv(3, 4), 1),
        b=zero(conv(3, 4), 0, 3),
        c=conv(4 + 4 + 3 + 2, 2),
    )
    removal = removed(network, (1, 3, 8, 8), (1, 2, 8, 8))
    assert (removal.kept["a"], removal.kept["b"]) == ([0, 2, 3], [1, 2])
    assert removal.network.c.in_channels == 10


def test_depthwise_filters_go_with_their_expansion() -> None:
    network = nn.Sequential(
        zero(conv(3, 6, 1, 0, bias=False), 1),
        nn.ReLU6(),
        zero(conv(6, 6, groups=6, bias=False), 1, 4),
        nn.ReLU6(),
        conv(6, 3, 1, 0),
    )
    removal = removed(network)
    # Filter 4 of the expansion is not zero, but nobody reads it.
    assert removal.kept["0"] == removal.kept["2"] == [0, 2, 3, 5]
    assert removal.network[2].groups == removal.network[2].in_channels == 4


def test_a_constant_at_the_border_of_a_depthwise_convolution_stays() -> None:
    network = nn.Sequential(zero(conv(3, 4, 1, 0), 2, bias=1.0), conv(4, 4, groups=4), conv(4, 2, 1, 0))
    removal = removed(network)
    assert removal.kept["0"] == [0, 1, 2, 3]
    assert reasons(removal) == {"0.2: the constant that '2' is fed differs from place to place"}


def test_groups_lose_equally_many_channels() -> None:
    network = nn.Sequential(zero(conv(3, 8), 0, 1, 5), zero(conv(8, 6, groups=2), 2, 4), conv(6, 2, 1, 0))
    removal = removed(network)
    assert removal.kept["0"] == [1, 2, 3, 4, 6, 7]
    assert removal.kept["1"] == [0, 1, 3, 5]
    assert removal.network[1].weight.shape == (4, 3, 3, 3)
    assert removal.network[1].groups == 2
    assert reasons(removal) == {"0.1: the groups of '1' must keep equally many channels"}


def test_transposed_convolutions() -> None:
    network = nn.Sequential(
        zero(conv(3, 4), 2),
        zero(nn.ConvTranspose2d(4, 6, 2, stride=2), 0, 5, bias=0.3),
        zero(nn.ConvTranspose2d(6, 4, 3, groups=2), 1, 2),
        conv(4, 2, 1, 0),
    )
    removal = removed(network)
    assert removal.kept["0"] == [0, 1, 3]
    # A transposed convolution ends in borders of its own, and each group would have to carry the constant.
    assert removal.kept["1"] == [0, 1, 2, 3, 4, 5]
    assert removal.kept["2"] == [0, 3]
    assert zero_filters(network)["2"].tolist() == [False, True, True, False]


def test_unpooling_ties_a_decoder_to_its_encoder() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        pooled, indices = functional.max_pool2d(net.a(x), 2, return_indices=True)
        return net.c(functional.max_unpool2d(net.b(pooled), indices, 2))

    network = Apply(forward, a=zero(conv(3, 4), 1, 2), b=zero(conv(4, 4), 0, 2), c=conv(4, 2))
    removal = removed(network)
    assert removal.kept["a"] == removal.kept["b"] == [0, 1, 3]
    assert removal.network.b.weight.shape == (3, 3, 3, 3)


def test_a_dead_filter_that_is_not_zero_stays() -> None:
    """Whatever random inputs show: on others its activation may be more than zero."""
    network = Apply(
        lambda net, x: net.c(functional.relu(net.a(x)) + functional.relu(net.b(x))),
        a=zero(conv(3, 4), 1),
        b=conv(3, 4),
        c=conv(4, 2),
    )
    with torch.no_grad():
        network.b.bias[1] = -1e6
    assert removed(network).kept["a"] == [0, 1, 2, 3]


def test_a_layer_used_twice_with_other_constants_keeps_its_inputs() -> None:
    network = Apply(
        lambda net, x: net.b(net.a(x)) + net.b(torch.sigmoid(net.a(x))),
        a=zero(conv(3, 4), 1, bias=1.0),
        b=conv(4, 2, 1, 0),
    )
    removal = removed(network)
    assert removal.kept["a"] == [0, 1, 2, 3]
    assert len(removal.left) == 1


def test_what_leads_to_an_output_stays() -> None:
    network = Apply(
        lambda net, x: functional.relu(net.b(net.a(x))), a=zero(conv(3, 4), 0), b=zero(conv(4, 5), 3)
    )
    removal = removed(network)
    assert (removal.kept["a"], removal.kept["b"]) == ([1, 2, 3], [0, 1, 2, 3, 4])
    assert reasons(removal) == {"b.3: an output of the network"}


def test_what_is_added_to_an_input_stays() -> None:
    network = Apply(lambda net, x: net.b(x + net.a(x)), a=zero(conv(3, 3), 1), b=conv(3, 2))
    assert reasons(removed(network)) == {"a.1: an input of the network"}


def test_a_layer_keeps_a_filter() -> None:
    network = nn.Sequential(zero(conv(3, 4), 0, 1, 2, 3), nn.ReLU(), conv(4, 2))
    removal = removed(network)
    assert removal.kept["0"] == [0]
    assert reasons(removal) == {"0.0: '0' would have no filter left"}


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (nn.GroupNorm(2, 4), "GroupNorm '1', which mixes channels"),
        (nn.utils.parametrizations.weight_norm(conv(4, 4)), "the weights of '1' are computed from others"),
        (nn.Softmax(1), "'2' is fed something else in the same channel"),
    ],
)
def test_layers_that_mix_channels_keep_them(middle: nn.Module, reason: str) -> None:
    network = nn.Sequential(zero(conv(3, 4), 1), middle, conv(4, 2))
    assert reasons(removed(network)) == {f"0.1: {reason}"}


def test_shared_weights_stay() -> None:
    network = nn.Sequential(zero(conv(3, 4), 1), zero(conv(4, 4), 1), conv(4, 4), conv(4, 2))
    network[2].weight = network[1].weight
    removal = removed(network)
    assert removal.kept["1"] == removal.kept["2"] == [0, 1, 2, 3]
    assert "shares its weights" in " ".join(reasons(removal))


def test_only_the_filters_that_are_asked_for_go() -> None:
    network = nn.Sequential(zero(conv(3, 4), 0, 2), conv(4, 2)).eval()
    example = (torch.zeros(1, 3, 8, 8),)
    removal = remove_filters(network, example, {"0": torch.tensor([False, False, True, False])})
    assert removal.kept["0"] == [0, 1, 3]
    with pytest.raises(UsageError, match="filter 1 of '0' is not zero"):
        remove_filters(network, example, {"0": torch.tensor([False, True, True, False])})
    with pytest.raises(UsageError, match="no convolution '7'"):
        remove_filters(network, example, {"7": torch.tensor([True])})


def test_without_zeros_the_network_stays_what_it_is() -> None:
    network = nn.Sequential(conv(3, 4), conv(4, 2))
    removal = removed(network)
    assert (removal.zeroed, removal.before) == (0, removal.after)
    assert all(
        torch.equal(value, removal.network.state_dict()[key]) for key, value in network.state_dict().items()
    )


class Stubborn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 4, 64).mean(2)


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Stubborn(), r"'1' \(Stubborn\).*with fewer channels"),
        (Deciding(), r"'1' \(Deciding\)"),
        (Broken(), r"'1' \(Broken\): RuntimeError: no such thing"),
    ],
)
def test_what_cannot_be_traced_is_refused_by_name(module: nn.Module, message: str) -> None:
    head = nn.Linear(4, 2) if isinstance(module, Stubborn) else conv(4, 2)
    network = nn.Sequential(zero(conv(3, 4), 1), module, head).eval()
    with pytest.raises(UnsupportedError, match=message):
        remove_filters(network, (torch.zeros(1, 3, 8, 8),))
