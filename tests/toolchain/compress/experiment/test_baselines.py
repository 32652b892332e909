"""torch-pruning's methods beside kernel sparsity."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from toolchain.compress.experiment.baselines import GroupNormRegularizer, prune_to
from toolchain.compress.removal.figures import network_size
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.zoo import zoo

EXAMPLE = (torch.zeros(1, 1, 8, 8),)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 12),
        nn.ReLU(),
        nn.Linear(12, 3),
    )


@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_pruned_network_has_hardly_less_than_the_multiply_adds(share: float) -> None:
    whole = network()
    before = network_size(whole.eval(), EXAMPLE)
    wanted = int(share * before.macs)
    made = prune_to(whole, EXAMPLE, wanted)
    after = network_size(made, EXAMPLE)
    # One channel more of the wider layer would have been too many.
    assert wanted - before.macs / 8 < after.macs <= wanted
    assert (after.layers["7"].filters, after.layers["9"].filters) == (12, 3)
    assert network_size(whole, EXAMPLE) == before
    assert made(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_the_weakest_filters_go_first() -> None:
    whole = network()
    weak = [1, 4, 6]
    with torch.no_grad():
        whole[3].weight[weak] *= 1e-4
        whole[7].weight[:, weak] *= 1e-4
    macs = network_size(whole.eval(), EXAMPLE).macs
    made = prune_to(whole, EXAMPLE, macs - 3 * (8 * 9 * 64 + 12))
    kept = [index for index in range(16) if index not in weak]
    assert torch.equal(made[3].weight, whole[3].weight[kept])


def test_a_network_that_loses_nothing_computes_the_same() -> None:
    whole = network().eval()
    made = prune_to(whole, EXAMPLE, network_size(whole, EXAMPLE).macs)
    image = torch.randn(4, 1, 8, 8)
    assert torch.equal(made(image), whole(image))


def test_face_parser_keeps_its_classes() -> None:
    entry = zoo().get("mobile-hourglass")
    torch.manual_seed(0)
    whole = entry.build().eval()
    example = tuple(torch.zeros(*tensor.shape[:2], 32, 32) for tensor in entry.spec.inputs)
    wanted = network_size(whole, example).macs // 2
    made = prune_to(whole, example, wanted)
    assert 0.9 * wanted < network_size(made, example).macs <= wanted
    assert made(*example).shape == (1, 10, 32, 32)


def test_too_few_multiply_adds_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be pruned to 10 multiply-adds"):
        prune_to(network(), EXAMPLE, 10)


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 4, 3)

        def forward(self, image: torch.Tensor) -> Any:
            raise RuntimeError("no graph")

    with pytest.raises(UnsupportedError, match="cannot trace Broken: no graph"):
        GroupNormRegularizer(EXAMPLE).on_fit_start(None, SimpleNamespace(network=Broken(), device="cpu"))


@pytest.mark.parametrize("settings", [{"strength": -1.0}, {"strength": float("nan")}, {"alpha": 100.0}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="of the group norm is"):
        GroupNormRegularizer(EXAMPLE, **settings)


def test_group_norm_draws_weak_filters_to_zero_first(fit) -> None:
    shares = []
    for strength in (0.0, 0.05):
        method = GroupNormRegularizer(EXAMPLE, strength=strength)
        trained = fit(method, epochs=6).network
        norms = trained[3].weight.detach().flatten(1).norm(dim=1)
        shares.append(float(norms.min() / norms.max()))
    assert shares[1] < 0.7 * shares[0]
