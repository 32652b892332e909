"""Experiments with classifiers: data in memory, error in percent of the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.compress.distill.classifier import taught_loss
from toolchain.compress.distill.teacher import Teacher
from toolchain.compress.experiment.recipe import Experiment
from toolchain.compress.experiment.task import Fitted, Predict, Report
from toolchain.errors import UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.spec import ModelSpec
from toolchain.training.checkpoints import LAST
from toolchain.training.classification import error_of, fit_classifier, new_classifier
from toolchain.training.classification_module import as_inputs
from toolchain.training.classification_settings import parse_classifier_settings
from toolchain.training.datasets.classification import ClassificationData, Split, open_classification

TEST_BATCH = 500
CALIBRATION_PICTURES = 128
CALIBRATION_FILE = "calibration.npz"


class ClassificationTask:
    """A classifier of the zoo on labelled pictures; see `ExperimentTask` for the members.

    Args:
        experiment: the recipe.
        data: what `open_classification` takes.

    Raises:
        UsageError: the data has other classes, sizes or channels than the recipe's network.
    """

    figure, falling, error_name = "val_error", True, "error on the test pictures, %"

    def __init__(self, experiment: Experiment, data: str) -> None:
        self.experiment = experiment
        entry = zoo().get(experiment.model)
        opened = open_classification(data, None if data.startswith("mnist:") else experiment.size)
        check_data(experiment, opened, data)
        labels = opened.labels if set(opened.labels) != set(entry.spec.labels) else entry.spec.labels
        self.spec = new_classifier(entry, labels)[1]
        self.data = opened.ordered(labels)
        self.description, self.terms = self.data.description, self.data.terms
        # A recipe for a wrong setting is refused before anything is trained.
        parse_classifier_settings(experiment.name, experiment.schedule)

    def build(self, seed: int, whole: bool = False) -> nn.Module:
        """The network at full size, with the classes of the data."""
        entry = zoo().get(self.experiment.model)
        network, _ = new_classifier(entry, self.spec.labels, seed)
        if self.experiment.weights:
            if entry.weights is None:
                raise UsageError(f"no weights ship with '{self.experiment.model}'", "start from random ones")
            load_weights(network, entry.weights)
        return network

    def spec_of(self, network: nn.Module) -> ModelSpec:
        """The recipe's own."""
        return self.spec

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
        """Train, or go on."""
        result = fit_classifier(
            network,
            self.data,
            parse_classifier_settings(self.experiment.name, settings),
            folder,
            callbacks=callbacks,
            seed=seed,
            resume=(folder / LAST).is_file(),
            report=report,
            spec=self.spec,
            loss=taught_loss(teacher, self.spec) if teacher is not None else None,
            calibrate=False,
        )
        return Fitted(network.eval(), result.validation_error, result.best_epoch - 1)

    def validation_error(self, network: nn.Module) -> float:
        """Share of the validation pictures that are named wrongly, in percent."""
        return error_of(network, self.data.validation, self.spec)

    @torch.no_grad()
    def test_figures(self, predict: Predict) -> dict[str, float]:
        """Share of the test pictures that are named wrongly, in percent."""
        split, wrong = self.data.test, 0
        for start in range(0, len(split), TEST_BATCH):
            images, targets = split.images[start:][:TEST_BATCH], split.targets[start:][:TEST_BATCH]
            wrong += int((predict(as_inputs(images, self.spec)).argmax(1) != targets).sum())
        return {"error": 100 * wrong / len(split)}

    def batches(self, count: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Training pictures in a fixed random order."""
        size = int(self.experiment.schedule.get("batch_size", 128))
        split = self._drawn(count * size)
        for start in range(0, len(split), size):
            images, targets = split.images[start:][:size], split.targets[start:][:size]
            yield (as_inputs(images, self.spec),), targets

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross entropy."""
        return functional.cross_entropy(output, target)

    def calibration(self, folder: Path, spec: ModelSpec) -> str:
        """Training pictures in the network's own range, as .npz."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / CALIBRATION_FILE
        split = self._drawn(CALIBRATION_PICTURES)
        arrays: dict[str, Any] = {
            spec.inputs[0].name: as_inputs(split.images, spec).numpy(),
            "labels": split.targets.numpy(),
        }
        np.savez(path, **arrays)
        return str(path)

    def _drawn(self, count: int) -> Split:
        order = torch.randperm(len(self.data.train), generator=torch.Generator().manual_seed(0))
        return self.data.train.take(order[:count])


def check_data(experiment: Experiment, data: ClassificationData, text: str) -> None:
    """Whether data fits a recipe.

    Raises:
        UsageError: other classes, size or channels; the message names both.
    """
    spec = zoo().get(experiment.model).spec
    hint = f"'{experiment.name}' is made for --data {experiment.data}"
    if len(data.labels) != experiment.labels:
        raise UsageError(
            f"'{text}' has {len(data.labels)} classes, '{experiment.name}' is for {experiment.labels}", hint
        )
    if data.shape != tuple(spec.inputs[0].shape[1:]):
        raise UsageError(
            f"'{text}' has pictures of {data.shape} (channels, height, width), '{experiment.model}' takes"
            f" {tuple(spec.inputs[0].shape[1:])}",
            hint,
        )
