"""Parts of tensors, against numpy's indexing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.ops.slice import slice_by_index, slice_update

X = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)

ROWS = [
    ({"begin": [1, 0, 2], "end": [3, 5, 4]}, np.s_[1:3, :, 2:4]),
    ({"begin": [0, -3, 1], "end": [-1, -1, 6]}, np.s_[:-1, -3:-1, 1:]),
    ({"begin": [0, 0, 0], "end": [4, 5, 6], "stride": [2, 3, 1]}, np.s_[::2, ::3]),
    (
        {"begin": [3, 4, 5], "end": [0, 1, 0], "stride": [-1, -2, -3]},
        np.s_[3:0:-1, 4:1:-2, 5:0:-3],
    ),
    (
        {
            "begin": [3, 2, 1],
            "end": [0, 1, 2],
            "stride": [-1, 1, 2],
            "begin_mask": [True, False, True],
            "end_mask": [True, True, True],
        },
        np.s_[::-1, 2:, ::2],
    ),
    ({"begin": [2, 0, 0], "end": [0, 5, 6], "squeeze_mask": [True, False, False]}, np.s_[2]),
    ({"begin": [0, -1, 3], "end": [4, 0, 0], "squeeze_mask": [False, True, True]}, np.s_[:, -1, 3]),
    (
        {
            "begin": [9, 1, 0],
            "end": [9, 3, 2],
            "begin_mask": [True, False, False],
            "squeeze_mask": [True, False, False],
        },
        np.s_[0, 1:3, :2],
    ),
]


@pytest.mark.parametrize(("parameters", "picked"), ROWS)
def test_slice_by_index(run_program: Callable, parameters: dict, picked: tuple) -> None:
    (got,) = run_program(lambda mb, x: mb.slice_by_index(x=x, **parameters), {"x": X}).values()
    np.testing.assert_array_equal(got, X[picked])


@pytest.mark.parametrize(("parameters", "picked"), ROWS)
def test_slice_update(run_program: Callable, parameters: dict, picked: tuple) -> None:
    expected = X.copy()
    update = -1 - np.arange(X[picked].size, dtype=np.float32).reshape(X[picked].shape)
    expected[picked] = update

    def build(mb, x, update):
        return mb.slice_update(x=x, update=update, **parameters)

    (got,) = run_program(build, {"x": X, "update": update}, 18).values()
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("begin", "size", "picked"),
    [([1, 2, 0], [2, 1, 6], np.s_[1:3, 2:3]), ([0, -2, 3], [4, -1, -1], np.s_[:, -2:, 3:])],
)
def test_slice_by_size(run_program: Callable, begin: list[int], size: list[int], picked: tuple) -> None:
    # The place comes at run time, as with dynamic shapes.
    def build(mb, x, begin):
        return mb.slice_by_size(x=x, begin=begin, size=size)

    (got,) = run_program(build, {"x": X, "begin": np.array(begin, np.int32)}).values()
    np.testing.assert_array_equal(got, X[picked])


def test_a_size_beyond_the_end_is_refused(run_program: Callable) -> None:
    def build(mb, x, begin):
        return mb.slice_by_size(x=x, begin=begin, size=[2, 1, 1])

    with pytest.raises(UnsupportedError, match="axis 0 of 4"):
        run_program(build, {"x": X, "begin": np.array([3, 0, 0], np.int32)})


def test_an_element_that_is_not_there_is_refused(run_program: Callable) -> None:
    def build(mb, x, begin):
        return mb.slice_by_index(x=x, begin=begin, end=[4, 5, 6], squeeze_mask=[True, False, False])

    with pytest.raises(UnsupportedError, match="no element 4"):
        run_program(build, {"x": X, "begin": np.array([4, 0, 0], np.int32)})


PLACE = st.integers(-9, 9)


@given(PLACE, PLACE, PLACE.filter(bool), st.booleans(), st.booleans())
def test_every_slice_is_numpys(start: int, stop: int, step: int, from_first: bool, to_last: bool) -> None:
    x = torch.arange(7)
    picked = slice(None if from_first else start, None if to_last else stop, step)
    parameters = {
        "begin": torch.tensor([start]),
        "end": torch.tensor([stop]),
        "stride": torch.tensor([step]),
        "begin_mask": torch.tensor([from_first]),
        "end_mask": torch.tensor([to_last]),
    }
    part = slice_by_index(x, **parameters)
    np.testing.assert_array_equal(part.numpy(), x.numpy()[picked])
    expected = x.numpy().copy()
    expected[picked] += 10
    np.testing.assert_array_equal(slice_update(x, part + 10, **parameters).numpy(), expected)
