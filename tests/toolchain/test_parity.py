"""SQNR, agreement and gates against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolchain.parity import channels_first, channels_last, compare, failures, from_file, to_file
from toolchain.spec import CLASSIFICATION, GENERIC, SEGMENTATION, Parity, TensorSpec


def test_sqnr_of_a_known_error() -> None:
    expected = [{"y": np.full((1, 4), 10.0, np.float32)}]
    actual = [{"y": np.full((1, 4), 10.1, np.float32)}]
    parity = compare(expected, actual, GENERIC)
    # Signal 100, noise 0.01 an element: 40 dB.
    assert parity.sqnr_db == pytest.approx(40.0, abs=1e-4)
    assert parity.max_abs == pytest.approx(0.1, abs=1e-5)
    assert parity.agreement is None


def test_the_worst_output_counts() -> None:
    expected = [{"a": np.ones((1, 2)), "b": np.ones((1, 2))}]
    actual = [{"a": np.ones((1, 2)), "b": np.ones((1, 2)) * 1.1}]
    assert compare(expected, actual, GENERIC).sqnr_db == pytest.approx(20.0, abs=1e-6)


def test_equal_arrays_have_infinite_sqnr() -> None:
    same = [{"y": np.arange(6.0).reshape(1, 6)}]
    assert compare(same, same, GENERIC).sqnr_db == math.inf


def test_all_zero_reference_with_an_error_fails() -> None:
    parity = compare([{"y": np.zeros((1, 3))}], [{"y": np.full((1, 3), 1e-9)}], GENERIC)
    assert parity.sqnr_db == -math.inf
    assert failures(parity, "fp32", GENERIC)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_on_one_side_fail(bad: float) -> None:
    expected = np.ones((1, 3), np.float32)
    actual = expected.copy()
    actual[0, 1] = bad
    parity = compare([{"y": expected}], [{"y": actual}], GENERIC)
    assert parity.sqnr_db == -math.inf
    assert failures(parity, "fp32", GENERIC)


def test_infinities_in_the_same_place_agree() -> None:
    values = np.array([[1.0, np.inf, -np.inf, np.nan]])
    assert compare([{"y": values}], [{"y": values.copy()}], GENERIC).sqnr_db == math.inf


def test_agreement_counts_pixels() -> None:
    expected = np.zeros((1, 2, 2, 2), np.float32)
    expected[0, 1] = 1
    actual = expected.copy()
    actual[0, :, 0, 0] = [1, 0]
    assert compare([{"y": expected}], [{"y": actual}], SEGMENTATION).agreement == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("precision", "sqnr", "agreement", "task", "count"),
    [
        ("fp32", 80.0, 1.0, SEGMENTATION, 0),
        ("fp32", 79.9, 1.0, SEGMENTATION, 1),
        ("fp16", 45.0, 0.5, SEGMENTATION, 0),
        ("fp16", 44.0, 1.0, GENERIC, 1),
        ("int8", 10.0, 0.99, SEGMENTATION, 0),
        ("int8", 90.0, 0.98, SEGMENTATION, 1),
        ("w8", 90.0, 0.98, CLASSIFICATION, 0),
        ("w8", 90.0, 0.97, CLASSIFICATION, 1),
        ("fp32", math.nan, 1.0, SEGMENTATION, 1),
    ],
)
def test_gates(precision: str, sqnr: float, agreement: float, task: str, count: int) -> None:
    assert len(failures(Parity(sqnr, 0.0, agreement, 1), precision, task)) == count


def test_layouts_round_trip() -> None:
    picture = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert channels_last(picture).shape == (2, 4, 5, 3)
    assert np.array_equal(channels_first(channels_last(picture)), picture)
    tensors = [TensorSpec("a", (2, 4, 5, 3), layout="NHWC"), TensorSpec("b", (2, 3), layout="")]
    feeds = {"a": picture, "b": np.ones((2, 3))}
    assert np.array_equal(from_file(to_file(feeds, tensors), tensors)["a"], picture)
