"""Operators that order elements. Among equal ones the first comes first."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, number

ALL = -1
NO_BOX = -1


@computes("topk")
def topk(
    x: Tensor,
    k: Tensor | int = 1,
    axis: Tensor | int = -1,
    ascending: Tensor | bool = False,
    sort: Tensor | bool = True,
    return_indices: Tensor | bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements along `axis` and their int32 indices; a k of -1 takes all.

    Unsorted results have no defined order in Core ML; they are sorted here as well. Indices of type uint16
    are held as int32.
    """
    place = int(number(axis))
    count = x.shape[place] if int(number(k)) == ALL else int(number(k))
    if count > x.shape[place]:
        raise UnsupportedError(f"topk: {count} of {x.shape[place]} elements")
    values, indices = x.sort(dim=place, descending=not flag(ascending), stable=True)
    values = values.narrow(place, 0, count)
    if not flag(return_indices):
        return values
    return values, indices.narrow(place, 0, count).to(torch.int32)


@computes("argsort")
def argsort(x: Tensor, axis: Tensor | int = -1, ascending: Tensor | bool = False) -> Tensor:
    """Int32 indices that order the elements along `axis`."""
    return x.argsort(dim=int(number(axis)), descending=not flag(ascending), stable=True).to(torch.int32)


@computes("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: Tensor,
    max_boxes: Tensor,
    score_threshold: Tensor | None = None,
    per_class_suppression: Tensor | bool = False,
) -> tuple[Tensor, ...]:
    """The best boxes that do not overlap better ones too much, as Core ML's NonMaximumSuppression layer does.

    A box's score is its best one over the classes; per class, only boxes of the same best class suppress each
    other. Where no score reaches the threshold the best box is kept. Boxes are (x, y, width, height) with
    (x, y) the centre.

    Args:
        boxes: (n, B, 4); from iOS 17 on, which has no `score_threshold`, (n, 4, B).
        scores: (n, B, K); from iOS 17 on (n, K, B).
        iou_threshold: boxes with a larger intersection over union than that are suppressed.
        max_boxes: M, how many are kept.
        score_threshold: boxes below are left out; up to iOS 16.
        per_class_suppression: see above.

    Returns:
        Kept boxes and scores in the layout of the inputs with M for B, padded with 0; their int32 indices
        (n, M), padded with -1; and up to iOS 16 their int32 counts (n,).
    """
    newer = score_threshold is None
    if newer:
        boxes, scores = boxes.mT, scores.mT
    count = int(number(max_boxes))
    indices = torch.full((len(boxes), count), NO_BOX, dtype=torch.int32)
    kept_boxes = torch.zeros(len(boxes), count, boxes.shape[2])
    kept_scores = torch.zeros(len(boxes), count, scores.shape[2])
    counts = torch.zeros(len(boxes), dtype=torch.int32)
    lowest = -torch.inf if score_threshold is None else number(score_threshold)
    for sample, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        kept = _suppressed(box, score, float(number(iou_threshold)), lowest, flag(per_class_suppression))[
            :count
        ]
        counts[sample] = len(kept)
        indices[sample, : len(kept)] = kept
        kept_boxes[sample, : len(kept)] = box[kept]
        kept_scores[sample, : len(kept)] = score[kept]
    if newer:
        return kept_boxes.mT, kept_scores.mT, indices
    return kept_boxes, kept_scores, indices, counts


def _suppressed(boxes: Tensor, scores: Tensor, threshold: float, lowest: float, per_class: bool) -> Tensor:
    """Indices of the boxes that survive, the best first."""
    best, kinds = scores.max(1)
    order = best.argsort(descending=True, stable=True)
    candidates = order[best[order] >= lowest]
    if len(candidates) == 0:
        return order[:1]
    overlapping = _overlaps(boxes[candidates]) > threshold
    if per_class:
        overlapping &= kinds[candidates][:, None] == kinds[candidates]
    alive = torch.ones(len(candidates), dtype=torch.bool)
    for place in range(len(candidates)):
        if alive[place]:
            alive[place + 1 :] &= ~overlapping[place, place + 1 :]
    return candidates[alive]


def _overlaps(boxes: Tensor) -> Tensor:
    """(B, 4) boxes (x, y, width, height) -> (B, B) intersections over unions; 0 for boxes without area."""
    centre, size = boxes[:, :2], boxes[:, 2:]
    low, high = centre - size / 2, centre + size / 2
    shared = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0).prod(2)
    area = size.prod(1)
    union = area[:, None] + area - shared
    return torch.where(union > 0, shared / union, 0.0)
