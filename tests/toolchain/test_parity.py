"""SQNR, agreement and gates against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolchain.errors import UsageError
from toolchain.parity import (
    channels_first,
    channels_last,
    compare,
    failures,
    from_file,
    from_pixels,
    to_file,
    to_pixels,
)
from toolchain.spec import CLASSIFICATION, GENERIC, SEGMENTATION, ModelSpec, Parity, Preprocess, TensorSpec


def spec_of(task: str, dtype: str = "float32") -> ModelSpec:
    return ModelSpec("net", task, (), (TensorSpec("y", (1, 4), dtype),))


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
    assert failures(parity, "fp32", spec_of(GENERIC))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_on_one_side_fail(bad: float) -> None:
    expected = np.ones((1, 3), np.float32)
    actual = expected.copy()
    actual[0, 1] = bad
    parity = compare([{"y": expected}], [{"y": actual}], GENERIC)
    assert parity.sqnr_db == -math.inf
    assert failures(parity, "fp32", spec_of(GENERIC))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "int8"])
def test_labels_that_agree_do_not_excuse_what_is_not_finite(precision: str) -> None:
    expected = np.array([[0.0, 1.0, 2.0]], np.float32)
    actual = np.array([[-np.inf, 1.0, 2.0]], np.float32)
    parity = compare([{"y": expected}], [{"y": actual}], CLASSIFICATION)
    assert (parity.agreement, parity.max_abs) == (1.0, math.inf)
    assert len(failures(parity, precision, spec_of(CLASSIFICATION))) == 1


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
        ("int8", 10.0, None, GENERIC, 0),
        ("w8", 9.9, None, GENERIC, 1),
        ("palette4", -math.inf, None, GENERIC, 1),
    ],
)
def test_gates(precision: str, sqnr: float, agreement: float | None, task: str, count: int) -> None:
    assert len(failures(Parity(sqnr, 0.0, agreement, 1), precision, spec_of(task))) == count


@pytest.mark.parametrize(
    ("max_drop", "agreement", "count"),
    [(100.0, 0.0, 0), (5.0, 0.95, 0), (5.0, 0.9499, 1), (0.5, 0.995, 0), (0.5, 0.994, 1), (0.0, 0.9999, 1)],
)
def test_a_drop_that_is_asked_for_is_the_gate(max_drop: float, agreement: float, count: int) -> None:
    found = failures(Parity(20.0, 0.0, agreement, 1), "int8", spec_of(SEGMENTATION), max_drop)
    assert len(found) == count
    assert not found or found[0].endswith(f"is below {100 - max_drop:g}%")


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_of_labels_only_the_agreement_counts(dtype: type) -> None:
    expected, actual = np.zeros((1, 4, 4), np.int64), np.zeros((1, 4, 4), dtype)
    actual[0, 0, 0] = 3
    parity = compare([{"y": expected}], [{"y": actual}], SEGMENTATION)
    assert parity.agreement == pytest.approx(15 / 16)
    found = failures(parity, "fp32", spec_of(SEGMENTATION, "int64"))
    assert len(found) == 1
    assert "agreement" in found[0]


def test_pixels_survive_normalization_exactly() -> None:
    preprocess = Preprocess(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    pixels = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3)[None]
    assert np.array_equal(to_pixels(from_pixels(pixels, preprocess), preprocess), pixels)


def test_a_file_that_takes_pixels_is_fed_pixels() -> None:
    preprocess = Preprocess(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
    image = TensorSpec("image", (1, 2, 2, 3), "uint8", "NHWC", image="RGB")
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    fed = to_file({"image": from_pixels(pixels, preprocess)}, [image], preprocess)["image"]
    assert fed.dtype == np.uint8
    assert np.array_equal(fed, channels_last(pixels))
    with pytest.raises(UsageError, match="image"):
        to_file({"image": from_pixels(pixels, preprocess)}, [image])


def test_layouts_round_trip() -> None:
    picture = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert channels_last(picture).shape == (2, 4, 5, 3)
    assert np.array_equal(channels_first(channels_last(picture)), picture)
    tensors = [TensorSpec("a", (2, 4, 5, 3), layout="NHWC"), TensorSpec("b", (2, 3), layout="")]
    feeds = {"a": picture, "b": np.ones((2, 3))}
    assert np.array_equal(from_file(to_file(feeds, tensors), tensors)["a"], picture)
