"""Training with kernel sparsity from the command line's point of view: one network, one result."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from toolchain.compress.sparsity.callback import KernelSparsity
from toolchain.compress.sparsity.classifier import check_classifier, with_classes, zoo_classifier
from toolchain.compress.sparsity.exemption import with_coupled_exempt
from toolchain.compress.sparsity.history import EpochRecord, History, lower_is_better, verdict
from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.errors import UsageError
from toolchain.models.faces import LABELS
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import ModelEntry, zoo
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec
from toolchain.training.card import calibration, calibration_on, figures, spread, write_weights
from toolchain.training.classification import (
    ClassificationData,
    error_of,
    fit_classifier,
    fitting_data,
    open_classification,
    read_classifier_settings,
    settings_for,
)
from toolchain.training.progress import Report

HISTORY = "history"
# By how much the chosen epoch may be worse than the best one: points of error, of overall F1.
MAY_LOSE = {CLASSIFICATION: 0.1, SEGMENTATION: 0.5}


@dataclass(frozen=True)
class SparseOptions:
    """One training with kernel sparsity.

    Attributes:
        model: zoo name of a classifier or face parser; or what messages call `network`.
        data: "mnist:FOLDER" or "images:PATH" for classifiers, as "celebamask:PATH" for face parsers.
        output: folder for history, checkpoints, log, weights and card.
        sparsity: of the method.
        exempt_coupled: exempt layers as well of which no single kernel could be removed, see
            `with_coupled_exempt`.
        recipe: name or .toml file, None for the network's own.
        size: side of the pictures in pixels, None for that of network or recipe.
        values: `epochs`, `batch_size`, `learning_rate` and `precision` instead of the recipe's.
        seed: of every random generator.
        weights: state dict to start from, None for random weights.
        resume: go on from the last checkpoint in `output`.
        may_lose: by how much the chosen epoch may be worse than the best, in points of the figure by which
            epochs are judged; None for 0.1 (error of a classifier) or 0.5 (overall F1 of a face parser).
        keep: "front" or "all", see `KernelSparsity`.
        limit: use only so many training batches an epoch, None for all.
        workers: processes that decode pictures of faces.
        trainer: further keyword arguments of Lightning's Trainer.
        progress: show a progress bar.
        report: takes lines about the progress.
        command: the command line, for the card.
        network: a classifier of the user's own and its contract, None for that of the zoo; `weights` is
            loaded into it already.
    """

    model: str
    data: str
    output: Path
    sparsity: SparsitySettings
    exempt_coupled: bool = False
    recipe: str | None = None
    size: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    weights: Path | None = None
    resume: bool = False
    may_lose: float | None = None
    keep: str = "front"
    limit: int | None = None
    workers: int = 1
    trainer: dict[str, Any] = field(default_factory=dict)
    progress: bool = False
    report: Report | None = None
    command: str = ""
    network: tuple[nn.Module, ModelSpec] | None = None


@dataclass(frozen=True)
class SparseResult:
    """What a training came to.

    Attributes:
        weights: file with the weights of the chosen epoch; the card lies beside it.
        card: its content; `card["sparsity"]` has settings, epoch and filters.
        record: of the chosen epoch.
        figure: name of the figure by which it was chosen.
        best: that figure in the best epoch.
    """

    weights: Path
    card: dict[str, Any] = field(repr=False)
    record: EpochRecord = field(repr=False)
    figure: str
    best: float


def train_sparse(options: SparseOptions) -> SparseResult | None:
    """Train, choose the epoch with the best trade-off, and write its weights and card.

    Chosen is the epoch with the fewest filters left among those that are at most `may_lose` worse than the
    best one on the validation pictures. The history stays, so that another one can be chosen later.

    Returns:
        None in every process of a distributed training but the first.

    Raises:
        UsageError: network, data, recipe or an exempt layer does not exist or does not fit; nothing to
            resume, another run, or one that would be lost.
        ToolchainError: the loss became NaN or infinite; the last good weights are kept.
    """
    _check(options)
    entry = zoo().get(options.model) if options.network is None else None
    if entry is not None and entry.spec.task != CLASSIFICATION and entry.spec.labels != LABELS:
        raise UsageError(
            f"'{options.model}' is neither a classifier nor a face parser",
            "give KernelSparsity (toolchain.compress.sparsity.callback) to your own Trainer",
        )
    history = options.output / HISTORY
    if not options.resume and History(history).numbers():
        raise UsageError(
            f"'{history}' holds the history of a training already",
            "go on with it with --resume, or give another -o folder",
        )
    if entry is None or entry.spec.task == CLASSIFICATION:
        return _train_classifier(options)
    return _train_parser(options, entry)


def _check(options: SparseOptions) -> None:
    """Refuse before a training what would only fail after it."""
    if options.may_lose is not None and not (math.isfinite(options.may_lose) and options.may_lose >= 0):
        raise UsageError(
            f"the chosen epoch may lose {options.may_lose:g} points",
            "give --may-lose 0 for the best epoch, or more",
        )


def _with_exempt(options: SparseOptions, network: nn.Module, spec: ModelSpec) -> SparseOptions:
    """With the coupled layers of the network that is going to be trained, where they are to be exempt."""
    if not options.exempt_coupled:
        return options
    settings = with_coupled_exempt(options.sparsity, network, spec.inputs, options.report)
    return replace(options, sparsity=settings)


def _method(options: SparseOptions) -> KernelSparsity:
    history = options.output / HISTORY
    return KernelSparsity(options.sparsity, history, keep=options.keep, report=options.report)


def _classifier(options: SparseOptions) -> tuple[nn.Module, ModelSpec, ClassificationData]:
    """What is trained, its contract, and the labelled pictures in the size that it takes."""
    if options.network is None:
        data = open_classification(options.data, options.size)
        return (*zoo_classifier(options.model, data.labels, options.weights, options.seed), data)
    network, spec = options.network
    check_classifier(spec, options.model)
    # MNIST has one size and takes no other.
    side = None if options.data.startswith("mnist:") else spec.inputs[0].shape[-1]
    data = open_classification(options.data, options.size or side)
    return network, with_classes(spec, data.labels, options.model), data


def _train_classifier(options: SparseOptions) -> SparseResult:
    network, spec, data = _classifier(options)
    options = _with_exempt(options, network, spec)
    settings = read_classifier_settings(options.recipe) if options.recipe else settings_for(spec.name)
    result = fit_classifier(
        network,
        data,
        settings.with_values(**options.values),
        options.output,
        [_method(options)],
        options.seed,
        options.resume,
        options.report,
        spec=spec,
        command=options.command,
        identity={"sparsity": options.sparsity.as_json(), "size": options.size},
        limit=options.limit,
        trainer=options.trainer,
        progress=options.progress,
        calibrate=False,
    )
    record, chosen = _choose(options, network, CLASSIFICATION)
    data = fitting_data(data, spec)
    errors = {
        "validation_error": round(error_of(network, data.validation, spec), 3),
        "test_error": round(error_of(network, data.test, spec), 3),
    }
    pictures = [picture.float() for picture in spread(data.train.images)]
    if spec.preprocess is None:
        pictures = [picture / 255 for picture in pictures]
    card = {**result.card, "figures": {**result.card["figures"], **errors}}
    card["calibration"] = calibration_on(pictures, network, spec)
    return _write(options, spec.name, network, card, record, chosen)


def _train_parser(options: SparseOptions, entry: ModelEntry) -> SparseResult | None:
    from toolchain.training.datasets import open_pairs, validation_pairs
    from toolchain.training.datasets.pairs import Skipped
    from toolchain.training.fit import TrainOptions, train_face_parsing
    from toolchain.training.recipe import read_recipe

    recipe = read_recipe(options.recipe or "best").with_values(size=options.size, **options.values)
    network = entry.build()
    if options.weights is not None:
        load_weights(network, options.weights)
    options = _with_exempt(options, network, entry.spec)
    card = train_face_parsing(
        TrainOptions(
            data=options.data,
            model=options.model,
            output=options.output,
            recipe=recipe,
            seed=options.seed,
            weights=options.weights,
            resume=options.resume,
            workers=options.workers,
            limit=options.limit,
            trainer=options.trainer,
            progress=options.progress,
            report=options.report,
            command=options.command,
            callbacks=(_method(options),),
        )
    )
    if card is None:
        return None
    network = entry.build()
    record, chosen = _choose(options, network, SEGMENTATION)
    pairs = validation_pairs(open_pairs(options.data, "val", recipe.size))
    skipped = [Skipped(**entry) for entry in card["skipped"]]
    card = {**card, "figures": figures(network.eval(), entry.spec, pairs, recipe.batch_size)}
    card["calibration"] = calibration(options.data, network, entry.spec, skipped)
    return _write(options, options.model, network, card, record, chosen)


def _choose(options: SparseOptions, network: nn.Module, task: str) -> tuple[EpochRecord, tuple[str, float]]:
    """Load the weights of the chosen epoch; gives its record, and the deciding figure with its best value."""
    history = History(options.output / HISTORY)
    records = history.epochs()
    name = verdict(records)
    record = history.choose(MAY_LOSE[task] if options.may_lose is None else options.may_lose, name)
    load_weights(network, history.weights(record.epoch))
    network.eval()
    values = [each.figures[name] for each in records if name in each.figures]
    return record, (name, min(values) if lower_is_better(name) else max(values))


def _write(
    options: SparseOptions,
    name: str,
    network: nn.Module,
    card: dict[str, Any],
    record: EpochRecord,
    chosen: tuple[str, float],
) -> SparseResult:
    card["sparsity"] = {
        "settings": options.sparsity.as_json(),
        "epoch": record.epoch,
        "filters": record.filters,
        "filters_left": record.filters_left,
        "layers": {layer: [int((~mask).sum()), len(mask)] for layer, mask in record.zeroed.items()},
    }
    write_weights(options.output, name, network, card)
    path = options.output / f"{name}.safetensors"
    return SparseResult(path, card, record, *chosen)
