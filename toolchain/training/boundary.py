"""Boundary F1: how well the outlines of the parts lie where they should."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from toolchain.training.datasets.pairs import IGNORE

# Csurka, Larlus and Perronnin: 0.75 % of the picture's diagonal, 2.7 pixels of 256 x 256.
TOLERANCE = 0.0075


def tolerance_in_pixels(height: int, width: int) -> float:
    """The usual distance within which a boundary pixel counts as found."""
    return TOLERANCE * math.hypot(height, width)


class BoundaryF1(Metric):
    """Boundary F1 per class, after "What is a good evaluation measure for semantic segmentation?" (Csurka,
    Larlus and Perronnin, BMVC 2013).

    A boundary pixel of a class is one that has a pixel of another class above, below, left or right of it.
    Precision is the share of the predicted boundary pixels of a class that lie within the tolerance of a
    true one of that class, recall the share of the true ones within the tolerance of a predicted one. The
    F1 of a class is computed for each picture, and averaged over the pictures where the class has a
    boundary in the truth or in the prediction.

    Pixels whose true label is 255 have no boundary, and no boundary within the tolerance of one, or beside
    it, counts: where the unknown region ends is not where the part ends.

    Update takes predicted and true labels (N, H, W) int64.

    Args:
        classes: how many.
        tolerance: in pixels; None for 0.75 % of the diagonal of each batch's pictures.
    """

    full_state_update = False
    total: Tensor
    pictures: Tensor

    def __init__(self, classes: int = 10, tolerance: float | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.tolerance = tolerance
        self.add_state("total", torch.zeros(classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pictures", torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Count a batch."""
        scores = boundary_f1(predicted, target, self.classes, self.tolerance)
        self.total += scores.nansum(0)
        self.pictures += (~scores.isnan()).sum(0)

    def per_class(self) -> Tensor:
        """(classes,) in percent; NaN for a class that has no boundary in any picture."""
        return 100.0 * self.total / self.pictures

    def compute(self) -> Tensor:
        """Mean over the classes without background, which has the boundary of the others."""
        return self.per_class()[1:].nanmean()


def boundary_f1(predicted: Tensor, target: Tensor, classes: int, tolerance: float | None = None) -> Tensor:
    """Boundary F1 of each picture and class, see `BoundaryF1`.

    Args:
        predicted: labels (N, H, W) int64.
        target: true labels (N, H, W) int64, 255 where unknown.
        classes: how many.
        tolerance: in pixels; None for 0.75 % of the diagonal.

    Returns:
        (N, classes) float64 from 0 to 1; NaN where a class has no boundary in either map.
    """
    reach = tolerance_in_pixels(*target.shape[-2:]) if tolerance is None else tolerance
    # Even with a smaller tolerance a neighbour that is not known may hide a boundary.
    wide = max(reach, 1.0)
    margin = math.ceil(wide)
    unknown = _Neighbourhood((target == IGNORE).short(), wide, margin)
    found, true = (
        _Neighbourhood(_boundaries(labels.short()), reach, margin) for labels in (predicted, target)
    )
    found_all, found_hit = _matched(found, true, unknown, classes)
    true_all, true_hit = _matched(true, found, unknown, classes)
    precision, recall = found_hit / found_all, true_hit / true_all
    f1 = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)
    # Where only one of the maps has the class, nothing of it is found.
    one_sided = (found_all == 0) != (true_all == 0)
    return torch.where(one_sided, 0.0, f1)


def _boundaries(labels: Tensor) -> Tensor:
    """(N, H, W): 1 + label of each boundary pixel, 0 elsewhere; unknown pixels are no neighbours."""
    edge = torch.zeros_like(labels, dtype=torch.bool)
    known = labels != IGNORE
    for axis in (1, 2):
        length = labels.shape[axis] - 1
        before, after = labels.narrow(axis, 0, length), labels.narrow(axis, 1, length)
        differs = (before != after) & known.narrow(axis, 0, length) & known.narrow(axis, 1, length)
        edge.narrow(axis, 0, length).logical_or_(differs)
        edge.narrow(axis, 1, length).logical_or_(differs)
    return torch.where(edge, 1 + labels, 0)


class _Neighbourhood:
    """A map whose few non-zero pixels are asked for, and which is asked what lies around a pixel.

    Boundaries are thin: looking around their pixels costs a tenth of spreading them over whole maps.

    Args:
        values: (N, H, W) int16, 0 where there is nothing.
        reach: radius in pixels.
        margin: pixels of padding, no less than `reach`; maps with the same margin have the same places.
    """

    def __init__(self, values: Tensor, reach: float, margin: int) -> None:
        padded = functional.pad(values, (margin, margin, margin, margin))
        self.pictures, self.area = len(values), padded[0].numel()
        self.flat = padded.flatten()
        self.places = self.flat.nonzero()[:, 0]
        width = padded.shape[-1]
        self.steps = torch.tensor([y * width + x for y, x in _disc(reach)], device=values.device)

    def around(self, places: Tensor) -> Tensor:
        """(K, D): the values within the radius of each of K flat places of a map of the same size."""
        return self.flat[places[:, None] + self.steps]


def _matched(
    own: _Neighbourhood, other: _Neighbourhood, unknown: _Neighbourhood, classes: int
) -> list[Tensor]:
    """(N, classes) boundary pixels that count, and those of them near one of the other map."""
    places = own.places
    if len(unknown.places):
        places = places[~unknown.around(places).any(1)]
    values = own.flat[places]
    hit = (other.around(places) == values[:, None]).any(1)
    rows = places // own.area * classes + values.long() - 1
    counts = [torch.bincount(chosen, minlength=own.pictures * classes) for chosen in (rows, rows[hit])]
    return [count.reshape(own.pictures, classes).double() for count in counts]


@cache
def _disc(reach: float) -> tuple[tuple[int, int], ...]:
    margin = range(-math.floor(reach), math.floor(reach) + 1)
    return tuple((y, x) for y in margin for x in margin if y * y + x * x <= reach * reach)
