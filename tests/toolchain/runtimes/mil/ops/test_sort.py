"""Ordering against numpy, suppression of boxes against a plain loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from toolchain.runtimes.mil.ops.sort import topk

GENERATOR = np.random.default_rng(19)
X = GENERATOR.permutation(60).reshape(3, 4, 5).astype(np.float32)


@pytest.mark.parametrize(
    ("parameters", "ios"),
    [
        ({}, 15),
        ({"k": 3, "axis": 1}, 15),
        ({"k": 2, "axis": 0, "ascending": True}, 15),
        ({"k": 2, "sort": False}, 16),
        ({"k": 2, "return_indices": False}, 16),
        ({"k": 4, "output_indices_dtype": "uint16"}, 17),
    ],
)
def test_topk(run_program: Callable, parameters: dict, ios: int) -> None:
    axis, count = parameters.get("axis", -1), parameters.get("k", 1)

    def build(mb, x):
        values = mb.topk(x=x, **parameters)
        if "output_indices_dtype" in parameters:
            return values[0], mb.cast(x=values[1], dtype="int32")
        return values

    got = list(run_program(build, {"x": X}, ios).values())
    order = np.argsort(X if parameters.get("ascending") else -X, axis)
    order = np.moveaxis(np.moveaxis(order, axis, 0)[:count], 0, axis)
    np.testing.assert_array_equal(got[0], np.take_along_axis(X, order, axis))
    if parameters.get("return_indices", True):
        assert got[1].dtype == np.int32
        np.testing.assert_array_equal(got[1], order)


def test_a_k_of_minus_one_is_all() -> None:
    # coremltools cannot write it, though its documentation has it.
    values, indices = topk(torch.from_numpy(X), torch.tensor(-1), torch.tensor(1))
    np.testing.assert_array_equal(values, -np.sort(-X, 1))
    np.testing.assert_array_equal(indices, np.argsort(-X, 1))


@pytest.mark.parametrize("parameters", [{}, {"axis": 0}, {"axis": 1, "ascending": True}])
def test_argsort(run_program: Callable, fold_program: Callable, parameters: dict) -> None:
    def build(mb, x):
        return mb.argsort(x=x, **parameters)

    (got,) = run_program(build, {"x": X}).values()
    np.testing.assert_array_equal(got, fold_program(build, {"x": X})[0])


def test_equal_elements_keep_their_order(run_program: Callable) -> None:
    def build(mb, x):
        return [mb.argsort(x=x), mb.topk(x=x, k=3)[1]]

    order, best = run_program(build, {"x": np.array([1, 2, 1, 2], np.float32)}).values()
    np.testing.assert_array_equal(order, [1, 3, 0, 2])
    np.testing.assert_array_equal(best, [1, 3, 0])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    shared = 1.0
    for axis in (0, 1):
        low = max(box[axis] - box[axis + 2] / 2 for box in (one, other))
        high = min(box[axis] + box[axis + 2] / 2 for box in (one, other))
        shared *= max(0.0, high - low)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _kept(boxes: np.ndarray, scores: np.ndarray, overlap: float, lowest: float, by_class: bool) -> list[int]:
    best, kinds = scores.max(1), scores.argmax(1)
    kept: list[int] = []
    for place in np.argsort(-best):
        rivals = [other for other in kept if not by_class or kinds[other] == kinds[place]]
        if best[place] >= lowest and all(_overlap(boxes[place], boxes[other]) <= overlap for other in rivals):
            kept.append(int(place))
    return kept or [int(best.argmax())]


@pytest.mark.parametrize("ios", [15, 17])
@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize(("overlap", "lowest"), [(0.3, 0.0), (0.1, 40.0), (0.3, 1000.0)])
def test_suppression(run_program: Callable, ios: int, by_class: bool, overlap: float, lowest: float) -> None:
    count, keep = 30, 8
    boxes = GENERATOR.uniform(10, 60, (2, count, 4)).astype(np.float32)
    scores = GENERATOR.uniform(-100, 100, (2, count, 3)).astype(np.float32)
    threshold = {} if ios == 17 else {"score_threshold": lowest}

    def build(mb, boxes, scores):
        return mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=overlap,
            max_boxes=keep,
            per_class_suppression=by_class,
            **threshold,
        )

    inputs = {"boxes": boxes, "scores": scores}
    if ios == 17:
        inputs = {name: np.ascontiguousarray(value.swapaxes(1, 2)) for name, value in inputs.items()}
    got = list(run_program(build, inputs, ios).values())
    if ios == 17:
        got[:2] = [value.swapaxes(1, 2) for value in got[:2]]
        lowest = -np.inf
    for sample in range(2):
        kept = _kept(boxes[sample], scores[sample], overlap, lowest, by_class)[:keep]
        padding = keep - len(kept)
        np.testing.assert_array_equal(got[0][sample], np.pad(boxes[sample, kept], ((0, padding), (0, 0))))
        np.testing.assert_array_equal(got[1][sample], np.pad(scores[sample, kept], ((0, padding), (0, 0))))
        np.testing.assert_array_equal(got[2][sample], kept + [-1] * padding)
        if ios == 15:
            assert got[3][sample] == len(kept)
