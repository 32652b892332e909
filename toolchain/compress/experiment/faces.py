"""Experiments with face parsers: 100 - overall F1 in percent, of all classes or of some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.compress.distill.teacher import Teacher
from toolchain.compress.experiment.figures import predictor
from toolchain.compress.experiment.recipe import Experiment
from toolchain.compress.experiment.task import Fitted, Predict, Report
from toolchain.compress.specialise.fit import Network, fit_parser, is_face_parser
from toolchain.compress.specialise.head import find_head, shrink_head
from toolchain.compress.specialise.reduction import ClassReduction
from toolchain.compress.specialise.scores import ReducedF1
from toolchain.errors import UsageError
from toolchain.models.faces import LABELS
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.spec import ModelSpec
from toolchain.training.checkpoints import LAST
from toolchain.training.datasets import open_pairs
from toolchain.training.datasets.carved import SCHEME
from toolchain.training.datasets.pairs import IGNORE, FacePairs
from toolchain.training.fit import TrainOptions
from toolchain.training.recipe import parse_recipe

TEST_BATCH = 8
CALIBRATION_PICTURES = 64


class FaceTask:
    """A face parser of the zoo; see `ExperimentTask` for the members.

    The split "val" of the data is the test split here, every tenth training pair the validation split.

    Args:
        experiment: the recipe.
        data: what `open_pairs` takes, as "celebamask:PATH".

    Raises:
        UsageError: no such data, or a network that is no face parser.
    """

    figure, falling, error_name = "overall_f1", False, "100 - overall F1 on the test pictures, %"

    def __init__(self, experiment: Experiment, data: str) -> None:
        self.experiment, self.data = experiment, f"{SCHEME}:{data}"
        entry = zoo().get(experiment.model)
        if not is_face_parser(entry.spec) or experiment.labels != len(LABELS):
            raise UsageError(
                f"'{experiment.model}' with {experiment.labels} classes is no face parser",
                f"face parsers have {len(LABELS)} classes",
            )
        self.recipe = parse_recipe(experiment.name, {**experiment.schedule, "size": experiment.size})
        self.whole = _resized(entry.spec, experiment.size)
        self.spec, self.head = self.whole, find_head(self._whole_network(0), self.whole)
        if experiment.classes:
            self.spec = shrink_head(self._whole_network(0), self.whole, experiment.classes)[1]
        self.train, self.chosen, self.test = (
            open_pairs(self.data, split, experiment.size) for split in ("train", "val", "test")
        )
        self.description = (
            f"{self.test.description}, {len(self.train):,} training, {len(self.chosen):,} validation and"
            f" {len(self.test):,} test pairs at {experiment.size} px"
        )
        self.terms = self.test.terms

    def build(self, seed: int, whole: bool = False) -> nn.Module:
        """The network at full size."""
        network = self._whole_network(seed)
        if whole or not self.experiment.classes:
            return network
        return shrink_head(network, self.whole, self.experiment.classes)[0]

    def spec_of(self, network: nn.Module) -> ModelSpec:
        """By the number of classes that its head makes."""
        classes = network.get_submodule(self.head).out_channels
        return self.whole if classes == len(self.whole.labels) else self.spec

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
        recipe = parse_recipe(self.experiment.name, {**settings, "size": self.experiment.size})
        options = TrainOptions(
            data=self.data,
            model=self.experiment.model,
            output=folder,
            recipe=recipe,
            seed=seed,
            resume=(folder / LAST).is_file(),
            report=report,
        )
        folder.mkdir(parents=True, exist_ok=True)
        card = fit_parser(Network(network, self.spec_of(network)), options, teacher, callbacks=callbacks)
        assert card is not None
        network = network.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        return Fitted(network, self.validation_error(network), card["training"]["best_epoch"] - 1)

    def validation_error(self, network: nn.Module) -> float:
        """100 - overall F1 on the validation pairs."""
        return self._figures(predictor(network, self.spec_of(network)), self.chosen)["error"]

    def test_figures(self, predict: Predict) -> dict[str, float]:
        """100 - overall F1 on the test pairs, with strict F1 and mean intersection over union."""
        return self._figures(predict, self.test)

    def batches(self, count: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Training pairs in their order, with empty previous masks."""
        size = self.recipe.batch_size
        reduction = ClassReduction(LABELS, self.spec.labels)
        for start in range(0, min(count * size, len(self.train) - size + 1), size):
            images, labels = _stacked(self.train, range(start, start + size))
            others = [torch.zeros(size, *tensor.shape[1:]) for tensor in self.spec.inputs[1:]]
            yield (self._normalized(images), *others), reduction.labels(labels)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross entropy of the known pixels."""
        return functional.cross_entropy(output, target, ignore_index=IGNORE)

    def calibration(self, folder: Path, spec: ModelSpec) -> str:
        """Training pictures in the network's own range with empty previous masks, as .npz."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"calibration-{len(spec.labels)}-classes.npz"
        step = max(1, len(self.train) // CALIBRATION_PICTURES)
        images, _ = _stacked(self.train, range(0, len(self.train), step)[:CALIBRATION_PICTURES])
        others = {
            tensor.name: np.zeros((len(images), *tensor.shape[1:]), np.float32) for tensor in spec.inputs[1:]
        }
        arrays: dict[str, Any] = {spec.inputs[0].name: self._normalized(images).numpy(), **others}
        np.savez(path, **arrays)
        return str(path)

    @torch.no_grad()
    def _figures(self, predict: Predict, pairs: FacePairs) -> dict[str, float]:
        metric = ReducedF1(self.spec.labels)
        reduction = ClassReduction(LABELS, self.spec.labels)
        for start in range(0, len(pairs), TEST_BATCH):
            images, labels = _stacked(pairs, range(start, min(start + TEST_BATCH, len(pairs))))
            logits = predict(self._normalized(images))
            if logits.shape[1] != len(self.spec.labels):
                # A network with all classes, judged by some of them: what it takes for another is background.
                found = reduction.labels(logits.argmax(1))
            else:
                found = logits.argmax(1)
            metric.update(found, reduction.labels(labels))
        scores = metric.scores()
        return {
            "error": 100 - scores.overall,
            "overall_f1": scores.overall,
            "strict_f1": scores.strict,
            "mean_iou": scores.mean_iou,
        }

    def _normalized(self, images: Tensor) -> Tensor:
        assert self.spec.preprocess is not None
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1)
            for values in (self.spec.preprocess.mean, self.spec.preprocess.std)
        )
        return (images.float() - mean) / std

    def _whole_network(self, seed: int) -> nn.Module:
        entry = zoo().get(self.experiment.model)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = entry.build()
        if self.experiment.weights:
            if entry.weights is None:
                raise UsageError(f"no weights ship with '{self.experiment.model}'", "start from random ones")
            load_weights(network, entry.weights)
        return network


def _resized(spec: ModelSpec, size: int) -> ModelSpec:
    """The contract for square pictures of another size."""
    tensors: dict[str, Any] = {
        key: tuple(replace(tensor, shape=(*tensor.shape[:2], size, size)) for tensor in getattr(spec, key))
        for key in ("inputs", "outputs")
    }
    return replace(spec, **tensors)


def _stacked(pairs: FacePairs, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) uint8 and label maps (N, H, W) int64."""
    batch = [pairs[index] for index in indices]
    images, labels = (torch.stack(tensors) for tensors in zip(*batch, strict=True))
    return images, labels.long()
