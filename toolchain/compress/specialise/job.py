"""One training of a specialised network or a student, whatever its task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.training.progress import Report

HISTORY = "history"


@dataclass(frozen=True)
class Job:
    """What a training is made of, networks apart.

    Attributes:
        data: "SCHEME:PATH" as the task's data sets are named.
        output: folder for checkpoints, log, history, weights and card.
        recipe: name or path of a recipe of the task, None for the usual one.
        size: side of the training pictures in pixels, None for that of the network's input.
        epochs: passes over the training pictures, None for the task's default.
        batch_size: pictures a step, None for the recipe's.
        learning_rate: peak, None for the task's default.
        precision: "auto", "bf16-mixed", "16-mixed" or "32", None for the recipe's.
        seed: of every random generator.
        resume: go on from the last checkpoint in `output`.
        workers: processes that decode pictures, where they are not kept in memory.
        limit: training batches an epoch, None for all.
        checkpoint_seconds: between two checkpoints within an epoch.
        sparsity: settings of the sparsity term, None for no term. Kernels that are zero stay zero either way.
        exempt_coupled: exempt from the method layers as well of which no single kernel could be removed, see
            `with_coupled_exempt`.
        trainer: further keyword arguments of Lightning's Trainer.
        progress: show a progress bar.
        report: takes lines about the progress.
        weights: file that the network started from, for the card.
        command: the command line, for the card.
        calibrate: measure the ranges for int8 that the card holds; it exports the network to ONNX.
    """

    data: str
    output: Path
    recipe: str | None = None
    size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    precision: str | None = None
    seed: int = 0
    resume: bool = False
    workers: int = 1
    limit: int | None = None
    checkpoint_seconds: float = 300.0
    sparsity: SparsitySettings | None = None
    exempt_coupled: bool = False
    trainer: dict[str, Any] = field(default_factory=dict)
    progress: bool = False
    report: Report | None = None
    weights: Path | None = None
    command: str = ""
    calibrate: bool = True
