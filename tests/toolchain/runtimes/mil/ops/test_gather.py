"""Gather and scatter against coremltools' own evaluation, numpy and loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(2, 5, 4, 3)).astype(np.float32)
COMBINE = {
    "update": lambda old, new: new,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


@pytest.mark.parametrize(
    ("indices", "parameters", "ios"),
    [
        ([1, 0, 1], {}, 15),
        ([3, -1, 0], {"axis": 2}, 15),
        ([[4, 0], [1, 1]], {"axis": -3}, 15),
        ([3, -2], {"axis": 1}, 16),
        ([[4, 0, 1], [1, 1, -1]], {"axis": 1, "batch_dims": 1}, 16),
        ([[2], [0]], {"axis": 3, "batch_dims": 1}, 16),
        (np.arange(10).reshape(2, 5) % 4, {"axis": 2, "batch_dims": 2}, 16),
        ([[2, 2], [0, 1]], {"axis": 2, "batch_dims": 1}, 17),
        ([1, 0], {"axis": 0, "validate_indices": True}, 17),
    ],
)
def test_gather(
    run_program: Callable, fold_program: Callable, indices: list, parameters: dict, ios: int
) -> None:
    def build(mb, x, indices):
        return mb.gather(x=x, indices=indices, **parameters)

    inputs = {"x": X, "indices": np.array(indices, np.int32)}
    (got,) = run_program(build, inputs, ios).values()
    np.testing.assert_array_equal(got, fold_program(build, inputs, ios)[0])


def test_gather_at_a_scalar_drops_the_axis(run_program: Callable) -> None:
    def build(mb, x, index):
        return mb.gather(x=x, indices=mb.squeeze(x=index), axis=1)

    (got,) = run_program(build, {"x": X, "index": np.array([3], np.int32)}).values()
    np.testing.assert_array_equal(got, X[:, 3])


@pytest.mark.parametrize(("axis", "ios"), [(0, 15), (2, 16), (-1, 17)])
def test_gather_along_axis(run_program: Callable, axis: int, ios: int) -> None:
    sizes = [7 if place == axis % 4 else size for place, size in enumerate(X.shape)]
    indices = GENERATOR.integers(0, X.shape[axis], sizes).astype(np.int32)

    def build(mb, x, indices):
        return mb.gather_along_axis(x=x, indices=indices, axis=axis)

    (got,) = run_program(build, {"x": X, "indices": indices}, ios).values()
    np.testing.assert_array_equal(got, np.take_along_axis(X, indices, axis))


@pytest.mark.parametrize(
    ("depth", "batch", "ios"), [(1, 0, 15), (2, 0, 15), (4, 0, 15), (2, 1, 16), (1, 2, 16), (2, 2, 17)]
)
def test_gather_nd(run_program: Callable, depth: int, batch: int, ios: int) -> None:
    addressed = X.shape[batch : batch + depth]
    indices = np.stack([GENERATOR.integers(0, size, (*X.shape[:batch], 6)) for size in addressed], -1)
    parameters = {"batch_dims": batch} if batch else {}

    def build(mb, x, indices):
        return mb.gather_nd(x=x, indices=indices, **parameters)

    (got,) = run_program(build, {"x": X, "indices": indices.astype(np.int32)}, ios).values()
    for place in product(*map(range, X.shape[:batch]), range(6)):
        np.testing.assert_array_equal(got[place], X[place[:-1]][tuple(indices[place])])


@pytest.mark.parametrize(("mode", "axis", "ios"), [(mode, 1, 15) for mode in COMBINE] + [("add", -2, 17)])
def test_scatter(run_program: Callable, mode: str, axis: int, ios: int) -> None:
    # Operations that do not depend on the order get one place twice.
    indices = [3, 0, -1] if mode in ("update", "div") else [3, 0, 3]
    indices = [index % X.shape[axis] for index in indices] if ios == 17 else indices
    sizes = [3 if place == axis % 4 else size for place, size in enumerate(X.shape)]
    updates = GENERATOR.normal(size=sizes).astype(np.float32)
    expected = X.copy()
    for place, index in enumerate(indices):
        there, new = np.moveaxis(expected, axis, 0), np.moveaxis(updates, axis, 0)
        there[index] = COMBINE[mode](there[index], new[place])

    def build(mb, data, updates):
        return mb.scatter(data=data, indices=indices, updates=updates, axis=axis, mode=mode)

    (got,) = run_program(build, {"data": X, "updates": updates}, ios).values()
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mode", "ios"), [(mode, 15) for mode in COMBINE] + [("update", 17)])
def test_scatter_along_axis(run_program: Callable, mode: str, ios: int) -> None:
    # Every column is a permutation, so that no place is met twice.
    indices = GENERATOR.permuted(np.broadcast_to(np.arange(5)[:, None, None], (2, 5, 4, 3)), axis=1)[:, :3]
    updates = GENERATOR.normal(size=indices.shape).astype(np.float32)
    expected = X.copy()
    for place in np.ndindex(indices.shape):
        there = (place[0], indices[place], *place[2:])
        expected[there] = COMBINE[mode](X[there], updates[place])

    def build(mb, data, indices, updates):
        return mb.scatter_along_axis(data=data, indices=indices, updates=updates, axis=1, mode=mode)

    inputs = {"data": X, "indices": indices.astype(np.int32), "updates": updates}
    (got,) = run_program(build, inputs, ios).values()
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "depth", "ios"), [(mode, 2, 15) for mode in COMBINE] + [("add", 4, 17), ("update", 1, 17)]
)
def test_scatter_nd(run_program: Callable, mode: str, depth: int, ios: int) -> None:
    flat = GENERATOR.permutation(int(np.prod(X.shape[:depth])))[: 6 if depth > 1 else 2]
    indices = np.stack(np.unravel_index(flat, X.shape[:depth]), -1).reshape(-1, 2, depth).astype(np.int32)
    updates = GENERATOR.normal(size=(*indices.shape[:-1], *X.shape[depth:])).astype(np.float32)
    expected = X.copy()
    for place in np.ndindex(indices.shape[:-1]):
        there = tuple(indices[place])
        expected[there] = COMBINE[mode](X[there], updates[place])

    def build(mb, data, indices, updates):
        return mb.scatter_nd(data=data, indices=indices, updates=updates, mode=mode)

    (got,) = run_program(build, {"data": X, "indices": indices, "updates": updates}, ios).values()
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_integers_are_scattered_as_integers(run_program: Callable) -> None:
    data = np.array([1, 2, 3], np.int32)

    def build(mb, data):
        return mb.scatter(data=data, indices=[2, 2, 0], updates=np.array([4, 5, 6], np.int32), mode="sub")

    (got,) = run_program(build, {"data": data}).values()
    np.testing.assert_array_equal(got, np.array([-5, 2, -6], np.int32))


@pytest.mark.parametrize(
    ("op", "parameters", "ios", "message"),
    [
        ("gather", {"axis": 1}, 15, "5 elements"),
        ("gather", {"axis": 1, "validate_indices": True}, 17, "5 elements"),
        ("gather", {"axis": 1, "validate_indices": False}, 17, "5 elements"),
    ],
)
@pytest.mark.parametrize("index", [5, -6])
def test_indices_outside_are_refused(
    run_program: Callable, op: str, parameters: dict, ios: int, message: str, index: int
) -> None:
    def build(mb, x, indices):
        return getattr(mb, op)(x=x, indices=indices, **parameters)

    with pytest.raises(UnsupportedError, match=message):
        run_program(build, {"x": X, "indices": np.array([0, index], np.int32)}, ios)


def test_negative_indices_are_refused_from_ios_17_on(run_program: Callable) -> None:
    def build(mb, x, indices):
        return mb.gather(x=x, indices=indices)

    with pytest.raises(UnsupportedError, match="2 elements"):
        run_program(build, {"x": X, "indices": np.array([0, -1], np.int32)}, 17)


@pytest.mark.parametrize("mode", ["update", "div"])
def test_two_writes_to_one_place_are_refused_where_their_order_counts(
    run_program: Callable, mode: str
) -> None:
    def build(mb, data):
        updates = np.ones((2, *X.shape[1:]), np.float32)
        return mb.scatter(data=data, indices=[1, 1], updates=updates, mode=mode)

    with pytest.raises(UnsupportedError, match="several updates"):
        run_program(build, {"data": X})
