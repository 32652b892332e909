"""Resampled intervals, differences and labels of scores."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UnsupportedError
from toolchain.evaluate.scores import Tally, labels_of

SIDE = 8


def tally(pictures: list[tuple[int, int]]) -> Tally:
    """One picture per (nose pixels hit, nose pixels missed) on a ground of background."""
    made = Tally(10, keep=2)
    for index, (hit, missed) in enumerate(pictures):
        truth, found = np.zeros((2, SIDE * SIDE), np.uint8)
        truth[: hit + missed] = 6
        found[:hit] = 6
        made.add(index, found.reshape(SIDE, SIDE), truth.reshape(SIDE, SIDE), 0.01 * (index + 1), None)
    return made


def f1(hit: int, missed: int) -> float:
    return 200 * hit / (2 * hit + missed)


def test_the_interval_is_that_of_resampled_pictures() -> None:
    pictures = [(10, 0)] * 12 + [(5, 5)] * 12
    low, high = tally(pictures).figures().overall_interval
    # The number of good pictures among 24 draws is binomial: 7 and 17 are its 2.5th and 97.5th percentiles.
    expected = [f1(10 * good + 5 * (24 - good), 5 * (24 - good)) for good in (7, 17)]
    assert [low, high] == pytest.approx(expected, abs=0.7)


def test_pictures_that_are_all_alike_leave_no_doubt() -> None:
    figures = tally([(6, 2)] * 5).figures()
    assert figures.overall_interval == pytest.approx((f1(6, 2), f1(6, 2)))


def test_differences_are_taken_on_the_same_pictures() -> None:
    better, worse = tally([(10, 0), (4, 6), (8, 2)]), tally([(9, 1), (3, 7), (7, 3)])
    figures = worse.figures(better)
    assert figures.difference == pytest.approx(f1(19, 11) - f1(22, 8))
    low, high = figures.difference_interval
    # Each of the pictures is worse, so that every resampled set is: the intervals alone would overlap.
    assert low <= figures.difference <= high < 0
    assert better.figures(better).difference_interval == (0.0, 0.0)


def test_the_worst_are_kept_and_time_is_the_median() -> None:
    made = tally([(10, 0), (1, 9), (8, 2), (0, 4), (9, 1)])
    assert [(bad.index, round(bad.error)) for bad in made.worst] == [(3, 100), (1, round(100 - f1(1, 9)))]
    assert made.figures().milliseconds == pytest.approx(30.0)


def test_agreement_counts_pixels() -> None:
    made = Tally(10, keep=0)
    found = np.zeros((SIDE, SIDE), np.uint8)
    other = found.copy()
    other[0, :4] = 1
    truth = np.full((SIDE, SIDE), 255, np.uint8)
    truth[4:] = 0
    made.add(0, found, truth, 0.0, other)
    figures = made.figures()
    # Pixels without annotation count here, and only here.
    assert figures.agreement == pytest.approx(1 - 4 / 64)
    assert figures.confusion.sum() == 32
    assert made.worst == []
    report = figures.as_json([f"class {index}" for index in range(10)])
    assert report["pixel_accuracy"] == 100
    assert report["boundary_f1"] is None
    assert [entry["f1"] for entry in report["classes"]] == [100.0, *[None] * 9]


def test_labels_of_scores() -> None:
    scores = np.zeros((10, 4, 4), np.int8)
    scores[3, 1, 2] = 5
    expected = np.zeros((4, 4), np.uint8)
    expected[1, 2] = 3
    assert np.array_equal(labels_of(scores, 4, 10, "x"), expected)
    assert np.array_equal(labels_of(expected.astype(np.float32), 4, 10, "x"), expected)
    assert np.array_equal(labels_of(expected, 8, 10, "x"), expected.repeat(2, 0).repeat(2, 1))
    # A wide score stays where it was.
    ramp = np.stack([np.tile(np.linspace(-1, 1, 4, dtype=np.float32), (4, 1)) * k for k in (-1, 1)])
    assert np.array_equal(labels_of(ramp, 8, 2, "x"), np.tile([0] * 4 + [1] * 4, (8, 1)))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.full((10, 4, 4), np.nan, np.float32), "NaN or infinite"),
        (np.full((4, 4), 10, np.int32), "labels from 10 to 10"),
        (np.full((4, 4), -1, np.int32), "labels from -1"),
    ],
)
def test_impossible_answers(scores: np.ndarray, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        labels_of(scores, 4, 10, "x")
