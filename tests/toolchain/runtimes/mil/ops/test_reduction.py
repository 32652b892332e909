"""Reductions against coremltools' own evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

FLOATS = np.random.default_rng(6).uniform(0.2, 2, (2, 3, 4)).astype(np.float32)
SIGNED = np.random.default_rng(7).normal(size=(2, 3, 4)).astype(np.float32)
WHOLE = np.random.default_rng(8).integers(1, 6, (2, 3, 4)).astype(np.int32)
OF_SIGNED = ["l1_norm", "l2_norm", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square"]
REDUCTIONS = [*OF_SIGNED, "log_sum"]


@pytest.mark.parametrize(
    ("axes", "keep"), [([1], False), ([0, -1], True), ([2, 0], False), (None, False), (None, True)]
)
@pytest.mark.parametrize(
    ("x", "ops"),
    [(FLOATS, REDUCTIONS), (WHOLE, REDUCTIONS), (SIGNED, OF_SIGNED)],
    ids=["floats", "integers", "signed"],
)
def test_over_axes(
    x: np.ndarray,
    ops: list[str],
    axes: list[int] | None,
    keep: bool,
    run_program: Callable,
    fold_program: Callable,
) -> None:
    def build(mb, x):
        return [getattr(mb, f"reduce_{op}")(x=x, axes=axes, keep_dims=keep) for op in ops]

    got, want = run_program(build, {"x": x}).values(), fold_program(build, {"x": x})
    for op, computed, expected in zip(ops, got, want, strict=True):
        assert computed.dtype == x.dtype, op
        assert computed.shape == expected.shape, op
        np.testing.assert_allclose(computed, expected, rtol=2e-5, atol=1e-6, err_msg=op)


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_indices(op: str, run_program: Callable, fold_program: Callable) -> None:
    def build(mb, x):
        reduce = getattr(mb, f"reduce_{op}")
        return [reduce(x=x), reduce(x=x, axis=1), reduce(x=x, axis=0, keep_dims=True)]

    got, want = run_program(build, {"x": SIGNED}).values(), fold_program(build, {"x": SIGNED})
    for computed, expected in zip(got, want, strict=True):
        assert computed.dtype == np.int32
        np.testing.assert_array_equal(computed, expected)


def test_first_of_equals(run_program: Callable) -> None:
    x = np.array([[1, 3, 3, 1]], np.float32)

    def build(mb, x):
        return [mb.reduce_argmax(x=x, axis=1), mb.reduce_argmin(x=x, axis=1)]

    assert [value.item() for value in run_program(build, {"x": x}).values()] == [1, 0]


def test_index_as_unsigned(run_program: Callable) -> None:
    def build(mb, x):
        return mb.cast(x=mb.reduce_argmax(x=x, axis=0, output_dtype="uint16"), dtype="int32")

    [got] = run_program(build, {"x": SIGNED}, ios=17).values()
    np.testing.assert_array_equal(got, SIGNED.argmax(0))


def test_large_exponents_stay_finite(run_program: Callable) -> None:
    x = np.array([1000.0, 1000.0], np.float32)
    [got] = run_program(lambda mb, x: mb.reduce_log_sum_exp(x=x, axes=[0], keep_dims=True), {"x": x}).values()
    np.testing.assert_allclose(got, [1000 + np.log(2)])


def test_logarithm_of_no_integers_is_refused(run_program: Callable) -> None:
    with pytest.raises(UnsupportedError, match="reduce_log_sum"):
        run_program(lambda mb, x: mb.reduce_log_sum(x=x, axes=[0]), {"x": np.zeros((3, 2), np.int32)})
