"""The moving average against its formula, and the weights that come back after a validation."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from toolchain.training.weight_average import WeightAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_average_follows_the_formula(decay: float) -> None:
    module = SimpleNamespace(network=network())
    callback = WeightAverage(decay)
    callback.on_fit_start(None, module)
    expected = module.network[0].weight.detach().double().clone()
    for step in range(30):
        with torch.no_grad():
            module.network[0].weight.add_(torch.randn(2, 1, 1, 1))
        callback.on_train_batch_end(None, module, None, None, step)
        share = min(decay, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * module.network[0].weight.detach().double()
    assert torch.allclose(callback.average["0.weight"].double(), expected, atol=1e-5)


def test_validation_sees_the_average_and_gives_the_weights_back() -> None:
    module = SimpleNamespace(network=network())
    callback = WeightAverage(0.9)
    callback.on_fit_start(None, module)
    first = {name: tensor.clone() for name, tensor in module.network.state_dict().items()}
    with torch.no_grad():
        for tensor in module.network.parameters():
            tensor.add_(1.0)
    module.network(torch.randn(4, 1, 3, 3))
    trained = {name: tensor.clone() for name, tensor in module.network.state_dict().items()}
    callback.on_validation_start(None, module)
    seen = module.network.state_dict()
    assert all(torch.equal(seen[name], first[name]) for name in first if seen[name].is_floating_point())
    # The counter of batches is no weight: it is not averaged.
    assert seen["1.num_batches_tracked"] == 1
    callback.on_validation_end(None, module)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in module.network.state_dict().items())


def test_state_goes_through_a_checkpoint() -> None:
    module = SimpleNamespace(network=network())
    first, second = WeightAverage(0.9), WeightAverage(0.9)
    first.on_fit_start(None, module)
    with torch.no_grad():
        module.network[0].weight.add_(1.0)
    first.on_train_batch_end(None, module, None, None, 0)
    second.load_state_dict(first.state_dict())
    second.on_fit_start(None, module)
    assert second.steps == 1
    assert all(torch.equal(second.average[name], tensor) for name, tensor in first.average.items())
