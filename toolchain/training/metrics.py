"""Figures of face parsing that are made from confusion matrices: F1, IoU, accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from toolchain.training.datasets.pairs import IGNORE

# The facial components of the Helen protocol: skin and background are not among them.
COMPONENTS = {"brows": (2, 3), "eyes": (4, 5), "nose": (6,), "mouth": (7, 8, 9)}
SKIN = 1

Groups = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class FaceScores:
    """Figures in percent.

    Attributes:
        per_class: F1 of every class, in class order; 100 for a class that occurs nowhere.
        overall: as on Helen: the counts of brows, eyes, nose and mouth added up over all pictures; left
            and right, and the parts of the mouth, are not told apart.
        strict: the same sum over the eight classes 2 to 9, each of which must be hit exactly.
        micro_with_skin: sum over classes 1 to 9.
        iou: intersection over union of every class; 100 for a class that occurs nowhere.
        mean_iou: mean of `iou` over the classes that occur, background included.
        pixel_accuracy: share of known pixels with the right class.
        present: which classes occur in the truth or in the prediction.
    """

    per_class: tuple[float, ...]
    overall: float
    strict: float
    micro_with_skin: float
    iou: tuple[float, ...]
    mean_iou: float
    pixel_accuracy: float
    present: tuple[bool, ...]


class FaceF1(Metric):
    """Confusion matrix of label maps, and the F1 figures made of it.

    Update takes predicted labels (N, H, W) int64 and true labels (N, H, W) int64; pixels whose true
    label is 255 do not count.
    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Count a batch; rows of the matrix are true classes, columns predicted ones."""
        self.confusion += confusion_matrix(predicted, target, self.classes)

    def compute(self) -> Tensor:
        """The overall F1 in percent, as a tensor for Lightning's log."""
        return torch.tensor(self.scores().overall)

    def scores(self) -> FaceScores:
        """All figures so far."""
        return scores_of(self.confusion)


def confusion_matrix(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Pixels per pair of true and predicted class.

    Args:
        predicted: labels of any shape, int64.
        target: true labels of the same shape; pixels with 255 do not count.
        classes: how many.

    Returns:
        (classes, classes) int64; rows are true classes, columns predicted ones.
    """
    known = target != IGNORE
    pairs = target[known] * classes + predicted[known]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores_of(confusion: Tensor) -> FaceScores:
    """All figures of a confusion matrix (classes, classes)."""
    matrix = confusion.double()
    classes = len(matrix)
    hits, union = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    present = union > 0
    iou = torch.where(present, 100.0 * hits / union.clamp(min=1), 100.0)
    total = float(matrix.sum())
    singles: list[tuple[int, ...]] = [(index,) for index in range(classes)]
    return FaceScores(
        per_class=tuple(_f1(matrix, [group]) for group in singles),
        overall=_f1(matrix, list(COMPONENTS.values())),
        strict=_f1(matrix, singles[SKIN + 1 :]),
        micro_with_skin=_f1(matrix, singles[SKIN:]),
        iou=tuple(iou.tolist()),
        mean_iou=float(iou[present].mean()) if present.any() else 100.0,
        pixel_accuracy=100.0 * float(hits.sum()) / total if total else 100.0,
        present=tuple(present.tolist()),
    )


def component_counts(confusion: Tensor) -> Tensor:
    """What the overall F1 is made of, for many pictures at once.

    Args:
        confusion: (..., classes, classes), rows true classes.

    Returns:
        (..., 3): pixels of the facial components that were hit, that are true, that were found. Sums of
        them over pictures give the overall F1 of those pictures, see `f1_of_counts`.
    """
    return _counts(confusion, list(COMPONENTS.values()))


def f1_of_counts(counts: Tensor) -> Tensor:
    """F1 in percent of (..., 3) hit, true and found pixels: 2 TP / (2 TP + FP + FN), 100 where none is."""
    counts = counts.double()
    total = counts[..., 1] + counts[..., 2]
    return torch.where(total > 0, 200.0 * counts[..., 0] / total.clamp(min=1), 100.0)


def _counts(matrix: Tensor, groups: Groups) -> Tensor:
    chosen = [list(group) for group in groups]
    hits = sum(matrix[..., g, :][..., g].sum((-2, -1)) for g in chosen)
    true = sum(matrix[..., g, :].sum((-2, -1)) for g in chosen)
    found = sum(matrix[..., g].sum((-2, -1)) for g in chosen)
    return torch.stack([torch.as_tensor(value) for value in (hits, true, found)], -1)


def _f1(matrix: Tensor, groups: Groups) -> float:
    return float(f1_of_counts(_counts(matrix, groups)))
