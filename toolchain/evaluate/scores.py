"""What one face parser makes of the pictures, counted picture by picture, and the figures made of it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.training.boundary import BoundaryF1
from toolchain.training.metrics import FaceScores, component_counts, confusion_matrix, f1_of_counts, scores_of

RESAMPLES = 2000
CHUNK = 100
INTERVAL = (2.5, 97.5)
SEED = 0


@dataclass(frozen=True, order=True)
class Worst:
    """A picture that was parsed badly.

    Attributes:
        error: 100 minus the overall F1 of this picture alone.
        index: of the pair.
        found: labels (H, W) uint8.
    """

    error: float
    index: int
    found: np.ndarray = field(compare=False)


class Tally:
    """Counts of one face parser.

    Args:
        classes: how many.
        keep: how many of the worst pictures to remember.
    """

    def __init__(self, classes: int, keep: int) -> None:
        self._classes, self._keep = classes, keep
        self._confusions: list[Tensor] = []
        self._boundary = BoundaryF1(classes)
        self._worst: list[Worst] = []
        self._same: list[float] = []
        self.seconds: list[float] = []

    def add(
        self, index: int, found: np.ndarray, truth: np.ndarray, seconds: float, first: np.ndarray | None
    ) -> None:
        """Count one picture.

        Args:
            index: of the pair.
            found: labels (H, W) uint8.
            truth: annotated labels (H, W) uint8, 255 where unknown.
            seconds: what the network took.
            first: labels of the face parser that agreement is measured with; None for none of this size.
        """
        predicted, target = (torch.from_numpy(labels.astype(np.int64))[None] for labels in (found, truth))
        confusion = confusion_matrix(predicted, target, self._classes)
        self._confusions.append(confusion)
        self._boundary.update(predicted, target)
        if self._keep:
            error = 100.0 - float(f1_of_counts(component_counts(confusion)))
            push = heapq.heappush if len(self._worst) < self._keep else heapq.heappushpop
            push(self._worst, Worst(error, index, found))
        if first is not None:
            self._same.append(float((found == first).mean()))
        self.seconds.append(seconds)

    @property
    def worst(self) -> list[Worst]:
        """The worst pictures, worst first."""
        return sorted(self._worst, reverse=True)

    def figures(self, against: Tally | None = None) -> Figures:
        """All figures; differences are to the counts of another face parser on the same pictures."""
        confusions = torch.stack(self._confusions)
        confusion = confusions.sum(0)
        counts = component_counts(confusions)
        boundary = self._boundary.per_class().tolist()
        difference = interval = None
        if against is not None:
            other = component_counts(torch.stack(against._confusions))
            difference = float(f1_of_counts(counts.sum(0)) - f1_of_counts(other.sum(0)))
            interval = _interval(_resampled(counts) - _resampled(other))
        return Figures(
            scores=scores_of(confusion),
            overall_interval=_interval(_resampled(counts)),
            boundary=tuple(None if math.isnan(value) else value for value in boundary),
            confusion=confusion,
            agreement=float(np.mean(self._same)) if self._same else None,
            difference=difference,
            difference_interval=interval,
            milliseconds=1e3 * float(np.median(self.seconds)),
        )


@dataclass(frozen=True)
class Figures:
    """The figures of one face parser; percent but for the agreement.

    Attributes:
        scores: F1, IoU and accuracy.
        overall_interval: 95 % of the overall F1s of resampled test sets lie in it; None for one picture.
        boundary: boundary F1 per class, None for a class without a boundary.
        confusion: (classes, classes) pixels, rows true classes.
        agreement: share of all pixels with the label of the first face parser; None without one.
        difference: overall F1 minus that of the first face parser; None without one.
        difference_interval: as `overall_interval`, of the difference on the same resampled pictures.
        milliseconds: median time of the network for one picture.
    """

    scores: FaceScores
    overall_interval: tuple[float, float] | None
    boundary: tuple[float | None, ...]
    confusion: Tensor
    agreement: float | None
    difference: float | None
    difference_interval: tuple[float, float] | None
    milliseconds: float

    @property
    def mean_boundary(self) -> float | None:
        """Mean over the classes without background; None where none has a boundary."""
        known = [value for value in self.boundary[1:] if value is not None]
        return sum(known) / len(known) if known else None

    @property
    def lowest_class(self) -> float:
        """Lowest F1 of the classes that occur."""
        pairs = zip(self.scores.per_class, self.scores.present, strict=True)
        return min((value for value, present in pairs if present), default=100.0)

    def as_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """A dict that JSON can express."""
        scores = self.scores
        pixels = self.confusion.sum(1).tolist()
        return {
            "overall_f1": _rounded(scores.overall),
            "overall_f1_interval": _pair(self.overall_interval),
            "strict_f1": _rounded(scores.strict),
            "micro_f1_with_skin": _rounded(scores.micro_with_skin),
            "boundary_f1": _rounded(self.mean_boundary),
            "mean_iou": _rounded(scores.mean_iou),
            "pixel_accuracy": _rounded(scores.pixel_accuracy),
            "lowest_class_f1": _rounded(self.lowest_class),
            "agreement": _rounded(self.agreement, 6),
            "overall_f1_difference": _rounded(self.difference),
            "overall_f1_difference_interval": _pair(self.difference_interval),
            "milliseconds": _rounded(self.milliseconds),
            "classes": [
                {
                    "label": label,
                    "f1": _rounded(scores.per_class[index]) if scores.present[index] else None,
                    "iou": _rounded(scores.iou[index]) if scores.present[index] else None,
                    "boundary_f1": _rounded(self.boundary[index]),
                    "pixels": pixels[index],
                }
                for index, label in enumerate(labels)
            ],
            "confusion": self.confusion.tolist(),
        }


def _resampled(counts: Tensor) -> np.ndarray:
    """Overall F1 of test sets drawn from the pictures with replacement (Efron 1979).

    The draws depend on the number of pictures only, so that those of two face parsers are the same sets.

    Args:
        counts: (pictures, 3), see `component_counts`.

    Returns:
        (RESAMPLES,) percent.
    """
    pictures = len(counts)
    random = np.random.default_rng(SEED)
    share = np.full(pictures, 1 / pictures)
    drawn = [random.multinomial(pictures, share, CHUNK) @ counts.numpy() for _ in range(RESAMPLES // CHUNK)]
    return f1_of_counts(torch.from_numpy(np.concatenate(drawn))).numpy()


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, INTERVAL)
    return float(low), float(high)


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def _pair(values: tuple[float, float] | None) -> list[float] | None:
    return None if values is None else [round(value, 3) for value in values]


def labels_of(scores: np.ndarray, side: int, classes: int, name: str) -> np.ndarray:
    """Labels (side, side) uint8 of class scores or of labels.

    Args:
        scores: (classes, H, W), or labels (H, W) of any numeric type.
        side: scores are resized to it bilinearly, labels to the nearest, when they have another size.
        classes: how many.
        name: of the face parser, for messages.

    Raises:
        UnsupportedError: the scores are not finite, or a label is none of the classes.
    """
    import cv2

    hint = "check the file with `toolchain verify`"
    if scores.ndim == 2:
        if scores.min() < 0 or scores.max() >= classes:
            raise UnsupportedError(f"'{name}' gives labels from {scores.min()} to {scores.max()}", hint)
        labels = scores.astype(np.uint8)
        if len(labels) == side:
            return labels
        return cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    if scores.dtype.kind == "f" and not np.isfinite(scores).all():
        raise UnsupportedError(f"'{name}' gives NaN or infinite scores", hint)
    if scores.shape[1] != side:
        planes = np.ascontiguousarray(scores.transpose(1, 2, 0), np.float32)
        scores = cv2.resize(planes, (side, side), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    return scores.argmax(0).astype(np.uint8)
