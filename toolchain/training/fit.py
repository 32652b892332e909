"""Training of face parsers: what runs behind `toolchain train face-parsing`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_only

from toolchain.errors import UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import ModelEntry, zoo
from toolchain.spec import SEGMENTATION
from toolchain.training.allocator import keep_freed_memory
from toolchain.training.card import calibration, figures, training_figures, write_weights
from toolchain.training.checkpoints import BEST, LAST, Checkpoints, check_processes, check_resumable
from toolchain.training.datasets import open_pairs, training_pairs, validation_pairs
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.face_parsing import FaceParsing
from toolchain.training.loading import EpochSampler, make_loader
from toolchain.training.log import TrainingLog
from toolchain.training.pictures import SamplePictures
from toolchain.training.processes import Processes, check_strategy, end_together
from toolchain.training.progress import Progress, Report, speed_text
from toolchain.training.qat import fake_quantized
from toolchain.training.recipe import Recipe
from toolchain.training.teacher import load_teacher
from toolchain.training.trainer import interruptible, make_trainer, quiet
from toolchain.training.weight_average import WeightAverage


@dataclass(frozen=True)
class TrainOptions:
    """What one training run is made of.

    Attributes:
        data: what `open_pairs` takes, as "celebamask:PATH".
        model: zoo name of a face parser.
        output: folder for checkpoints, log, sample pictures, weights and card.
        recipe: how to train.
        seed: seed of every random generator, 0 to 2^32 - 1.
        weights: state dict to start from, None for random weights.
        teacher: "NAME" or "NAME:PATH" of a face parser to learn from, None for none.
        resume: go on from the last checkpoint in `output`.
        workers: processes that decode pictures.
        limit: use only so many training batches an epoch, None for all.
        checkpoint_seconds: between two checkpoints within an epoch.
        samples_every: epochs between two sheets of sample pictures.
        trainer: further keyword arguments of Lightning's Trainer (accelerator, devices, strategy, ...). With
            several devices each of them takes `recipe.batch_size` pictures a step, and the step follows the
            mean of their gradients: one step of as many times the pictures, at the recipe's learning rate,
            which is not scaled. Lightning runs `sys.argv` again for every further device.
        qat: train what computes as the int8 file will, starting from trained weights.
        progress: show a progress bar.
        report: takes lines about the progress.
        command: the command line, for the card.
        callbacks: further callbacks, run before the checkpoint of an epoch is written.
    """

    data: str
    model: str
    output: Path
    recipe: Recipe
    seed: int = 0
    weights: Path | None = None
    teacher: str | None = None
    resume: bool = False
    workers: int = 1
    limit: int | None = None
    checkpoint_seconds: float = 300.0
    samples_every: int = 5
    trainer: dict[str, Any] = field(default_factory=dict)
    qat: bool = False
    progress: bool = False
    report: Report | None = None
    command: str = ""
    callbacks: tuple[lightning.Callback, ...] = ()


def train_face_parsing(options: TrainOptions) -> dict[str, Any] | None:
    """Train, and write `MODEL.safetensors` with its card `MODEL.json` into the output folder.

    Returns:
        The card. Its figures belong to the weights with the best overall F1. None in every process of a
        distributed training but the first.

    Raises:
        UsageError: unknown or unfit model, data, weights or teacher; nothing to resume, or another run.
        UnsupportedError: a validation pair is damaged, or more than a few training pairs are.
        ToolchainError: the loss or the weights became NaN or infinite; the last good checkpoint is kept.
    """
    entry, recipe = _face_parser(options.model), options.recipe
    # Whatever is wrong with the data is said before the training, not hours later.
    validation = validation_pairs(open_pairs(options.data, "val", recipe.size))
    train = training_pairs(open_pairs(options.data, "train", recipe.size))
    run = _identity(options, len(train))
    check_resumable(options.output, run, options.resume)
    _report_skipped(options, train, validation)
    keep_freed_memory()
    lightning.seed_everything(options.seed, workers=True, verbose=False)
    module = _module(options, entry)

    loader = make_loader(train, recipe.batch_size, options.workers, options.seed)
    assert isinstance(loader.sampler, EpochSampler)
    average = WeightAverage(recipe.weight_average) if recipe.weight_average else None
    checkpoints = Checkpoints(options.output, loader.sampler, run, average, options.checkpoint_seconds)
    log = TrainingLog(options.output)
    progress = Progress(loader, log, options.report)
    samples = SamplePictures(options.output, validation, entry.spec.palette, options.samples_every, log)
    # The average follows what the processes agree on, and the checkpoint holds what all others did.
    averages = [average] if average else []
    callbacks = [Processes(), log, progress, samples, *averages, *options.callbacks, checkpoints]
    with quiet():
        trainer = _trainer(options, callbacks)
        check_strategy(trainer, len(train), len(validation))
        if options.resume:
            check_processes(options.output, trainer.world_size)
        with end_together(trainer), interruptible():
            trainer.fit(
                module,
                loader,
                make_loader(validation, recipe.batch_size, options.workers, seed=None),
                ckpt_path=str(options.output / LAST) if options.resume else None,
                weights_only=True,
            )

    if not trainer.is_global_zero:
        return None
    network = module.cpu().network
    load_weights(network, options.output / BEST)
    card = _card(options, entry, module, train, validation)
    card["training"] = training_figures(progress.total, checkpoints.best_epoch, trainer.precision)
    write_weights(options.output, options.model, network, card)
    _report(options, f"trained for {progress.total.seconds / 3600:.2f} h: {speed_text(progress.total)}")
    return card


def _module(options: TrainOptions, entry: ModelEntry) -> FaceParsing:
    network = entry.build()
    start = _starting_weights(options, entry)
    if start is not None:
        load_weights(network, start)
    teacher = load_teacher(options.teacher, entry.spec.labels) if options.teacher else None
    computed = fake_quantized(network) if options.qat else None
    return FaceParsing(network, entry.spec, options.recipe, options.seed, teacher, computed)


def _card(
    options: TrainOptions, entry: ModelEntry, module: FaceParsing, train: FacePairs, validation: FacePairs
) -> dict[str, Any]:
    recipe, network = options.recipe, module.network
    start = _starting_weights(options, entry)
    return {
        "model": options.model,
        "data": f"{validation.description}, {options.data.partition(':')[0]}",
        "pairs": len(train),
        "skipped": [{"name": skipped.name, "reason": skipped.reason} for skipped in train.skipped],
        "terms": validation.terms,
        "command": options.command,
        "seed": options.seed,
        "epochs": recipe.epochs,
        "size": recipe.size,
        "recipe": recipe.as_json(),
        "teacher": options.teacher,
        "started_from": start.name if start else None,
        "parameters": sum(p.numel() for p in network.parameters()),
        "figures": figures(network, entry.spec, validation, recipe.batch_size),
        **(_rounded_figures(module, entry, validation) if options.qat else {}),
        "calibration": calibration(options.data, network, entry.spec, train.skipped),
    }


def _report(options: TrainOptions, line: str) -> None:
    if options.report is not None:
        rank_zero_only(options.report)(line)


def _report_skipped(options: TrainOptions, *splits: FacePairs) -> None:
    for pair in (pair for pairs in splits for pair in pairs.skipped):
        _report(options, f"skipped '{pair.name}': {pair.reason}")


def _starting_weights(options: TrainOptions, entry: ModelEntry) -> Path | None:
    """Where training starts; quantization-aware training starts from trained weights in any case.

    Raises:
        UsageError: there are none to start from.
    """
    if options.weights is not None or not options.qat:
        return options.weights
    if entry.weights is None:
        raise UsageError(
            f"--qat fine-tunes a trained network, and no weights ship with '{options.model}'",
            "train it without --qat, then give what that wrote with --weights",
        )
    return entry.weights


def _rounded_figures(module: FaceParsing, entry: ModelEntry, validation: FacePairs) -> dict[str, Any]:
    """The same figures with the roundings of the int8 file."""
    found = figures(module.parser.network, entry.spec, validation, module.recipe.batch_size)
    return {"figures_rounded": found | {"protocol": f"{found['protocol']}, rounded as int8"}}


def _face_parser(name: str) -> ModelEntry:
    entry = zoo().get(name)
    if entry.spec.task != SEGMENTATION:
        raise UsageError(f"'{name}' is no face parser", "`toolchain models` lists them")
    return entry


def _identity(options: TrainOptions, pairs: int) -> dict[str, Any]:
    """What must not change when a run is resumed; the data may have moved to another place."""
    return {
        "model": options.model,
        "pairs": pairs,
        "seed": options.seed,
        "limit": options.limit,
        "teacher": options.teacher,
        "qat": options.qat,
        "recipe": options.recipe.as_json(),
        # A run without them has no such entry, so that older ones can be resumed.
        **({"callbacks": [type(own).__name__ for own in options.callbacks]} if options.callbacks else {}),
    }


def _trainer(options: TrainOptions, callbacks: list[lightning.Callback]) -> lightning.Trainer:
    recipe = options.recipe
    arguments: dict[str, Any] = {
        "max_epochs": recipe.epochs,
        "precision": recipe.precision,
        "gradient_clip_val": recipe.optimizer.clip or None,
        "callbacks": callbacks,
        "default_root_dir": options.output,
    }
    if options.limit is not None:
        arguments["limit_train_batches"] = options.limit
    return make_trainer(arguments, options.trainer, options.progress, options.report)
