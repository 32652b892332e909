"""Slices, gathers, scatters, sorting and constants against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.layers.slices import sliced

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X = normal(5, 6, 7)


@pytest.mark.parametrize(
    ("axis", "bounds", "part"),
    [
        ("channel", (1, 4, 2), np.s_[1:4:2]),
        ("height", (0, -1, 1), np.s_[:, :-1]),
        ("width", (2, 7, 3), np.s_[..., 2:7:3]),
    ],
)
def test_slice_of_one_axis(check_layers, axis, bounds, part):
    check_layers(lambda b: b.add_slice("s", "x", "y", axis, *bounds), [X], X[part])


def test_empty_slice_is_refused(run_layers):
    with pytest.raises(UnsupportedError, match="slice 's': takes nothing"):
        run_layers(lambda b: b.add_slice("s", "x", "y", "width", 3, 3), [X])


NO = [0, 0, 0]
SLICES = [
    pytest.param([1, 2, 3], [3, 4, 6], [1, 1, 2], NO, NO, NO, np.s_[1:3, 2:4, 3:6:2], id="ends"),
    pytest.param([1, 2, 3], [3, -3, 2], [2, 2, 2], [1, 0, 1], [0, 1, 1], NO, np.s_[:3:2, 2::2, ::2]),
    pytest.param([4, -1, -2], [1, -4, 0], [-1, -2, -1], NO, NO, NO, np.s_[4:1:-1, -1:-4:-2, -2:0:-1]),
    pytest.param(NO, NO, [-1, 1, -3], [1, 1, 1], [1, 1, 1], NO, np.s_[::-1, :, ::-3], id="whole, back"),
    pytest.param([1, 2, 3], [3, 9, 6], [1, 1, 1], NO, NO, [0, 1, 0], np.s_[1:3, 2, 3:6], id="squeezed"),
]  # fmt: skip


@pytest.mark.parametrize(("begin", "end", "stride", "begin_masks", "end_masks", "squeeze", "part"), SLICES)
def test_slice_of_all_axes(check_layers, begin, end, stride, begin_masks, end_masks, squeeze, part):
    flags = {
        "begin_masks": [bool(flag) for flag in begin_masks],
        "end_masks": [bool(flag) for flag in end_masks],
        "squeeze_masks": [bool(flag) for flag in squeeze],
    }
    check_layers(lambda b: b.add_slice_static("s", "x", "y", begin, end, stride, **flags), [X], X[part])
    starts = np.array(begin, np.float32)
    check_layers(
        lambda b: b.add_slice_dynamic("s", ["x", "x1"], "y", end, stride, **flags), [X, starts], X[part]
    )
    given = [np.array(values, np.float32) for values in (begin, end, stride, begin_masks, end_masks, squeeze)]
    inputs = ["x", *(f"x{index}" for index in range(1, 7))]
    check_layers(lambda b: b.add_slice_dynamic("s", inputs, "y"), [X, *given], X[part])


BOUND = st.none() | st.integers(-9, 9)


@given(st.integers(-2, 1), BOUND, BOUND, st.integers(-4, 4).filter(bool))
def test_slices_are_those_of_numpy(axis, start, stop, step):
    x = X[0]
    part = slice(start, stop, step)
    want = x[part] if axis % 2 == 0 else x[:, part]
    np.testing.assert_array_equal(sliced(torch.tensor(x), axis, part), want)


def test_slice_to_one_element_keeps_an_axis(check_layers):
    x = X[0, 0]
    flags = {"begin_masks": [False], "end_masks": [False], "squeeze_masks": [True]}
    check_layers(lambda b: b.add_slice_static("s", "x", "y", [2], [3], [1], **flags), [x], x[2:3])


@pytest.mark.parametrize(("begin", "part"), [(2, np.s_[:, 2:5]), (-4, np.s_[:, -4:-1])])
def test_slice_by_size(check_layers, begin, part):
    start = np.array([begin], np.float32)
    check_layers(lambda b: b.add_slice_by_size("s", ["x", "x1"], "y", 1, 3), [X, start], X[part])


def test_crop(check_layers, run_layers):
    check_layers(lambda b: b.add_crop("c", 1, 2, 3, 0, 0, ["x"], "y"), [X], X[:, 3:, 1:-2])
    like = normal(5, 2, 3)
    check_layers(lambda b: b.add_crop("c", 0, 0, 0, 0, [1, 2], ["x", "x1"], "y"), [X, like], X[:, 1:3, 2:5])
    with pytest.raises(UnsupportedError, match="crop 'c': the crop does not lie in the shape"):
        run_layers(lambda b: b.add_crop("c", 4, 4, 0, 0, 0, ["x"], "y"), [X])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [[0, 3, -1], [[1, 0], [4, -2]]])
def test_gather(check_layers, axis, indices):
    index = np.array(indices)
    want = np.take(X, index, axis)
    check_layers(lambda b: b.add_gather("g", ["x", "x1"], "y", axis), [X, index.astype(np.float32)], want)


def test_index_outside_is_refused(run_layers):
    with pytest.raises(UnsupportedError, match="gather 'g': an index lies outside of an axis of 5 elements"):
        run_layers(lambda b: b.add_gather("g", ["x", "x1"], "y", 0), [X, np.array([5], np.float32)])


@pytest.mark.parametrize("axis", [1, -1])
def test_gather_along_axis(check_layers, axis):
    shape = [5, 6, 7]
    shape[axis] = 4
    index = RNG.integers(-6, 6, shape)
    want = np.take_along_axis(X, index, axis)
    check_layers(
        lambda b: b.add_gather_along_axis("g", ["x", "x1"], "y", axis), [X, index.astype(np.float32)], want
    )


def test_gather_nd(check_layers):
    index = np.array([[[0, 1], [4, -1]], [[2, 2], [-5, 0]]])
    want = X[index[..., 0], index[..., 1]]
    check_layers(lambda b: b.add_gather_nd("g", ["x", "x1"], "y"), [X, index.astype(np.float32)], want)


UPDATES = {
    "UPDATE": lambda old, new: new,
    "ADD": lambda old, new: old + new,
    "SUB": lambda old, new: old - new,
    "MUL": lambda old, new: old * new,
    "DIV": lambda old, new: old / new,
    "MAX": np.maximum,
    "MIN": np.minimum,
}


@pytest.mark.parametrize("mode", UPDATES)
def test_scatter(check_layers, mode):
    index, updates = np.array([3, 0, 3]), normal(5, 3, 7) + 3
    want = X.copy()
    for place, row in zip(index, range(3), strict=True):
        want[:, place] = UPDATES[mode](want[:, place], updates[:, row])
    inputs = [X, index.astype(np.float32), updates]
    check_layers(lambda b: b.add_scatter("s", ["x", "x1", "x2"], "y", -2, mode), inputs, want)


@pytest.mark.parametrize("mode", UPDATES)
def test_scatter_nd(check_layers, mode):
    index, updates = np.array([[0, 1], [4, -1], [0, 1]]), normal(3, 7) + 3
    want = X.copy()
    for (i, j), update in zip(index, updates, strict=True):
        want[i, j] = UPDATES[mode](want[i, j], update)
    inputs = [X, index.astype(np.float32), updates]
    check_layers(lambda b: b.add_scatter_nd("s", ["x", "x1", "x2"], "y", mode), inputs, want)


@pytest.mark.parametrize("mode", ["UPDATE", "ADD"])
def test_scatter_along_axis(check_layers, mode):
    index = np.stack([[RNG.permutation(6)[:2] for _ in range(7)] for _ in range(5)]).transpose(0, 2, 1)
    updates = normal(5, 2, 7)
    want = X.copy()
    old = np.take_along_axis(want, index, 1)
    np.put_along_axis(want, index, UPDATES[mode](old, updates), 1)
    inputs = [X, index.astype(np.float32), updates]
    check_layers(lambda b: b.add_scatter_along_axis("s", ["x", "x1", "x2"], "y", 1, mode), inputs, want)


def test_updates_of_another_shape_are_refused(run_layers):
    inputs = [X, np.array([0], np.float32), normal(1, 6, 6)]
    with pytest.raises(UnsupportedError, match="scatter 's': updates of shape"):
        run_layers(lambda b: b.add_scatter("s", ["x", "x1", "x2"], "y", 0), inputs)


def test_where_non_zero(check_layers):
    x = np.array([[1, 2, 1], [0, 2, 2], [2, 1, 0]], np.float32)
    check_layers(lambda b: b.add_where_nonzero("w", "x", "y"), [x], np.argwhere(x))


@pytest.mark.parametrize("bottom", [False, True])
@pytest.mark.parametrize("axis", [1, -1])
def test_top_k(check_layers, axis, bottom):
    x = np.round(X)
    order = np.argsort(x if bottom else -x, axis, kind="stable").take(range(3), axis)
    want = (np.take_along_axis(x, order, axis), order)
    check_layers(lambda b: b.add_topk("t", ["x"], ["y", "y1"], 3, axis, bottom), [x], want)
    k = np.array([3], np.float32)
    check_layers(lambda b: b.add_topk("t", ["x", "x1"], ["y", "y1"], 0, axis, bottom), [x, k], want)


@pytest.mark.parametrize("descending", [False, True])
def test_argsort(check_layers, descending):
    x = np.array([[3, 5, 32], [3, 77, 3]], np.float32)
    want = np.argsort(-x if descending else x, 1, kind="stable")
    check_layers(lambda b: b.add_argsort("a", "x", "y", 1, descending), [x], want)


@pytest.mark.parametrize(
    ("exclusive", "reverse", "want"),
    [
        (False, False, [4, 10, 17]),
        (True, False, [0, 4, 10]),
        (False, True, [17, 13, 7]),
        (True, True, [13, 7, 0]),
    ],
)
def test_cumsum(check_layers, exclusive, reverse, want):
    """The examples of CumSumLayerParams."""
    x = np.array([4, 6, 7], np.float32)
    check_layers(lambda b: b.add_cumsum("c", ["x"], "y", -1, reverse, exclusive), [x], [np.array(want)])
    axis = np.array([0], np.float32)
    check_layers(
        lambda b: b.add_cumsum("c", ["x", "x1"], "y", 3, reverse, exclusive), [x, axis], [np.array(want)]
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot(check_layers, axis):
    x = np.array([[2, 0], [-1, 3]], np.float32)
    rows = np.where(x[..., None] == np.arange(4), 5.0, -1.0)
    want = np.moveaxis(rows, -1, axis)
    options = {"axis": axis, "on_value": 5.0, "off_value": -1.0}
    check_layers(lambda b: b.add_one_hot("o", ["x"], "y", 4, **options), [x], want)
    size = np.array([4], np.float32)
    check_layers(lambda b: b.add_one_hot("o", ["x", "x1"], "y", **options), [x, size], want)


@pytest.mark.parametrize("k", [-1, 0, 2])
def test_triangles(check_layers, k):
    check_layers(lambda b: b.add_lower_triangular("t", "x", "y", k), [X], np.tril(X, k))
    check_layers(lambda b: b.add_upper_triangular("t", "x", "y", k), [X], np.triu(X, k))


@pytest.mark.parametrize(("lower", "upper"), [(-1, 0), (1, 2), (0, -1), (-1, -1)])
def test_matrix_band_part(check_layers, lower, upper):
    row, column = np.indices((6, 7))
    band = ((lower < 0) | (row - column <= lower)) & ((upper < 0) | (column - row <= upper))
    check_layers(lambda b: b.add_matrix_band_part("t", "x", "y", lower, upper), [X], X * band)


SHAPE = np.array([2, 3], np.float32)
VALUES = normal(2, 3)


def constant(build):
    """A layer without inputs; the network's input takes no part."""
    return lambda b: (build(b), b.add_copy("unused", "x", "z"))


