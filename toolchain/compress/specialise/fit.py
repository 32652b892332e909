"""Training of face parsers that know some of the classes, narrowed ones and students included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from toolchain.compress.distill.teacher import Teacher, check_teacher
from toolchain.compress.reshaped_weights import write_reshaped
from toolchain.compress.specialise.checkpoints import LatestCheckpoints
from toolchain.compress.specialise.parsing import ReducedParsing
from toolchain.compress.specialise.reduction import ClassReduction, ReducedPairs
from toolchain.compress.specialise.scores import reduced_figures
from toolchain.compress.specialise.terms import combined_terms
from toolchain.errors import UsageError
from toolchain.models.faces import LABELS
from toolchain.models.weights_file import load_weights
from toolchain.spec import SEGMENTATION, ModelSpec
from toolchain.training.allocator import keep_freed_memory
from toolchain.training.card import calibration, training_figures
from toolchain.training.checkpoints import BEST, LAST, Checkpoints, check_processes, check_resumable
from toolchain.training.datasets import open_pairs, training_pairs, validation_pairs
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.fit import TrainOptions
from toolchain.training.loading import EpochSampler, make_loader
from toolchain.training.log import TrainingLog
from toolchain.training.pictures import SamplePictures
from toolchain.training.processes import Processes, check_strategy, end_together
from toolchain.training.progress import Progress, speed_text
from toolchain.training.trainer import interruptible, make_trainer, quiet
from toolchain.training.weight_average import WeightAverage


@dataclass(frozen=True)
class Network:
    """A network and its contract.

    Attributes:
        module: on the CPU.
        spec: its contract.
        new_head: its head has random weights, so that even a head for all classes is yet to be trained.
    """

    module: nn.Module
    spec: ModelSpec
    new_head: bool = False


def is_face_parser(spec: ModelSpec) -> bool:
    """Whether the classes of a segmenter are those of a face, or some of them in the same order."""
    known = [label for label in LABELS if label in spec.labels]
    return (
        spec.task == SEGMENTATION
        and spec.preprocess is not None
        and spec.labels[:1] == LABELS[:1]
        and list(spec.labels) == known
    )


def fit_parser(
    student: Network,
    options: TrainOptions,
    teacher: Teacher | None = None,
    whole: Network | None = None,
    callbacks: Sequence[lightning.Callback] = (),
    latest: bool = False,
    notes: dict[str, Any] | None = None,
    calibrate: bool = True,
) -> dict[str, Any] | None:
    """Train a face parser, and write `NAME.safetensors` with its card into the output folder.

    Args:
        student: what is trained, in place; its labels are some of the classes of a face.
        options: data, recipe, folder and so on; `model`, `weights` and `teacher` are for the card alone.
        teacher: from whom to learn, None for no one.
        whole: a network with more classes that is judged beside the student, by the same figures.
        callbacks: of Lightning, after those that log and before the one that writes checkpoints.
        latest: keep the last epoch instead of the one with the best overall F1.
        notes: further entries of the card; they must be the same when a run is resumed.
        calibrate: measure the ranges for int8 that the card holds; it exports the network to ONNX.

    Returns:
        The card. None in every process of a distributed training but the first.

    Raises:
        UsageError: unfit network, teacher or data; nothing to resume, or another run.
        UnsupportedError: a validation pair is damaged, or more than a few training pairs are.
        ToolchainError: the loss or the weights became NaN or infinite; the last good checkpoint is kept.
    """
    if not is_face_parser(student.spec):
        raise UsageError(
            f"'{student.spec.name}' is no face parser: its classes are {', '.join(student.spec.labels)}",
            f"face parsers have {', '.join(LABELS)}, or some of them in this order",
        )
    recipe = options.recipe
    if teacher is not None:
        check_teacher(teacher, student.spec)
        loss = replace(recipe.loss, distillation=teacher.share, temperature=teacher.temperature)
        recipe = replace(recipe, loss=loss)
    options = replace(options, recipe=recipe)
    validation = validation_pairs(open_pairs(options.data, "val", recipe.size))
    train = training_pairs(open_pairs(options.data, "train", recipe.size))
    run = _identity(options, student, teacher, len(train), notes or {})
    check_resumable(options.output, run, options.resume)
    for pair in (*train.skipped, *validation.skipped):
        _report(options, f"skipped '{pair.name}': {pair.reason}")
    keep_freed_memory()
    lightning.seed_everything(options.seed, workers=True, verbose=False)
    module = ReducedParsing(student.module, student.spec, recipe, options.seed, teacher)

    loader = make_loader(train, recipe.batch_size, options.workers, options.seed)
    assert isinstance(loader.sampler, EpochSampler)
    average = WeightAverage(recipe.weight_average) if recipe.weight_average else None
    kind = LatestCheckpoints if latest else Checkpoints
    checkpoints = kind(options.output, loader.sampler, run, average, options.checkpoint_seconds)
    log = TrainingLog(options.output)
    progress = Progress(loader, log, options.report)
    reduced = ReducedPairs(validation, ClassReduction(LABELS, student.spec.labels))
    samples = SamplePictures(options.output, reduced, student.spec.palette, options.samples_every, log)
    with quiet():
        averaging = [average] if average else []
        trainer = _trainer(
            options, [Processes(), log, progress, samples, *callbacks, *averaging, checkpoints]
        )
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
    network = module.cpu().network.eval()
    load_weights(network, options.output / BEST)
    trained = Network(network, student.spec)
    card = _card(options, trained, whole, train, validation) | (notes or {})
    inherited = teacher.spec.terms if teacher is not None else ""
    card["terms"] = combined_terms(student.spec.terms, inherited, validation.terms)
    if calibrate:
        card["calibration"] = calibration(options.data, network, student.spec, train.skipped)
    card["training"] = training_figures(progress.total, checkpoints.best_epoch, trainer.precision)
    _report(options, f"trained for {progress.total.seconds / 3600:.2f} h: {speed_text(progress.total)}")
    return write_reshaped(options.output, student.spec.name, network, student.spec, card)


def _card(
    options: TrainOptions, trained: Network, whole: Network | None, train: FacePairs, validation: FacePairs
) -> dict[str, Any]:
    recipe, network, spec = options.recipe, trained.module, trained.spec
    judged = {"figures": trained} | ({"figures_whole": whole} if whole is not None else {})
    return {
        "model": spec.name,
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
        "started_from": options.weights.name if options.weights else None,
        "parameters": sum(p.numel() for p in network.parameters()),
        **{
            name: reduced_figures(entry.module, entry.spec, spec.labels, validation, recipe.batch_size)
            for name, entry in judged.items()
        },
    }


def _identity(
    options: TrainOptions, student: Network, teacher: Teacher | None, pairs: int, notes: dict[str, Any]
) -> dict[str, Any]:
    """What must not change when a run is resumed; the data may have moved to another place."""
    return {
        "model": student.spec.name,
        "labels": list(student.spec.labels),
        "parameters": sum(p.numel() for p in student.module.parameters()),
        "pairs": pairs,
        "seed": options.seed,
        "limit": options.limit,
        "teacher": options.teacher,
        "pairwise": teacher.pairwise if teacher is not None else 0.0,
        "recipe": options.recipe.as_json(),
        **notes,
    }


def _report(options: TrainOptions, line: str) -> None:
    if options.report is not None:
        rank_zero_only(options.report)(line)


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
