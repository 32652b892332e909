"""Train a network that has been specialised, narrowed or is a student, by its task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightning
from torch import nn

from toolchain.compress.distill.classifier import taught_loss
from toolchain.compress.distill.teacher import Teacher, check_teacher
from toolchain.compress.reshaped_weights import write_reshaped
from toolchain.compress.sparsity.callback import KernelSparsity
from toolchain.compress.sparsity.exemption import with_coupled_exempt
from toolchain.compress.sparsity.masks import zeroed_kernels
from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.compress.specialise.fit import Network, fit_parser, is_face_parser
from toolchain.compress.specialise.job import HISTORY, Job
from toolchain.compress.specialise.segmenter import train_segmenter
from toolchain.compress.specialise.terms import combined_terms
from toolchain.errors import UnsupportedError
from toolchain.models.weights_file import load_weights
from toolchain.spec import CLASSIFICATION, SEGMENTATION
from toolchain.training.checkpoints import LAST
from toolchain.training.classification import error_of, fit_classifier, settings_for
from toolchain.training.classification_settings import read_classifier_settings
from toolchain.training.datasets.classification import ClassificationData, open_classification
from toolchain.training.fit import TrainOptions
from toolchain.training.recipe import read_recipe

# For networks that have been trained before: the recipe's own figures are for random weights.
EPOCHS, LEARNING_RATE = 10, 1.5e-3


def train_network(
    student: Network,
    job: Job,
    teacher: Teacher | None = None,
    whole: Network | None = None,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Train by the task of the network, and write weights and card.

    With the sparsity term the weights of the last epoch are kept, else those of the best.

    Args:
        student: what is trained, in place.
        job: how.
        teacher: from whom to learn.
        whole: a network with more classes that is judged beside it (segmenters).
        notes: further entries of the card.

    Returns:
        The card; None in every process of a distributed training but the first.

    Raises:
        UnsupportedError: the task cannot be trained here.
        UsageError, ToolchainError: as the task's training says.
    """
    job = _with_exempt(student, job)
    notes = (notes or {}) | _sparsity_notes(job) | _teacher_notes(teacher)
    if is_face_parser(student.spec):
        return _train_parser(student, job, teacher, whole, notes)
    if student.spec.task == CLASSIFICATION:
        return _train_classifier(student, job, teacher, notes)
    if student.spec.task == SEGMENTATION and len(student.spec.inputs) == 1:
        method = _method(student.module, job, "mean_iou")
        return train_segmenter(student, job, teacher, whole, method, notes)
    raise UnsupportedError(
        f"'{student.spec.name}' is made for {student.spec.task}, which is not trained here",
        "face parsers, classifiers and segmenters of single pictures are",
    )


def classification_data(network: Network, job: Job) -> ClassificationData:
    """The labelled pictures of a job, in the size that the network takes.

    Raises:
        UsageError: no such data.
    """
    size = job.size if job.size is not None else network.spec.inputs[0].shape[-1]
    return open_classification(job.data, None if job.data.startswith("mnist:") else size)


def _train_parser(
    student: Network, job: Job, teacher: Teacher | None, whole: Network | None, notes: dict[str, Any]
) -> dict[str, Any] | None:
    recipe = read_recipe(job.recipe or "best").with_values(
        size=job.size or student.spec.inputs[0].shape[-1],
        epochs=job.epochs or (None if job.recipe else EPOCHS),
        batch_size=job.batch_size,
        learning_rate=job.learning_rate or (None if job.recipe else LEARNING_RATE),
        precision=job.precision,
    )
    options = TrainOptions(
        data=job.data,
        model=student.spec.name,
        output=job.output,
        recipe=recipe,
        seed=job.seed,
        weights=job.weights,
        teacher=teacher.name if teacher is not None else None,
        resume=job.resume,
        workers=job.workers,
        limit=job.limit,
        checkpoint_seconds=job.checkpoint_seconds,
        trainer=job.trainer,
        progress=job.progress,
        report=job.report,
        command=job.command,
    )
    sparse = _method(student.module, job, "overall_f1")
    return fit_parser(
        student, options, teacher, whole, sparse, job.sparsity is not None, notes, job.calibrate
    )


def _train_classifier(
    student: Network, job: Job, teacher: Teacher | None, notes: dict[str, Any]
) -> dict[str, Any]:
    network, spec = student.module, student.spec
    settings = read_classifier_settings(job.recipe) if job.recipe else settings_for(spec.name)
    settings = settings.with_values(
        epochs=job.epochs,
        batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        precision=job.precision,
    )
    if teacher is not None:
        check_teacher(teacher, spec)
    data = classification_data(student, job).ordered(spec.labels)
    result = fit_classifier(
        network,
        data,
        settings,
        job.output,
        callbacks=_method(network, job, "val_error"),
        seed=job.seed,
        resume=job.resume,
        report=job.report,
        spec=spec,
        loss=taught_loss(teacher, spec) if teacher is not None else None,
        command=job.command,
        identity=notes,
        limit=job.limit,
        checkpoint_seconds=job.checkpoint_seconds,
        trainer=job.trainer,
        progress=job.progress,
        calibrate=job.calibrate,
        more=notes | {"started_from": job.weights.name if job.weights else None},
    )
    card = dict(result.card)
    inherited = teacher.spec.terms if teacher is not None else ""
    card["terms"] = combined_terms(spec.terms, inherited, data.terms)
    if job.sparsity is not None:
        load_weights(network, job.output / LAST)
        network.eval()
        last: dict[str, Any] = {
            "validation_error": round(error_of(network, data.validation, spec), 3),
            "test_error": round(error_of(network, data.test, spec), 3),
            "protocol": f"percent of {len(data.validation)} validation and of {len(data.test)} test pictures,"
            " float32, after the last epoch",
        }
        card["figures"] = card["figures"] | last | {"epoch": settings.epochs}
    return write_reshaped(job.output, spec.name, network, spec, card)


def _with_exempt(student: Network, job: Job) -> Job:
    """With the coupled layers of the network that is going to be trained, where they are to be exempt."""
    if job.sparsity is None or not job.exempt_coupled:
        return job
    settings = with_coupled_exempt(job.sparsity, student.module, student.spec.inputs, job.report)
    return replace(job, sparsity=settings)


def _method(network: nn.Module, job: Job, figure: str) -> list[lightning.Callback]:
    """The callback of kernel sparsity, where there is a term or zeroed kernels have to stay zero."""
    if job.sparsity is not None:
        return [KernelSparsity(job.sparsity, job.output / HISTORY, figure=figure, report=job.report)]
    if any(bool(mask.any()) for mask in zeroed_kernels(network).values()):
        return [KernelSparsity(SparsitySettings(0.0, threshold=0.0))]
    return []


def _sparsity_notes(job: Job) -> dict[str, Any]:
    return {"sparsity": job.sparsity.as_json()} if job.sparsity is not None else {}


def _teacher_notes(teacher: Teacher | None) -> dict[str, Any]:
    if teacher is None:
        return {}
    values = {name: getattr(teacher, name) for name in ("name", "share", "temperature", "pairwise")}
    return {"distillation": values}