@pytest.mark.parametrize(
    ("build", "inputs", "want"),
    [
        (constant(lambda b: b.add_load_constant_nd("l", "y", VALUES, (2, 3))), [X], VALUES),
        (constant(lambda b: b.add_load_constant("l", "y", VALUES, [1, 2, 3])), [X], VALUES[None, None, None]),
        (constant(lambda b: b.add_fill_static("f", "y", (2, 3), 1.5)), [X], np.full((2, 3), 1.5)),
        (lambda b: b.add_fill_like("f", "x", "y", 1.5), [VALUES], np.full((2, 3), 1.5)),
        (lambda b: b.add_fill_dynamic("f", "x", "y", 1.5), [SHAPE], np.full((2, 3), 1.5)),
        (lambda b: b.add_broadcast_to_static("f", "x", "y", (4, 2, 3)), [VALUES], np.tile(VALUES, (4, 1, 1))),
        (lambda b: b.add_broadcast_to_like("f", ["x", "x1"], "y"), [VALUES[:1], VALUES], VALUES[[0, 0]]),
        (lambda b: b.add_broadcast_to_dynamic("f", ["x", "x1"], "y"), [VALUES[:1], SHAPE], VALUES[[0, 0]]),
        (constant(lambda b: b.add_range_static("r", "y", end=7, start=2, step=2)), [X], np.arange(2, 7, 2)),
        (lambda b: b.add_range_dynamic("r", ["x"], "y", 1, 3), [SHAPE[1:] * 3], np.arange(1, 9, 3)),
        (lambda b: b.add_range_dynamic("r", ["x", "x1"], "y", 0, 1), [SHAPE[1:], SHAPE[:1]], np.arange(2, 3)),
        (
            lambda b: b.add_range_dynamic("r", ["x", "x1", "x2"], "y"),
            [SHAPE[:1], SHAPE[1:] * 3, -SHAPE[:1]],
            np.arange(9, 2, -2),
        ),
    ],
)
def test_constants(check_layers, build, inputs, want):
    check_layers(build, inputs, [want])
