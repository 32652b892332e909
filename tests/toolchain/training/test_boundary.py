"""Boundary F1 against distances measured one by one, and on shapes whose score is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from toolchain.training.boundary import BoundaryF1, boundary_f1, tolerance_in_pixels
from toolchain.training.datasets.pairs import IGNORE

CLASSES = 3


def boundary(labels: np.ndarray, label: int) -> list[tuple[int, int]]:
    """Pixels of a class with a known neighbour of another one."""
    height, width = labels.shape
    found = []
    for y, x in np.argwhere(labels == label).tolist():
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        values = [labels[v, u] for v, u in around if 0 <= v < height and 0 <= u < width]
        if any(value not in (label, IGNORE) for value in values):
            found.append((y, x))
    return found


def measured(predicted: np.ndarray, target: np.ndarray, reach: float) -> list[float]:
    """The same score, from the distances of all pairs of pixels."""

    def near(pixel: tuple[int, int], others: list[tuple[int, int]], radius: float = reach) -> bool:
        return any(math.dist(pixel, other) <= radius for other in others)

    unknown = [tuple(pixel) for pixel in np.argwhere(target == IGNORE).tolist()]
    scores = []
    for label in range(CLASSES):
        found, true = boundary(predicted, label), boundary(target, label)
        found_counted = [pixel for pixel in found if not near(pixel, unknown, max(reach, 1.0))]
        true_counted = [pixel for pixel in true if not near(pixel, unknown, max(reach, 1.0))]
        if not found_counted and not true_counted:
            scores.append(math.nan)
            continue
        if not found_counted or not true_counted:
            scores.append(0.0)
            continue
        precision = sum(near(pixel, true) for pixel in found_counted) / len(found_counted)
        recall = sum(near(pixel, found) for pixel in true_counted) / len(true_counted)
        total = precision + recall
        scores.append(2 * precision * recall / total if total else 0.0)
    return scores


@settings(max_examples=60, deadline=None)
@given(
    predicted=arrays(np.int64, (7, 9), elements=st.integers(0, CLASSES - 1)),
    target=arrays(np.int64, (7, 9), elements=st.sampled_from([0, 0, 1, 1, 2, IGNORE])),
    reach=st.sampled_from([0.0, 1.0, 1.5, 2.7]),
)
def test_equals_distances_measured_one_by_one(
    predicted: np.ndarray, target: np.ndarray, reach: float
) -> None:
    made = boundary_f1(torch.from_numpy(predicted)[None], torch.from_numpy(target)[None], CLASSES, reach)
    assert made[0].tolist() == pytest.approx(measured(predicted, target, reach), nan_ok=True)


def square(left: int) -> torch.Tensor:
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[:, 8:24, left : left + 12] = 1
    return labels


@pytest.mark.parametrize(("shift", "score"), [(0, 1.0), (2, 1.0), (3, None)])
def test_a_shift_within_the_tolerance_costs_nothing(shift: int, score: float | None) -> None:
    made = float(boundary_f1(square(8 + shift), square(8), 2, tolerance=2.0)[0, 1])
    assert made == score if score is not None else 0 < made < 1


def test_where_the_unknown_begins_is_no_boundary() -> None:
    hidden = square(8)
    hidden[:, :, 14:] = IGNORE
    # The prediction ends elsewhere below what is unknown.
    assert boundary_f1(square(8), hidden, 2).tolist() == [[1.0, 1.0]]


@settings(max_examples=60, deadline=None)
@given(
    target=arrays(np.int64, (9, 9), elements=st.sampled_from([0, 0, 1, 1, 2, IGNORE])),
    below=arrays(np.int64, (9, 9), elements=st.integers(0, CLASSES - 1)),
    reach=st.sampled_from([0.3, 1.0, 2.7]),
)
def test_what_is_predicted_where_nothing_is_known_costs_nothing(
    target: np.ndarray, below: np.ndarray, reach: float
) -> None:
    predicted = np.where(target == IGNORE, below, target)
    made = boundary_f1(torch.from_numpy(predicted)[None], torch.from_numpy(target)[None], CLASSES, reach)
    assert set(made[~made.isnan()].tolist()) <= {1.0}


def test_pictures_without_a_class_do_not_count_for_it() -> None:
    metric = BoundaryF1(3, tolerance=1.0)
    empty = torch.zeros(1, 32, 32, dtype=torch.int64)
    metric.update(square(8), square(8))
    metric.update(empty, empty)
    # Found where there is none.
    metric.update(square(8), empty)
    assert metric.per_class().tolist() == pytest.approx([50.0, 50.0, math.nan], nan_ok=True)
    assert float(metric.compute()) == pytest.approx(50.0)


def test_default_tolerance_is_a_share_of_the_diagonal() -> None:
    assert tolerance_in_pixels(256, 256) == pytest.approx(2.715, abs=1e-3)
    assert tolerance_in_pixels(300, 400) == pytest.approx(3.75)
