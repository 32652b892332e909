"""Weights that both converters are given: reproducible, and no layer of them does nothing."""

from __future__ import annotations

import torch
from torch import nn

from toolchain.benchmarks.seeded import seeded_network
from toolchain.models import ModelEntry
from toolchain.spec import GENERIC, ModelSpec, TensorSpec

SPEC = ModelSpec(
    "small", GENERIC, (TensorSpec("x", (1, 3, 16, 16), layout="NCHW"),), (TensorSpec("y", (1, 5, 16, 16)),)
)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 1))


def test_same_seed_gives_the_same_weights():
    entry = ModelEntry(SPEC, small)
    first, again, other = (seeded_network(entry, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_normalization_changes_the_output_and_keeps_its_scale():
    network = seeded_network(ModelEntry(SPEC, small))
    assert not network.training
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        plain, normalized = network[0](x), network[1](network[0](x))
    assert (plain - normalized).abs().mean() > 0.1
    assert 0.5 < float(normalized.std()) < 2


def test_network_without_normalization_is_left_as_built():
    torch.manual_seed(0)
    expected = nn.Conv2d(3, 5, 1).state_dict()
    found = seeded_network(ModelEntry(SPEC, lambda: nn.Conv2d(3, 5, 1))).state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
