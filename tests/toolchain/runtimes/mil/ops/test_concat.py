"""Putting together and taking apart, against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
Y = X + 100


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(run_program: Callable, axis: int) -> None:
    (got,) = run_program(lambda mb, x, y: mb.concat(values=(x, y, x), axis=axis), {"x": X, "y": Y}).values()
    np.testing.assert_array_equal(got, np.concatenate([X, Y, X], axis))


def test_concat_of_one(run_program: Callable) -> None:
    (got,) = run_program(lambda mb, x: mb.concat(values=(x,), axis=0), {"x": X}).values()
    np.testing.assert_array_equal(got, X)


@pytest.mark.parametrize("axis", [0, -2])
def test_interleaved(run_program: Callable, axis: int) -> None:
    def build(mb, x, y):
        return mb.concat(values=(x, y), axis=axis, interleave=True)

    (got,) = run_program(build, {"x": X, "y": Y}).values()
    expected = np.empty_like(np.concatenate([X, Y], axis))
    moved = np.moveaxis(expected, axis, 0)
    moved[0::2], moved[1::2] = np.moveaxis(X, axis, 0), np.moveaxis(Y, axis, 0)
    np.testing.assert_array_equal(got, expected)


def test_concat_of_scalars_is_a_vector(run_program: Callable) -> None:
    def build(mb, x):
        parts = mb.split(x=mb.shape(x=x), num_splits=3, axis=0)
        return mb.concat(values=tuple(mb.squeeze(x=part) for part in parts[::-1]), axis=0)

    (got,) = run_program(build, {"x": X}).values()
    np.testing.assert_array_equal(got, np.array([4, 3, 2], np.int32))


@pytest.mark.parametrize("axis", [0, 3, -2])
def test_stack(run_program: Callable, axis: int) -> None:
    (got,) = run_program(lambda mb, x, y: mb.stack(values=(x, y), axis=axis), {"x": X, "y": Y}).values()
    np.testing.assert_array_equal(got, np.stack([X, Y], axis))


@pytest.mark.parametrize(
    ("parameters", "places", "axis"),
    [
        ({"num_splits": 2}, [2], -1),
        ({"split_sizes": [1, 2]}, [1], 1),
        ({"num_splits": 3, "split_sizes": [1, 0, 3]}, [1, 1], 2),
    ],
)
def test_split(run_program: Callable, parameters: dict, places: list[int], axis: int) -> None:
    got = run_program(lambda mb, x: mb.split(x=x, axis=axis, **parameters), {"x": X}).values()
    for part, expected in zip(got, np.split(X, places, axis), strict=True):
        np.testing.assert_array_equal(part, expected)
