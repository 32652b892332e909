"""Figures of a demo against numpy, and steadiness on pictures whose motion is known."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.demo.figures import EVERY, Agreement, Figures, Quantiles, Steadiness
from toolchain.face.engine import ParsedFrame, TrackedFace
from toolchain.face.region import Box


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=300), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_quantiles_are_within_half_a_bin(values, share):
    counted = Quantiles()
    for value in values:
        counted.add(value)
    exact = np.quantile(values, share, method="inverted_cdf")
    assert counted.quantile(share) == pytest.approx(exact, rel=0.006)
    assert counted.mean == pytest.approx(np.mean(values))
    assert counted.count == len(values)


def test_nothing_has_no_quantile_and_extremes_stay_in_range():
    counted = Quantiles()
    assert math.isnan(counted.quantile(0.5))
    assert counted.as_json() is None
    counted.add(0.0)
    counted.add(1e12)
    assert counted.quantile(0.5) == pytest.approx(1e-3)
    assert counted.quantile(1.0) > 1e5


def test_agreement_counts_all_pixels_and_face_pixels():
    first, second = np.zeros((2, 10, 10), np.uint8)
    first[2:6, 2:6] = 1
    second[2:6, 3:7] = 1
    agreement = Agreement()
    differs = agreement.add(first, second)
    np.testing.assert_array_equal(differs > 0, first != second)
    assert agreement.of_all == pytest.approx(0.92)
    assert agreement.of_face == pytest.approx(12 / 20)
    agreement.add(first, first)
    assert agreement.of_all == pytest.approx(0.96)


def test_rates_and_glass_to_glass():
    figures = Figures()
    for number in range(11):
        figures.add_stages({"crop": 2.0, "inference": 6.0}, {"inference": 4.0}, faces=number % 2)
        figures.add_shown(now=10 + number / 20, arrival=10 + number / 20 - 0.03)
    made = figures.as_json()
    assert made["fps"] == pytest.approx(20, abs=0.01)
    assert figures.recent_rate == pytest.approx(20)
    assert made["glass_to_glass"]["p90"] == pytest.approx(30, rel=0.01)
    assert made["stages"]["total"]["p50"] == pytest.approx(12, rel=0.01)
    assert made["second_stages"]["inference"]["p50"] == pytest.approx(4, rel=0.01)
    assert (made["faces"], made["with_face"]) == (1, round(5 / 11, 6))


@pytest.fixture(scope="module")
def scene():
    """A texture, and a disc of face on it."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    labels = np.zeros((240, 320), np.uint8)
    cv2.circle(labels, (160, 120), 50, 1, -1)
    return cv2.GaussianBlur(noise, (0, 0), 3), labels


def steadiness(scene, step, flicker):
    """Of frames that move by `step` pixels, of which every second one lacks a part of its labels."""
    picture, labels = scene
    found = Steadiness()
    for number in range(3 * EVERY):
        shift = np.array([[1.0, 0.0, number * step], [0.0, 1.0, 0.0]])
        moved = cv2.warpAffine(picture, shift, (320, 240), borderMode=cv2.BORDER_REFLECT)
        now = cv2.warpAffine(labels, shift, (320, 240), flags=cv2.INTER_NEAREST)
        if flicker and number % 2:
            now[100:140] = 0
        box = Box(110.0 + number * step, 70.0, 100.0, 100.0)
        face = TrackedFace(1, box, np.empty(0), np.empty(0), 1.0)
        found.add(moved, ParsedFrame((face,), now, False))
    return found


def test_labels_that_move_with_the_picture_are_steady(scene):
    for step in (0, 3):
        found = steadiness(scene, step, flicker=False)
        assert found.compared > 10_000
        assert found.share > 0.995
    assert steadiness(scene, 3, flicker=True).share < 0.75
