"""The sparsity term against its formula, its range and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from toolchain.compress.sparsity.kernels import kernel_norms
from toolchain.compress.sparsity.term import sparsity_term


def make_layers(values: list[list[float]]) -> dict[str, nn.Conv2d]:
    """One-weight kernels whose n are the given ones."""
    layers = {}
    for index, layer_values in enumerate(values):
        conv = nn.Conv2d(1, len(layer_values), 1)
        with torch.no_grad():
            conv.weight.copy_(torch.tensor(layer_values).view(-1, 1, 1, 1) * len(layer_values))
        layers[str(index)] = conv
    return layers


@pytest.mark.parametrize(
    ("kind", "scope", "normalised", "expected"),
    [
        ("l1", "global", False, 12.0),
        ("l2", "global", False, math.sqrt(50)),
        ("l1/l2", "global", False, 12 / math.sqrt(50)),
        ("l1", "global", True, 3.0),
        ("l2", "global", True, math.sqrt(12.5)),
        ("l1/l2", "global", True, 12 / math.sqrt(50) / 2),
        ("l1", "layer", False, 12.0),
        ("l2", "layer", False, 10.0 / math.sqrt(2)),
        ("l1/l2", "layer", False, 7 / 5 + 5 / 5),
        ("l1", "layer", True, (3.5 + 2.5) / 2),
        ("l1/l2", "layer", True, (7 / 5 + 1) / math.sqrt(2) / 2),
    ],
)
def test_published_formula(kind: str, scope: str, normalised: bool, expected: float) -> None:
    layers = make_layers([[3.0, -4.0], [5.0, 0.0]])
    if (kind, scope) == ("l2", "layer"):
        expected = 5.0 + 5.0
    assert float(sparsity_term(layers, kind, scope, normalised)) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.lists(st.floats(0.125, 8, width=32), min_size=1, max_size=9), min_size=1, max_size=4),
    scale=st.floats(0.01, 100),
    scope=st.sampled_from(["global", "layer"]),
)
def test_normalised_ratio_has_one_range_and_no_scale(
    values: list[list[float]], scale: float, scope: str
) -> None:
    layers = make_layers(values)
    count = sum(len(row) for row in values)
    term = float(sparsity_term(layers, "l1/l2", scope, True))
    assert 1 / math.sqrt(count) - 1e-6 <= term <= 1 + 1e-6
    scaled = make_layers([[value * scale for value in row] for row in values])
    assert float(sparsity_term(scaled, "l1/l2", scope, True)) == pytest.approx(term, rel=1e-4)


@pytest.mark.parametrize("width", [2, 20, 500])
def test_m_equal_kernels_of_all_give_the_root_of_their_share(width: int) -> None:
    values = [1.0] * (width // 2) + [0.0] * (width - width // 2)
    assert float(sparsity_term(make_layers([values]))) == pytest.approx(math.sqrt(0.5), rel=1e-6)


@pytest.mark.parametrize("kind", ["l1/l2", "l1", "l2"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_gradient_is_that_of_the_value(kind: str, scope: str) -> None:
    torch.manual_seed(0)
    layers = {"a": nn.Conv2d(2, 3, 3), "b": nn.Conv2d(3, 4, 3)}
    value = sparsity_term(layers, kind, scope, False)
    value.backward()
    weight, step = layers["b"].weight, 1e-2
    with torch.no_grad():
        weight[1, 1, 1, 1] += step
        ahead = float(sparsity_term(layers, kind, scope, False))
        weight[1, 1, 1, 1] -= 2 * step
        behind = float(sparsity_term(layers, kind, scope, False))
    assert float(weight.grad[1, 1, 1, 1]) == pytest.approx((ahead - behind) / 2 / step, rel=2e-3, abs=2e-5)


def test_ratio_takes_small_kernels_down_and_large_ones_up() -> None:
    layers = make_layers([[1.0, 1.0, 8.0]])
    sparsity_term(layers).backward()
    slope = layers["0"].weight.grad.flatten()
    assert slope[0] > 0
    assert slope[2] < 0


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_layers_of_zeros_have_no_term_and_no_gradient(scope: str) -> None:
    layers = make_layers([[0.0, 0.0]])
    term = sparsity_term(layers, "l1/l2", scope)
    term.backward()
    assert float(term.detach()) == 0
    assert torch.equal(layers["0"].weight.grad, torch.zeros(2, 1, 1, 1))
    assert torch.equal(kernel_norms(layers["0"]), torch.zeros(2))
