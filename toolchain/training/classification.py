"""Training of classifiers: what runs behind `toolchain train classification`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import nn

from toolchain.errors import UsageError
from toolchain.models.zoo import ModelEntry
from toolchain.spec import CLASSIFICATION, ModelSpec
from toolchain.training.card import calibration_on, spread, training_figures, write_weights
from toolchain.training.classification_module import Classifier, Loss, as_inputs, error_of
from toolchain.training.classification_settings import (
    ClassifierSettings,
    classifier_recipes,
    parse_classifier_settings,
    read_classifier_settings,
)
from toolchain.training.datasets.classification import ClassificationData, Split, open_classification
from toolchain.training.memory_fit import FitOptions, fit_in_memory
from toolchain.training.progress import Report

__all__ = [
    "ClassificationData",
    "Classifier",
    "ClassifierResult",
    "ClassifierSettings",
    "Split",
    "as_inputs",
    "check_classifier",
    "classifier_recipes",
    "error_of",
    "fit_classifier",
    "fitting_data",
    "new_classifier",
    "open_classification",
    "parse_classifier_settings",
    "read_classifier_settings",
    "settings_for",
    "with_labels",
]


@dataclass(frozen=True)
class ClassifierResult:
    """A trained classifier.

    Attributes:
        best_epoch: the epoch with the lowest validation error, the first such, from 1 on.
        validation_error: of its weights in percent, in float32.
        test_error: the same on the test pictures; nothing was chosen by it.
        weights: the file with its weights; the card lies beside it.
        card: content of the card.
    """

    best_epoch: int
    validation_error: float
    test_error: float
    weights: Path
    card: dict[str, Any] = field(repr=False)


def settings_for(name: str) -> ClassifierSettings:
    """The recipe called like the network of the zoo, or the defaults where there is none."""
    return read_classifier_settings(name) if name in classifier_recipes() else ClassifierSettings()


def with_labels(spec: ModelSpec, labels: Sequence[str]) -> ModelSpec:
    """The contract of the same classifier with these classes."""
    output = replace(spec.outputs[0], shape=(*spec.outputs[0].shape[:1], len(labels)))
    return replace(spec, labels=tuple(labels), outputs=(output, *spec.outputs[1:]))


def check_classifier(spec: ModelSpec) -> None:
    """Refuse a network that is no classifier.

    Raises:
        UsageError: it has another task.
    """
    if spec.task != CLASSIFICATION:
        raise UsageError(f"'{spec.name}' is no classifier", "`toolchain models` lists the networks")


def new_classifier(
    entry: ModelEntry, labels: Sequence[str] | None = None, seed: int = 0
) -> tuple[nn.Module, ModelSpec]:
    """An untrained classifier of the zoo and its contract; the weights depend on the seed alone.

    Args:
        entry: the entry of the zoo.
        labels: its classes, None for those of the zoo.
        seed: 0 to 2^32 - 1.

    Raises:
        UsageError: the network is no classifier.
    """
    check_classifier(entry.spec)
    spec, arguments = entry.spec, dict(entry.arguments)
    if labels is not None and set(labels) != set(spec.labels):
        spec = with_labels(spec, labels)
        arguments["classes"] = len(spec.labels)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return entry.factory(**arguments), spec


def fitting_data(data: ClassificationData, spec: ModelSpec) -> ClassificationData:
    """The data with its classes in the order of the contract.

    Raises:
        UsageError: classes or shape of the pictures are others.
    """
    shape = tuple(spec.inputs[0].shape[1:])
    if data.shape != shape:
        raise UsageError(
            f"'{spec.name}' takes pictures of {_text(shape)} (channels, height, width),"
            f" not {_text(data.shape)}",
            "give a --size, or another network",
        )
    if spec.labels and set(spec.labels) != set(data.labels):
        odd = sorted(set(spec.labels) ^ set(data.labels))[0]
        raise UsageError(
            f"class '{odd}' is in only one of network '{spec.name}' and data",
            f"the network's classes are {', '.join(spec.labels)}; the data's {', '.join(data.labels)}",
        )
    return data.ordered(spec.labels) if spec.labels else data


def fit_classifier(
    network: nn.Module,
    data: ClassificationData,
    settings: ClassifierSettings,
    output: Path,
    callbacks: Sequence[lightning.Callback] = (),
    seed: int = 0,
    resume: bool = False,
    report: Report | None = None,
    *,
    spec: ModelSpec,
    loss: Loss | None = None,
    name: str = "",
    command: str = "",
    identity: Mapping[str, Any] | None = None,
    limit: int | None = None,
    checkpoint_seconds: float = 300.0,
    trainer: Mapping[str, Any] | None = None,
    progress: bool = False,
    calibrate: bool = True,
    more: Mapping[str, Any] | None = None,
) -> ClassifierResult:
    """Train, and write `NAME.safetensors` with its card `NAME.json` into the output folder.

    The epoch is chosen on the validation pictures; the test pictures are measured once, with its weights.

    Args:
        network: what is trained, in place; afterwards it is on the CPU with the weights of the best epoch.
        data: pictures; their classes are brought into the order of the contract.
        settings: how to train.
        output: folder for checkpoints, log, weights and card.
        callbacks: further callbacks, run before the checkpoint of an epoch is written.
        seed: of order and augmentation; the network comes with its own first weights.
        resume: go on from the last checkpoint in `output`.
        report: takes a line after each epoch.
        spec: contract of the network.
        loss: instead of the cross entropy, see `classification_module.Loss`.
        name: of the written files, else that of the contract; the card's "model" is the contract's.
        command: the command line, for the card.
        identity: what else must be the same when the run is resumed, as JSON can express it.
        limit: use only so many training batches an epoch, None for all.
        checkpoint_seconds: between two checkpoints within an epoch.
        trainer: further keyword arguments of Lightning's Trainer; one device only.
        progress: show a progress bar.
        calibrate: measure the ranges for int8 that the card holds; it exports the network to ONNX.
        more: further entries of the card.

    Raises:
        UsageError: data that do not fit the network; nothing to resume, another run, or one that would be
            lost.
        ToolchainError: the loss or the weights became NaN or infinite; the last good checkpoint is kept.
    """
    data = fitting_data(data, spec)
    module = Classifier(network, settings, spec, seed, loss)
    options = FitOptions(
        output=output,
        settings=settings,
        seed=seed,
        callbacks=callbacks,
        resume=resume,
        identity={"model": spec.name, "labels": list(data.labels), **(identity or {})},
        limit=limit,
        checkpoint_seconds=checkpoint_seconds,
        trainer=trainer or {},
        progress=progress,
        report=report,
    )
    splits = [(split.images, split.targets) for split in (data.train, data.validation)]
    fitted = fit_in_memory(module, splits[0], splits[1], "accuracy", options)
    network.eval()
    errors = {
        "validation_error": round(error_of(network, data.validation, spec), 3),
        "test_error": round(error_of(network, data.test, spec), 3),
    }
    card = {
        "model": spec.name,
        "labels": list(data.labels),
        "data": data.description,
        "pictures": len(data.train),
        "skipped": [{"name": entry.name, "reason": entry.reason} for entry in data.skipped],
        "terms": data.terms,
        "command": command,
        "seed": seed,
        "epochs": settings.epochs,
        "recipe": settings.as_json(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "figures": {
            "protocol": f"percent of {len(data.validation)} validation pictures, by which the epoch was"
            f" chosen, and of {len(data.test)} test pictures, float32",
            **errors,
        },
        **(more or {}),
        **({"calibration": _ranges(network, data.train, spec)} if calibrate else {}),
        "training": training_figures(fitted.total, fitted.best_epoch, fitted.precision),
    }
    name = name or spec.name
    write_weights(output, name, network, card)
    return ClassifierResult(
        fitted.best_epoch + 1,
        errors["validation_error"],
        errors["test_error"],
        output / f"{name}.safetensors",
        card,
    )


def _ranges(network: nn.Module, train: Split, spec: ModelSpec) -> dict[str, Any]:
    pictures = [picture.float() for picture in spread(train.images)]
    if spec.preprocess is None:
        pictures = [picture / 255 for picture in pictures]
    return calibration_on(pictures, network, spec)


def _text(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
