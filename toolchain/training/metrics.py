"""F1 figures of face parsing, from one confusion matrix over the whole test set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from toolchain.training.datasets.pairs import IGNORE

# The facial components of the Helen protocol: skin and background are not among them.
COMPONENTS = {"brows": (2, 3), "eyes": (4, 5), "nose": (6,), "mouth": (7, 8, 9)}
SKIN = 1


@dataclass(frozen=True)
class FaceScores:
    """F1 figures in percent.

    Attributes:
        per_class: F1 of every class, in class order.
        overall: as on Helen: the counts of brows, eyes, nose and mouth added up over all pictures; left
            and right, and the parts of the mouth, are not told apart.
        strict: the same sum over the eight classes 2 to 9, each of which must be hit exactly.
        micro_with_skin: sum over classes 1 to 9.
    """

    per_class: tuple[float, ...]
    overall: float
    strict: float
    micro_with_skin: float


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
        known = target != IGNORE
        pairs = target[known] * self.classes + predicted[known]
        counts = torch.bincount(pairs, minlength=self.classes**2)
        self.confusion += counts.reshape(self.classes, self.classes)

    def compute(self) -> Tensor:
        """The overall F1 in percent, as a tensor for Lightning's log."""
        return torch.tensor(self.scores().overall)

    def scores(self) -> FaceScores:
        """All figures so far."""
        matrix = self.confusion.double()
        singles: list[tuple[int, ...]] = [(index,) for index in range(self.classes)]
        return FaceScores(
            per_class=tuple(_f1(matrix, [group]) for group in singles),
            overall=_f1(matrix, list(COMPONENTS.values())),
            strict=_f1(matrix, singles[SKIN + 1 :]),
            micro_with_skin=_f1(matrix, singles[SKIN:]),
        )


def _f1(matrix: Tensor, groups: list[tuple[int, ...]]) -> float:
    """F1 in percent of the groups' counts added up; 2 TP / (2 TP + FP + FN)."""
    hits = sum(matrix[list(g)][:, list(g)].sum() for g in groups)
    true = sum(matrix[list(g)].sum() for g in groups)
    found = sum(matrix[:, list(g)].sum() for g in groups)
    total = float(true + found)
    return 100.0 * 2.0 * float(hits) / total if total else 100.0
