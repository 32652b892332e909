"""Figures of a face parser that knows only some of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from toolchain.compress.specialise.reduction import ClassReduction
from toolchain.models.faces import LABELS
from toolchain.spec import ModelSpec
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.metrics import COMPONENTS, confusion_matrix, f1_of_counts
from toolchain.training.teacher import NormalizedParser


@dataclass(frozen=True)
class ReducedScores:
    """Figures in percent; a class that occurs neither in the truth nor in the prediction has 100.

    Attributes:
        per_class: F1 of every class.
        overall: as on Helen, over the facial components that are left: left and right, and the parts of the
            mouth, are not told apart. For the lips it is the F1 of "lip or not"; for skin alone, its F1.
        strict: F1 of the counts added up over all classes but background, each of which must be hit exactly.
        iou: intersection over union of every class.
        mean_iou: mean of `iou` over the classes that occur, background included.
    """

    per_class: tuple[float, ...]
    overall: float
    strict: float
    iou: tuple[float, ...]
    mean_iou: float


def reduced_scores(confusion: Tensor, labels: Sequence[str]) -> ReducedScores:
    """All figures of a confusion matrix (classes, classes), rows true classes, of the classes `labels`."""
    matrix = confusion.double()
    classes = range(len(labels))
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    iou = torch.where(union > 0, 100.0 * matrix.diagonal() / union.clamp(min=1), 100.0)
    singles = [[index] for index in classes]
    return ReducedScores(
        per_class=tuple(_f1(matrix, [group]) for group in singles),
        overall=_f1(matrix, components(labels)),
        strict=_f1(matrix, singles[1:]),
        iou=tuple(iou.tolist()),
        mean_iou=float(iou[union > 0].mean()) if bool((union > 0).any()) else 100.0,
    )


def components(labels: Sequence[str]) -> list[list[int]]:
    """The facial components (brows, eyes, nose, mouth) among some classes of a face, as their indices."""
    named = [[LABELS[index] for index in parts] for parts in COMPONENTS.values()]
    groups = [[index for index, label in enumerate(labels) if label in part] for part in named]
    return [group for group in groups if group] or [[index] for index in range(1, len(labels))]


def _f1(matrix: Tensor, groups: Sequence[list[int]]) -> float:
    hits = sum(float(matrix[group][:, group].sum()) for group in groups)
    true = sum(float(matrix[group].sum()) for group in groups)
    found = sum(float(matrix[:, group].sum()) for group in groups)
    return float(f1_of_counts(torch.tensor([hits, true, found])))


class ReducedF1(Metric):
    """Confusion matrix of label maps with some of the classes.

    Update takes predicted and true labels (N, H, W) int64; pixels whose true label is 255 do not count.
    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(labels)
        count = len(self.names)
        self.add_state("confusion", torch.zeros(count, count, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Count a batch."""
        self.confusion += confusion_matrix(predicted, target, len(self.names))

    def compute(self) -> Tensor:
        """The overall F1 in percent."""
        return torch.tensor(self.scores().overall)

    def scores(self) -> ReducedScores:
        """All figures so far."""
        return reduced_scores(self.confusion, self.names)


@torch.no_grad()
def reduced_figures(
    network: nn.Module, spec: ModelSpec, labels: Sequence[str], pairs: FacePairs, batch_size: int
) -> dict[str, Any]:
    """Figures in percent for a card, in float32 with an empty previous mask.

    A network with more classes than `labels` is judged by what its labels become when the rest counts as
    background, so that a specialised network and the whole one are judged alike.

    Args:
        network: on the CPU.
        spec: its contract, with face classes.
        labels: the classes that count, background first.
        pairs: validation pairs with all classes of a face.
        batch_size: pictures that are run at once.
    """
    parser = NormalizedParser(network, spec).eval()
    found, true = ClassReduction(spec.labels, labels), ClassReduction(LABELS, labels)
    metric = ReducedF1(labels)
    for start in range(0, len(pairs), batch_size):
        batch = [pairs[index] for index in range(start, min(start + batch_size, len(pairs)))]
        image, label = (torch.stack(tensors) for tensors in zip(*batch, strict=True))
        empty = torch.zeros(len(image), len(spec.labels), *image.shape[2:])
        predicted = parser(image.float(), empty).argmax(1)
        metric.update(found.labels(predicted), true.labels(label.long()))
    scores = metric.scores()
    return {
        "protocol": f"{len(pairs)} validation pairs, {pairs.size} px, float32, no previous mask, all other"
        " classes counted as background",
        "overall_f1": round(scores.overall, 2),
        "strict_f1": round(scores.strict, 2),
        "mean_iou": round(scores.mean_iou, 2),
        "per_class_f1": {name: round(value, 2) for name, value in zip(labels, scores.per_class, strict=True)},
    }
