"""Layers that are exempt by default, and what is said about them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from toolchain.compress.sparsity.exemption import with_coupled_exempt
from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.errors import UsageError
from toolchain.spec import TensorSpec

SETTINGS = SparsitySettings(0.1)
INPUTS = (TensorSpec("image", (1, 3, 8, 8), layout="NCHW"),)


class Residual(nn.Module):
    """Two summands, and a convolution between them that is free."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3)
        self.back, self.head = nn.Conv2d(6, 4, 3, padding=2), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.relu(x + self.back(torch.relu(self.inner(x)))))


class AllSummed(Residual):
    """Nothing is free."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x) + self.back(nn.functional.pad(x, (0, 0, 0, 0, 0, 3))))


class Branching(Residual):
    """Its way depends on the numbers in the picture."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum().item() > 0 else super().forward(-x)


def test_summed_layers_are_exempt_and_named() -> None:
    lines: list[str] = []
    found = with_coupled_exempt(SETTINGS, Residual(), INPUTS, lines.append)
    assert found == replace(SETTINGS, exempt=("stem", "back"))
    (line,) = lines
    assert line.startswith("exempt are 2 of 3 layers, stem, back: ")
    assert "'stem': 'head' is fed something else in the same channel" in line


def test_exempt_layers_of_the_user_come_first_and_once() -> None:
    settings = replace(SETTINGS, exempt=("b*",))
    assert with_coupled_exempt(settings, Residual(), INPUTS).exempt == ("b*", "stem")
    assert with_coupled_exempt(replace(settings, exempt=("b*", "stem")), Residual(), INPUTS).exempt == (
        "b*",
        "stem",
    )
    with pytest.raises(UsageError, match="no convolution is called 'bock'"):
        with_coupled_exempt(replace(SETTINGS, exempt=("bock",)), Residual(), INPUTS)


def test_a_layer_with_zeroed_kernels_is_not_exempt() -> None:
    network = Residual()
    with torch.no_grad():
        network.back.weight[1] = 0
    assert with_coupled_exempt(SETTINGS, network, INPUTS).exempt == ("stem",)


@pytest.mark.parametrize(
    ("network", "inputs", "said"),
    [
        (Branching(), INPUTS, "it is not known which kernels could be removed: "),
        (
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 64, 2)),
            INPUTS,
            "",
        ),
    ],
)
def test_settings_stay_where_nothing_is_known_or_nothing_is_coupled(
    network: nn.Module, inputs: tuple[TensorSpec, ...], said: str
) -> None:
    lines: list[str] = []
    assert with_coupled_exempt(SETTINGS, network, inputs, lines.append) == SETTINGS
    assert [line.startswith(said) for line in lines] == [True] * bool(said)
