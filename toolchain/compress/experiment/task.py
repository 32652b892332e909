"""What an experiment needs of a task: train, judge on validation, judge on test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
from torch import Tensor, nn

from toolchain.compress.distill.teacher import Teacher
from toolchain.spec import ModelSpec

Report = Callable[[str], None]
# Batch of the network's first input -> its first output.
Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes:
        network: with the weights of the epoch that the validation split chose, in eval mode.
        error: its error on the validation split, in percent.
        epoch: that epoch, from 0; -1 for the network as it was before the training.
    """

    network: nn.Module
    error: float
    epoch: int


class ExperimentTask(Protocol):
    """A network's data and the ways to train and judge it.

    Attributes:
        spec: the contract of the network that is made smaller.
        description: of the data.
        terms: of weights that were trained on the data.
        figure: logged validation figure of the task's Lightning module, in percent.
        falling: whether a lower figure is better.
        error_name: what `error` of this task is, for the head of the table.
    """

    spec: ModelSpec
    description: str
    terms: str
    figure: str
    falling: bool
    error_name: str

    def build(self, seed: int, whole: bool = False) -> nn.Module:
        """The network at full size with the weights that the recipe starts from.

        Args:
            seed: of weights that are new.
            whole: with all classes of the zoo's network, where the recipe is about some of them.
        """

    def spec_of(self, network: nn.Module) -> ModelSpec:
        """The contract of a network of this task, whatever its widths: with all or with some classes."""

    def fit(
        self,
        network: nn.Module,
        folder: Path,
        settings: Mapping[str, Any],
        seed: int,
        callbacks: Sequence[lightning.Callback] = (),
        teacher: Teacher | None = None,
        report: Report | None = None,
    ) -> Fitted:
        """Train in `folder`, or go on where a training there was interrupted."""

    def validation_error(self, network: nn.Module) -> float:
        """Error on the validation split in percent."""

    def test_figures(self, predict: Predict) -> dict[str, float]:
        """Figures on the test split, in percent; "error" is one of them."""

    def batches(self, count: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """`count` training batches (inputs of `forward`, targets), the same each time."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The task's loss, a scalar."""

    def calibration(self, folder: Path, spec: ModelSpec) -> str:
        """What `toolchain export --calibration` takes for a network of this contract, written to `folder`."""


def example_of(spec: ModelSpec) -> tuple[Tensor, ...]:
    """Zeros for `forward`, batch 1."""
    return tuple(torch.zeros(tensor.shape) for tensor in spec.inputs)
