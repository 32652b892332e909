"""Non-maximum suppression on boxes whose overlaps are known."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

BOXES = np.array([[[1, 1, 2, 2], [1, 1.5, 2, 2], [5, 5, 2, 2], [1, 2, 2, 2], [9, 9, 1, 1]]], np.float32)
"""The second overlaps the first by 0.6, the fourth the first by 1/3 and the second by 0.6."""

SCORES = np.array([[[0.6, 0.1], [0.2, 0.8], [0.5, 0.4], [0.7, 0.3], [0.05, 0.1]]], np.float32)


def build(count, inputs=("x", "x1"), **options):
    return lambda b: b.add_nms("n", list(inputs), ["y", "y1", "y2", "y3"], max_boxes=count, **options)


def expected(indices, count):
    boxes, scores = np.zeros((1, count, 4)), np.zeros((1, count, 2))
    boxes[0, : len(indices)], scores[0, : len(indices)] = BOXES[0, indices], SCORES[0, indices]
    places = np.full((1, count), -1.0)
    places[0, : len(indices)] = indices
    return boxes, scores, places, np.array([len(indices)])


@pytest.mark.parametrize(
    ("options", "count", "indices"),
    [
        ({"iou_threshold": 0.5, "score_threshold": 0.3}, 4, [1, 2]),
        ({"iou_threshold": 0.5, "score_threshold": 0.0}, 4, [1, 2, 4]),
        ({"iou_threshold": 0.65, "score_threshold": 0.3}, 4, [1, 3, 0, 2]),
        ({"iou_threshold": 0.65, "score_threshold": 0.3}, 2, [1, 3]),
        ({"iou_threshold": 0.5, "score_threshold": 0.95}, 2, [1]),
    ],
)
def test_suppression(check_layers, options, count, indices):
    check_layers(build(count, **options), [BOXES, SCORES], expected(indices, count))


def test_limits_as_inputs(check_layers):
    limits = [np.array([value], np.float32) for value in (0.65, 0.3, 3)]
    inputs = ["x", *(f"x{index}" for index in range(1, 5))]
    check_layers(build(1, inputs), [BOXES, SCORES, *limits], expected([1, 3, 0], 3))


def test_suppression_per_class_is_refused(run_layers):
    with pytest.raises(UnsupportedError, match="NonMaximumSuppression 'n': perClassSuppression"):
        run_layers(build(3, per_class_suppression=True), [BOXES, SCORES], 4)
