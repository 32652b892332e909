"""Trainings whose data is in memory as tensors: one device, batches by index, no worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from torch import Tensor
from torch.utils.data import Dataset

from toolchain.errors import UsageError
from toolchain.models.weights_file import load_weights
from toolchain.training.allocator import keep_freed_memory
from toolchain.training.checkpoints import BEST, LAST, Checkpoints, check_resumable
from toolchain.training.classification_settings import ClassifierSettings
from toolchain.training.loading import EpochSampler, Key, TimedLoader
from toolchain.training.log import TrainingLog
from toolchain.training.module import TrainedModule
from toolchain.training.processes import Processes
from toolchain.training.progress import Progress, Report, Totals
from toolchain.training.trainer import interruptible, make_trainer, quiet

Tensors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FitOptions:
    """One run, network and data apart.

    Attributes:
        output: folder for checkpoints and log.
        settings: how to train.
        seed: of order and augmentation, 0 to 2^32 - 1.
        callbacks: further callbacks; they run before the checkpoint of an epoch is written.
        resume: go on from the last checkpoint in `output`.
        identity: what else must be the same when the run is resumed, as JSON can express it.
        limit: use only so many training batches an epoch, None for all.
        checkpoint_seconds: between two checkpoints within an epoch.
        trainer: further keyword arguments of Lightning's Trainer; one device only.
        progress: show a progress bar.
        report: takes a line after each epoch.
    """

    output: Path
    settings: ClassifierSettings
    seed: int = 0
    callbacks: Sequence[lightning.Callback] = ()
    resume: bool = False
    identity: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    checkpoint_seconds: float = 300.0
    trainer: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = False
    report: Report | None = None


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Attributes:
        best_epoch: the epoch whose weights the network now has, from 0 on.
        total: steps and seconds.
        precision: Lightning's name of the arithmetic.
    """

    best_epoch: int
    total: Totals
    precision: str


class TensorPairs(Dataset[Tensors]):
    """Rows of two tensors, a whole batch at once.

    Args:
        images: (N, ...).
        targets: (N, ...).
    """

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, keys: list[Key]) -> Tensors:
        """The rows of keys (epoch, index)."""
        rows = torch.tensor([index for _, index in keys])
        return self.images[rows], self.targets[rows]


def tensor_loader(images: Tensor, targets: Tensor, batch_size: int, seed: int | None) -> TimedLoader:
    """Batches of rows of two tensors.

    Args:
        images: (N, ...).
        targets: (N, ...).
        batch_size: rows of a batch; an incomplete last one of a shuffled epoch is dropped, if it is not the
            only one.
        seed: seed of the order, None for the plain order.
    """
    return TimedLoader(
        TensorPairs(images, targets),
        batch_size,
        collate_fn=cast(Any, _as_they_are),
        sampler=EpochSampler(len(targets), batch_size, seed),
        drop_last=seed is not None and len(targets) > batch_size,
        # Without it each iterator would draw from the global generator.
        generator=torch.Generator(),
    )


def fit_in_memory(
    module: TrainedModule, train: Tensors, validation: Tensors, figure: str, options: FitOptions
) -> Fitted:
    """Train; afterwards `module.network` is on the CPU with the weights of the best epoch.

    Args:
        module: what is trained.
        train: pictures and targets, rows on the first axis.
        validation: the same, held out.
        figure: attribute of the module by which the best epoch is chosen, from 0 (worst) on.
        options: the run.

    Raises:
        UsageError: nothing to resume, another run, or one that would be lost; more than one device.
        ToolchainError: the loss or the weights became NaN or infinite; the last good checkpoint is kept.
    """
    settings = options.settings
    run = {
        **options.identity,
        "pictures": len(train[0]),
        "seed": options.seed,
        "limit": options.limit,
        "recipe": settings.as_json(),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    check_resumable(options.output, run, options.resume)
    keep_freed_memory()
    loader = tensor_loader(*train, settings.batch_size, options.seed)
    assert isinstance(loader.sampler, EpochSampler)
    checkpoints = Checkpoints(options.output, loader.sampler, run, None, options.checkpoint_seconds, figure)
    log = TrainingLog(options.output)
    progress = Progress(loader, log, options.report)
    callbacks = [Processes(), log, progress, *options.callbacks, checkpoints]
    with quiet():
        trainer = make_trainer(
            _arguments(options, callbacks), options.trainer, options.progress, options.report
        )
        if trainer.world_size > 1:
            raise UsageError(f"{trainer.world_size} devices for a training in memory", "use --devices 1")
        with interruptible():
            trainer.fit(
                module,
                loader,
                tensor_loader(*validation, settings.batch_size, None),
                ckpt_path=str(options.output / LAST) if options.resume else None,
                weights_only=True,
            )
    module.cpu().to(memory_format=torch.contiguous_format)
    load_weights(module.network, options.output / BEST)
    return Fitted(checkpoints.best_epoch, progress.total, trainer.precision)


def _arguments(options: FitOptions, callbacks: list[lightning.Callback]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "max_epochs": options.settings.epochs,
        "precision": options.settings.precision,
        "gradient_clip_val": options.settings.optimizer.clip or None,
        "callbacks": callbacks,
        "default_root_dir": options.output,
        "devices": 1,
    }
    if options.limit is not None:
        arguments["limit_train_batches"] = options.limit
    return arguments


def _as_they_are(batch: Tensors) -> Tensors:
    return batch
