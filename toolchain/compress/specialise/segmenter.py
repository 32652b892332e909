"""Training of specialised segmenters of single pictures on masks of COCO, judged by mean IoU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning
import torch

from toolchain.compress.distill.segmenter import taught_segmentation_loss
from toolchain.compress.distill.teacher import Teacher, check_teacher
from toolchain.compress.reshaped_weights import write_reshaped
from toolchain.compress.specialise.fit import Network
from toolchain.compress.specialise.job import Job
from toolchain.compress.specialise.reduction import ClassReduction
from toolchain.compress.specialise.terms import combined_terms
from toolchain.errors import UsageError
from toolchain.models.weights_file import load_weights
from toolchain.training.checkpoints import LAST
from toolchain.training.classification_module import as_inputs
from toolchain.training.classification_settings import (
    ClassifierOptimizer,
    ClassifierSettings,
    PictureAugmentation,
    read_classifier_settings,
)
from toolchain.training.datasets.coco import MaskSplit, SegmentationData, open_coco
from toolchain.training.memory_fit import FitOptions
from toolchain.training.metrics import confusion_matrix
from toolchain.training.segmentation import MEASURED_AT_ONCE, Overlap, fit_segmenter, overlap_of

SCHEME = "coco"
# A few hundred pictures, and weights that have been trained before.
SETTINGS = ClassifierSettings(
    name="segmenter",
    epochs=10,
    batch_size=8,
    optimizer=ClassifierOptimizer("adamw", 1e-4, 1e-4),
    augment=PictureAugmentation(flip=0.5, zoom=(0.8, 1.25), shift=0.1, colour=0.2),
)


def segmentation_data(job: Job, labels: Sequence[str], side: int) -> SegmentationData:
    """The pictures and masks of a job.

    Args:
        job: its data is "coco:PATH".
        labels: of the network, background first.
        side: of the network's input in pixels.

    Raises:
        UsageError: other data, or a class that COCO does not have.
    """
    scheme, _, path = job.data.partition(":")
    if scheme != SCHEME or not path:
        raise UsageError(f"data '{job.data}' has no masks for a segmenter", "give coco:PATH")
    return open_coco(path, labels[1:], job.size or side)


def train_segmenter(
    student: Network,
    job: Job,
    teacher: Teacher | None,
    whole: Network | None,
    callbacks: Sequence[lightning.Callback],
    notes: dict[str, Any],
) -> dict[str, Any]:
    """Train on COCO, and write weights and card; see `specialise_train.train_network`."""
    network, spec = student.module, student.spec
    settings = read_classifier_settings(job.recipe) if job.recipe else SETTINGS
    settings = settings.with_values(
        epochs=job.epochs,
        batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        precision=job.precision,
    )
    loss = None
    if teacher is not None:
        check_teacher(teacher, spec)
        loss = taught_segmentation_loss(teacher, network, spec)
    data = replace(segmentation_data(job, spec.labels, spec.inputs[0].shape[-1]), labels=spec.labels)
    options = FitOptions(
        output=job.output,
        settings=settings,
        seed=job.seed,
        callbacks=callbacks,
        resume=job.resume,
        identity=notes,
        limit=job.limit,
        checkpoint_seconds=job.checkpoint_seconds,
        trainer=job.trainer,
        progress=job.progress,
        report=job.report,
    )
    result = fit_segmenter(
        network,
        data,
        options,
        spec=spec,
        loss=loss,
        command=job.command,
        calibrate=job.calibrate,
        more=notes,
    )
    card = dict(result.card)
    inherited = teacher.spec.terms if teacher is not None else ""
    card["terms"] = combined_terms(spec.terms, inherited, data.terms)
    if job.sparsity is not None:
        load_weights(network, job.output / LAST)
        card["figures"] = reduced_overlap(student, data) | {"epoch": settings.epochs}
    if whole is not None:
        card["figures_whole"] = reduced_overlap(whole, data)
    return write_reshaped(job.output, spec.name, network, spec, card)


def reduced_overlap(network: Network, data: SegmentationData) -> dict[str, Any]:
    """Mean IoU in percent of a network that may know more classes, which count as background."""
    found = {name: _overlap(network, getattr(data, name), data.labels) for name in ("validation", "test")}
    return {
        "protocol": f"percent of {len(data.validation)} validation and {len(data.test)} test pictures,"
        " float32, all other classes counted as background",
        **{f"{name}_mean_iou": round(overlap.mean, 2) for name, overlap in found.items()},
        "test_per_class_iou": dict(
            zip(data.labels, (round(iou, 2) for iou in found["test"].per_class), strict=True)
        ),
    }


@torch.no_grad()
def _overlap(network: Network, split: MaskSplit, labels: Sequence[str]) -> Overlap:
    reduction = ClassReduction(network.spec.labels, labels)
    module, confusion = network.module.eval(), torch.zeros(len(labels), len(labels), dtype=torch.int64)
    for start in range(0, len(split), MEASURED_AT_ONCE):
        part = slice(start, start + MEASURED_AT_ONCE)
        found = reduction.labels(module(as_inputs(split.images[part], network.spec)).argmax(1))
        confusion += confusion_matrix(found, split.maps[part].long(), len(labels))
    return overlap_of(confusion)
