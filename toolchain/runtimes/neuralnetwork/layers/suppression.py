"""Non-maximum suppression of boxes."""

from __future__ import annotations

from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes


@computes("NonMaximumSuppression")
def non_maximum_suppression(p: Any) -> Kernel:
    """The best boxes of [B, N, 4] (centre x, centre y, width, height) by their largest score in [B, N, C].

    Outputs: boxes [B, max, 4], scores [B, max, C], indices [B, max] (padded with 0, 0 and -1) and the number
    of boxes [B]. Where no score reaches the threshold the best box is given.
    """
    if p.perClassSuppression:
        raise UnsupportedError("perClassSuppression: the order of its results is not specified")

    def run(boxes: torch.Tensor, scores: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        stated = [p.iouThreshold, p.scoreThreshold, float(p.maxBoxes)]
        values = [float(value.item()) for value in given]
        overlap, least, most = values + stated[len(values) :]
        batch = [_selected(*pair, overlap, least, int(most)) for pair in zip(boxes, scores, strict=True)]
        indices = torch.full((len(batch), int(most)), -1.0)
        found_boxes, found_scores = (torch.zeros(len(batch), int(most), x.shape[-1]) for x in (boxes, scores))
        for row, chosen in enumerate(batch):
            found_boxes[row, : len(chosen)] = boxes[row, chosen]
            found_scores[row, : len(chosen)] = scores[row, chosen]
            indices[row, : len(chosen)] = torch.tensor(chosen, dtype=torch.float32)
        return found_boxes, found_scores, indices, torch.tensor([float(len(chosen)) for chosen in batch])

    return run


def _selected(
    boxes: torch.Tensor, scores: torch.Tensor, overlap: float, least: float, most: int
) -> list[int]:
    """Indices of the boxes that no better chosen one overlaps by more than `overlap`, best first."""
    best = scores.amax(-1)
    order = torch.argsort(best, dim=0, descending=True, stable=True)
    candidates = [int(index) for index in order if best[index] >= least]
    if not candidates:
        return [int(order[0])]
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    chosen: list[int] = []
    for index in candidates:
        if len(chosen) == most:
            break
        if not chosen or intersection_over_union(corners[index], corners[chosen]).max() <= overlap:
            chosen.append(index)
    return chosen


def intersection_over_union(box: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Common area over joint area of one box with others, all given by their corners; 0 without area."""
    low = torch.maximum(box[:2], others[:, :2])
    high = torch.minimum(box[2:], others[:, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    joint = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - common
    return torch.where(joint > 0, common / joint, 0.0)
