"""The learning rate over time, and which parameters decay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from toolchain.training.recipe import OptimizerSettings, ScheduleSettings
from toolchain.training.schedule import make_optimizer, rate_factor


@given(steps=st.integers(1, 50), epochs=st.integers(1, 190))
def test_published_rate_falls_at_epoch_borders(steps: int, epochs: int) -> None:
    settings = ScheduleSettings(name="steps", warmup=0.0, every=40, factor=0.1)
    factor = rate_factor(settings, steps * epochs, epochs)
    for step in range(0, steps * epochs, max(1, steps - 1)):
        assert factor(step) == pytest.approx(0.1 ** (step // steps // 40))


@given(steps=st.integers(2, 2000), warmup=st.floats(0, 0.5))
def test_cosine_rises_to_one_and_falls_to_zero(steps: int, warmup: float) -> None:
    factor = rate_factor(ScheduleSettings(warmup=warmup), steps, 10)
    values = [factor(step) for step in range(steps + 1)]
    warm = int(warmup * steps)
    assert values[: warm + 1] == sorted(values[: warm + 1])
    assert values[warm:] == sorted(values[warm:], reverse=True)
    assert max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.0, abs=1e-12)
    assert values[0] > 0


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("rmsprop", torch.optim.RMSprop)])
def test_biases_and_norms_do_not_decay(name: str, kind: type) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = make_optimizer(network, OptimizerSettings(name=name, weight_decay=0.5, learning_rate=0.1))
    assert type(optimizer) is kind
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(p)] for p in network.parameters() if p.ndim == 4} == {0.5}
    assert {decay[id(p)] for p in network.parameters() if p.ndim == 1} == {0.0}
    assert len(decay) == len(list(network.parameters()))
