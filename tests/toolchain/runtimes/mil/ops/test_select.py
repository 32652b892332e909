"""Conditions and tensors made from numbers, against coremltools' own evaluation and numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

GENERATOR = np.random.default_rng(7)
X = GENERATOR.normal(size=(2, 4, 5)).astype(np.float32)
INTEGERS = GENERATOR.integers(-9, 9, (3, 4)).astype(np.int32)


def test_select_broadcasts(run_program: Callable) -> None:
    def build(mb, x, y):
        return mb.select(cond=mb.greater(x=x, y=0.0), a=mb.expand_dims(x=y, axes=[0]), b=x)

    y = GENERATOR.normal(size=(1, 5)).astype(np.float32)
    (got,) = run_program(build, {"x": X, "y": y}).values()
    np.testing.assert_array_equal(got, np.where(X > 0, y[None], X))


ROWS: list[tuple[str, np.ndarray, dict[str, Any]]] = [
    ("band_part", X, {}),
    ("band_part", X, {"lower": 0, "upper": -1}),
    ("band_part", X, {"lower": 1, "upper": 2}),
    ("band_part", INTEGERS, {"lower": 0, "upper": 0}),
    ("cumsum", X, {}),
    ("cumsum", X, {"axis": 2, "reverse": True}),
    ("cumsum", INTEGERS, {"axis": -1}),
]


@pytest.mark.parametrize(("op", "x", "parameters"), ROWS)
def test_as_coremltools(
    run_program: Callable, fold_program: Callable, op: str, x: np.ndarray, parameters: dict
) -> None:
    def build(mb, x):
        return getattr(mb, op)(x=x, **parameters)

    (got,) = run_program(build, {"x": x}).values()
    assert got.dtype == x.dtype
    np.testing.assert_allclose(got, fold_program(build, {"x": x})[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_exclusive_sums(run_program: Callable, reverse: bool) -> None:
    # coremltools' own evaluation of `exclusive` fails, numpy has to stand in.
    def build(mb, x):
        return mb.cumsum(x=x, axis=1, exclusive=True, reverse=reverse)

    turned = X[:, ::-1] if reverse else X
    sums = np.concatenate([np.zeros((2, 1, 5), np.float32), np.cumsum(turned, 1)[:, :-1]], 1)
    (got,) = run_program(build, {"x": X}).values()
    np.testing.assert_allclose(got, sums[:, ::-1] if reverse else sums, rtol=1e-6, atol=1e-6)


def test_non_zero(run_program: Callable) -> None:
    x = np.where(np.abs(X) < 0.7, 0, X).astype(np.float32)
    (got,) = run_program(lambda mb, x: mb.non_zero(x=x), {"x": x}).values()
    np.testing.assert_array_equal(got, np.argwhere(x).astype(np.int32))


@pytest.mark.parametrize(
    ("parameters", "dtype"),
    [
        ({}, np.int32),
        ({"axis": 0, "on_value": 2.5, "off_value": -1.0}, np.float32),
        ({"axis": 1, "on_value": np.int32(7), "off_value": np.int32(3)}, np.int32),
    ],
)
def test_one_hot(run_program: Callable, parameters: dict, dtype: type) -> None:
    indices = np.array([[1, 0, 3], [2, 3, 4]], np.int32)

    def build(mb, indices):
        return mb.one_hot(indices=indices, one_hot_vector_size=4, **parameters)

    (got,) = run_program(build, {"indices": indices}).values()
    expected = np.full((2, 3, 4), parameters.get("off_value", 0), dtype)
    for place in np.ndindex(2, 3):
        # The index 4 is outside: all off.
        expected[place][indices[place] : indices[place] + 1] = parameters.get("on_value", 1)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.moveaxis(expected, -1, parameters.get("axis", -1)))


@pytest.mark.parametrize(
    "bounds",
    [
        np.array([2, 11, 3], np.int32),
        np.array([5, -2, -2], np.int32),
        np.array([0, 1.2, 0.4], np.float32),
        np.array([3, 1, 1], np.float32),
    ],
)
def test_range_1d(run_program: Callable, bounds: np.ndarray) -> None:
    def build(mb, bounds):
        start, end, step = (mb.squeeze(x=part) for part in mb.split(x=bounds, num_splits=3, axis=0))
        return mb.range_1d(start=start, end=end, step=step)

    (got,) = run_program(build, {"bounds": bounds}).values()
    assert got.dtype == bounds.dtype
    np.testing.assert_allclose(got, np.arange(*bounds), rtol=1e-6)


def test_a_range_without_step_is_refused(run_program: Callable) -> None:
    def build(mb, step):
        return mb.range_1d(start=0, end=3, step=mb.squeeze(x=step))

    with pytest.raises(UnsupportedError, match="step"):
        run_program(build, {"step": np.zeros(1, np.int32)})


@pytest.mark.parametrize("value", [None, np.float32(2.5), np.int32(-3)])
@pytest.mark.parametrize("like", [False, True])
def test_fill(run_program: Callable, value: Any, like: bool) -> None:
    parameters = {} if value is None else {"value": value}

    def build(mb, x):
        if like:
            return mb.fill_like(ref_tensor=x, **parameters)
        return mb.fill(shape=mb.shape(x=x), **parameters)

    (got,) = run_program(build, {"x": X}, 16).values()
    expected = np.full(X.shape, 0.0 if value is None else value, np.float32 if value is None else value.dtype)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
