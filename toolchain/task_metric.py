"""The points of a network at its own task, on samples whose true labels are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import UsageError
from toolchain.parity import Arrays
from toolchain.samples import IGNORED, holds_faces, true_labels
from toolchain.spec import CLASSIFICATION, GENERIC, ModelSpec

F1 = "overall F1"
MEAN_IOU = "mean IoU"
TOP1 = "top-1 accuracy"
ALL_POINTS = 100.0


@dataclass(frozen=True)
class TaskMetric:
    """Judges answers by true labels.

    Attributes:
        name: "overall F1" of a face parser (see `toolchain.training.metrics`), "mean IoU" of another
            segmentation, over the classes that occur, or "top-1 accuracy" of a classification.
        points: answers to the first samples, in their order -> percent; higher is better.
        labels: how many labels there are in all.
    """

    name: str
    points: Callable[[Sequence[Arrays]], float]
    labels: int


def task_metric(spec: ModelSpec, calibration: str | Path | None, count: int) -> TaskMetric | None:
    """The metric of the task on the first `count` samples; None where the data holds no labels for it.

    Args:
        spec: the network's contract.
        calibration: as for `toolchain.samples.samples`; synthetic inputs have no labels.
        count: how many at most.

    Raises:
        UsageError: the labels do not fit the network's first output, or the number of its classes.
    """
    if calibration is None or spec.task == GENERIC:
        return None
    truth = true_labels(spec, calibration, count)
    if truth is None:
        return None
    classes = _classes(spec)
    _check(spec, truth, classes, str(calibration))
    name = TOP1 if spec.task == CLASSIFICATION else F1 if holds_faces(spec) else MEAN_IOU

    def points(made: Sequence[Arrays]) -> float:
        found = [_predicted(next(iter(answer.values()))) for answer in made]
        return _points(name, found, truth[: len(found)], classes)

    return TaskMetric(name, points, sum(labels.size for labels in truth))


def points_lost(
    spec: ModelSpec, calibration: str | Path | None, expected: Sequence[Arrays], actual: Sequence[Arrays]
) -> float | None:
    """Points of the task's metric that a file has less than its network; None where there are no true labels.

    Args:
        spec: the network's contract.
        calibration: as for `task_metric`.
        expected: the network's answers to the first samples.
        actual: the file's, to the same.
    """
    metric = task_metric(spec, calibration, len(expected))
    return None if metric is None else metric.points(expected) - metric.points(actual)


def allowed_points(
    spec: ModelSpec,
    calibration: str | Path | None,
    max_drop: float,
    expected: Sequence[Arrays],
    actual: Sequence[Arrays],
) -> float | None:
    """Points of label agreement that a file may lose, when it may lose `max_drop` points; None: as usual.

    Where there are true labels, `max_drop` is of the task's metric: labels that were wrong may become other
    ones, and agreement says nothing about a file that loses few enough points.

    Args:
        spec: the network's contract.
        calibration: as for `task_metric`.
        max_drop: points.
        expected: the network's answers to the first samples.
        actual: the file's, to the same.
    """
    lost = points_lost(spec, calibration, expected, actual)
    if lost is None:
        return max_drop
    return ALL_POINTS if lost <= max_drop else None


def _classes(spec: ModelSpec) -> int:
    """How many classes the first output tells apart; 0 where it holds labels, and these have no names."""
    output = spec.outputs[0]
    return len(spec.labels) if np.dtype(output.dtype).kind in "iu" else output.shape[1]


def _check(spec: ModelSpec, truth: Sequence[np.ndarray], classes: int, where: str) -> None:
    output = spec.outputs[0]
    labelled = np.dtype(output.dtype).kind in "iu"
    wanted = output.shape if labelled else (output.shape[0], *output.shape[2:])
    for labels in truth:
        if labels.shape != wanted:
            raise UsageError(
                f"labels in '{where}' have the shape {labels.shape[1:]} for each sample, those of"
                f" '{spec.name}' have {wanted[1:]}",
                "bring them to the size of the network's output, or leave them out",
            )
    known = [labels if spec.task == CLASSIFICATION else labels[labels != IGNORED] for labels in truth]
    lowest = min(int(labels.min(initial=0)) for labels in known)
    highest = max(int(labels.max(initial=0)) for labels in known)
    if lowest < 0 or (classes and highest >= classes):
        ignored = "" if spec.task == CLASSIFICATION else f"; {IGNORED} does not count"
        raise UsageError(
            f"labels in '{where}' are from {lowest} to {highest}, '{spec.name}' has {classes} classes",
            f"labels start at 0{ignored}",
        )


def _predicted(answer: np.ndarray) -> np.ndarray:
    return answer if answer.dtype.kind in "iu" else answer.argmax(1)


def _points(name: str, found: Sequence[np.ndarray], truth: Sequence[np.ndarray], classes: int) -> float:
    if name == TOP1:
        hits = sum(int((made == labels).sum()) for made, labels in zip(found, truth, strict=True))
        return 100.0 * hits / max(sum(labels.size for labels in truth), 1)
    return (_overall_f1 if name == F1 else _mean_iou)(np.stack(found), np.stack(truth), classes)


def _overall_f1(found: np.ndarray, truth: np.ndarray, classes: int) -> float:
    import torch

    from toolchain.training.metrics import FaceF1

    tally = FaceF1(classes)
    tally.update(torch.from_numpy(found.astype(np.int64)), torch.from_numpy(truth.astype(np.int64)))
    return tally.scores().overall


def _mean_iou(found: np.ndarray, truth: np.ndarray, _classes: int) -> float:
    """Mean intersection over union of the classes that occur, in percent."""
    found, truth = found[truth != IGNORED], truth[truth != IGNORED]
    shares = [
        ((found == label) & (truth == label)).sum() / ((found == label) | (truth == label)).sum()
        for label in np.union1d(found, truth)
    ]
    return 100.0 * float(np.mean(shares)) if shares else 100.0
