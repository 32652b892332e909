"""`toolchain train classification`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.cli.output import note
from toolchain.errors import MissingDependencyError


@dataclass(frozen=True)
class ClassifierRun:
    """What the command line says.

    Attributes:
        data: as of `open_classification`.
        model: zoo name of a classifier.
        output: folder for checkpoints, log, weights and card.
        recipe: name or path; None for the one of the network.
        changes: values that come before those of the recipe, None where nothing was said.
        seed: of first weights, order and augmentation.
        weights: weights to start from, None for random ones.
        resume: go on from the last checkpoint in `output`.
        checkpoint_seconds: between two checkpoints within an epoch.
        limit: use only so many training batches an epoch, None for all.
        trainer: further keyword arguments of Lightning's Trainer.
        progress: show a progress bar.
        command: the command line, for the card.
    """

    data: str
    model: str
    output: Path
    recipe: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    weights: Path | None = None
    resume: bool = False
    checkpoint_seconds: float = 300.0
    limit: int | None = None
    trainer: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = False
    command: str = ""


def train_classification(run: ClassifierRun) -> dict[str, Any]:
    """Train a classifier and return the content of its card.

    Raises:
        UsageError: unknown or unfit network, data, recipe or weights; nothing to resume, or another run.
        UnsupportedError: damaged data or weights.
        ToolchainError: the training diverged.
    """
    try:
        from toolchain.training import classification
        from toolchain.training.start import start_from
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"training needs the package '{error.name}'", 'pip install "mobile-toolchain[train]"'
        ) from error
    from toolchain.models.zoo import zoo

    entry = zoo().get(run.model)
    # What is wrong with network or recipe is said before the data are decoded.
    classification.check_classifier(entry.spec)
    settings = (
        classification.read_classifier_settings(run.recipe)
        if run.recipe is not None
        else classification.settings_for(run.model)
    ).with_values(**run.changes)
    data = classification.open_classification(run.data, _side(run.data, entry.spec.inputs[0].shape))
    for skipped in data.skipped:
        note(f"skipped '{skipped.name}': {skipped.reason}")
    network, spec = classification.new_classifier(entry, data.labels, run.seed)
    if run.weights is not None:
        started = start_from(network, run.weights)
        if started.fresh:
            note(f"not in '{run.weights}', so trained from random numbers: {', '.join(started.fresh)}")
        if started.unused:
            note(f"left out of '{run.weights}': {', '.join(started.unused)}")
    started_from = {"started_from": run.weights.name if run.weights else None}
    result = classification.fit_classifier(
        network,
        data,
        settings,
        run.output,
        seed=run.seed,
        resume=run.resume,
        report=note,
        spec=spec,
        command=run.command,
        identity=started_from,
        limit=run.limit,
        checkpoint_seconds=run.checkpoint_seconds,
        trainer=run.trainer,
        progress=run.progress,
        more=started_from,
    )
    return result.card


def _side(data: str, shape: tuple[int, ...]) -> int | None:
    """Side in pixels to bring pictures to; None for data that have one size."""
    return None if data.startswith("mnist:") else shape[-1]
