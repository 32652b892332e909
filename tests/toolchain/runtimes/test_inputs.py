"""What every runtime does with arrays that fit, nearly fit, or do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from toolchain.errors import UsageError
from toolchain.runtimes.base import check_threads, fitting_array, fitting_arrays
from toolchain.spec import TensorSpec

IMAGE = TensorSpec("image", (1, 4, 5, 3))


@pytest.mark.parametrize(
    ("wanted", "array"),
    [
        ("float32", np.linspace(-1, 1, 6)),
        ("float32", np.linspace(-1, 1, 6).astype(np.float16)),
        ("float32", np.linspace(-1, 1, 6).astype(">f4")),
        ("float32", np.array([np.inf, -np.inf, np.nan, 0, 1, 2])),
        ("float64", np.linspace(-1, 1, 6).astype(np.float32)),
        ("int8", np.array([-128, 127, 0, 1, 2, 3])),
        ("int32", np.arange(6, dtype=np.uint8)),
        ("uint8", np.array([0, 255, 1, 2, 3, 4], np.int64)),
        ("bool", np.array([True, False] * 3)),
    ],
)
def test_arrays_of_another_width_keep_their_values(wanted, array):
    fitted = fitting_array(TensorSpec("x", (6,), wanted), array)
    assert fitted.dtype == np.dtype(wanted)
    assert fitted.dtype.isnative
    np.testing.assert_array_equal(fitted, array.astype(wanted))


@pytest.mark.parametrize(
    ("wanted", "array", "reason", "hint"),
    [
        ("float32", np.zeros(6, np.uint8), "is uint8, not float32", "range that the network was trained on"),
        ("float32", np.zeros(6, int), "is int64, not float32", "array.astype('float32')"),
        ("float32", np.zeros(6, bool), "is bool, not float32", "astype"),
        ("float32", np.zeros(6, complex), "is complex128, not float32", "astype"),
        ("float32", np.full(6, 1e300), "values do not fit", "float32"),
        ("float16", np.full(6, 1e6, np.float32), "values do not fit", "float16"),
        ("int8", np.full(6, 200), "values do not fit", "-128 to 127"),
        ("uint8", np.full(6, -1), "values do not fit", "0 to 255"),
        ("int8", np.zeros(6, np.float32), "is float32, not int8", "astype('int8')"),
        ("bool", np.zeros(6, np.uint8), "is uint8, not bool", "astype('bool')"),
        ("float32", np.array(list("abcdef")), "is <U1, not float32", "astype"),
        ("float32", np.array([None] * 6), "is object, not float32", "astype"),
    ],
)
def test_arrays_that_would_change_their_meaning_are_refused(wanted, array, reason, hint):
    with pytest.raises(UsageError) as caught:
        fitting_array(TensorSpec("x", (6,), wanted), array)
    assert reason in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 3, 4, 5), "array.transpose(0, 2, 3, 1)"),
        ((4, 5, 3), "float32 1x4x5x3"),
        ((2, 4, 5, 3), "float32 1x4x5x3"),
        ((), "float32 1x4x5x3"),
    ],
)
def test_another_shape_is_refused_with_the_shape_that_is_taken(shape, hint):
    with pytest.raises(UsageError) as caught:
        fitting_array(IMAGE, np.zeros(shape, np.float32))
    assert "not 1x4x5x3" in caught.value.message
    assert hint in caught.value.hint


def test_the_transpose_in_the_hint_is_the_right_one():
    array = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    with pytest.raises(UsageError) as caught:
        fitting_array(IMAGE, array)
    order = caught.value.hint.rpartition("transpose")[2]
    transposed = eval(f"array.transpose{order}", {"array": array})
    np.testing.assert_array_equal(fitting_array(IMAGE, transposed), np.moveaxis(array, 1, -1))


@given(
    st_numpy.arrays(
        np.float64, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.floats(-1e30, 1e30)
    )
)
def test_free_sizes_take_any_size_and_any_memory_order(array):
    spec = TensorSpec("x", (-1, -1))
    for view in (array, array.T, array[::-1], np.asfortranarray(array)):
        fitted = fitting_array(spec, view)
        assert fitted.flags.c_contiguous
        np.testing.assert_array_equal(fitted, view.astype(np.float32))


def test_lists_and_tensors_count_as_arrays():
    spec = TensorSpec("x", (2, 2))
    np.testing.assert_array_equal(fitting_array(spec, [[1.0, 2.0], [3.0, 4.0]]), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(fitting_array(spec, torch.ones(2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize("given_value", [torch.ones(2, 2, requires_grad=True), [[1.0], [2.0, 3.0]]])
def test_what_is_no_array_is_refused(given_value):
    with pytest.raises(UsageError, match="input 'x' is not an array"):
        fitting_array(TensorSpec("x", (2, 2)), given_value)


@pytest.mark.parametrize(
    ("given_value", "message"),
    [
        ({"image": 0}, "(missing: previous)"),
        ({"image": 0, "previous": 0, "extra": 0}, "(unknown: extra)"),
        ({"picture": 0}, "(missing: image, previous; unknown: picture)"),
        ([0, 0], "takes a dict of arrays by input name, not list"),
    ],
)
def test_wrong_names_say_what_is_expected(given_value, message):
    specs = [TensorSpec("image", (1, 2, 2, 3)), TensorSpec("previous", (-1, 10), "int8")]
    with pytest.raises(UsageError) as caught:
        fitting_arrays(specs, given_value)
    assert message in caught.value.message
    assert caught.value.hint == "the inputs are image float32 1x2x2x3, previous int8 ?x10"


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_a_thread_count_must_be_positive(threads):
    with pytest.raises(UsageError, match="threads"):
        check_threads(threads)
