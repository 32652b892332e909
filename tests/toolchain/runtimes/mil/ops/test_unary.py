"""Operators with one operand against coremltools' own evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

REALS = np.array([[-3.7, -2.5, -1.5, -1.0, -0.5], [0.0, 0.3, 0.5, 1.5, 2.5]], np.float32)
UNIT = np.array([-0.99, -0.5, 0.0, 0.25, 0.99], np.float32)
POSITIVE = np.array([0.01, 0.5, 1.0, 3.0, 100.0], np.float32)
WHOLE = np.array([-3, -1, 0, 1, 4], np.int32)

EVERYWHERE = [
    *("abs", "atan", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor"),
    *("round", "sign", "sin", "sinh", "square", "tan", "tanh"),
]
HALF = {"epsilon": np.float32(0.5)}
BETWEEN = {"alpha": np.float32(-1.25), "beta": np.float32(2)}

Row = tuple[str, dict[str, Any]]
GROUPS: dict[str, tuple[np.ndarray, list[Row]]] = {
    "reals": (REALS, [(op, {}) for op in EVERYWHERE]),
    "bounds": (REALS, [("clip", BETWEEN), ("threshold", {"alpha": np.float32(0.4)})]),
    "unit interval": (UNIT, [(op, {}) for op in ("acos", "asin", "atanh")]),
    "positive": (POSITIVE, [(op, {}) for op in ("sqrt", "log", "rsqrt", "inverse")]),
    "epsilon": (POSITIVE, [(op, HALF) for op in ("log", "rsqrt", "inverse")]),
    "integers": (WHOLE, [("abs", {}), ("sign", {}), ("square", {}), ("threshold", {"alpha": np.int32(-1)})]),
    "powers": (np.array([0, 1, 5, 30], np.int32), [("exp2", {})]),
    "cast of reals": (REALS, [("cast", {"dtype": dtype}) for dtype in ("int32", "fp32")]),
    "cast of integers": (WHOLE, [("cast", {"dtype": dtype}) for dtype in ("int32", "fp32")]),
}


@pytest.mark.parametrize(("x", "rows"), GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("ios", [15, 17])
def test_against_coremltools(
    x: np.ndarray, rows: list[Row], ios: int, run_program: Callable, fold_program: Callable
) -> None:
    def build(mb, x):
        return [getattr(mb, op)(x=x, **parameters) for op, parameters in rows]

    got, want = run_program(build, {"x": x}, ios=ios).values(), fold_program(build, {"x": x}, ios=ios)
    for row, computed, expected in zip(rows, got, want, strict=True):
        # numpy's exp2 makes floats of integers.
        assert computed.dtype == (expected.dtype if row[0] == "cast" else x.dtype), row
        np.testing.assert_allclose(computed, expected, rtol=2e-6, atol=1e-7, err_msg=str(row))


def test_cast_to_bool(run_program: Callable) -> None:
    def build(mb, x):
        return mb.cast(x=mb.cast(x=x, dtype="bool"), dtype="int32")

    [got] = run_program(build, {"x": REALS}).values()
    np.testing.assert_array_equal(got, REALS != 0)


def test_logarithm_of_zero_is_that_of_the_smallest_number(run_program: Callable) -> None:
    [got] = run_program(lambda mb, x: mb.log(x=x), {"x": np.zeros(9, np.float32)}).values()
    np.testing.assert_allclose(got, np.log(np.float64(np.float32(1e-45))), rtol=1e-6)


def test_logical_not(run_program: Callable) -> None:
    x = np.array([0.0, 2.0, -1.0], np.float32)

    def build(mb, x):
        return mb.cast(x=mb.logical_not(x=mb.cast(x=x, dtype="bool")), dtype="int32")

    [got] = run_program(build, {"x": x}).values()
    np.testing.assert_array_equal(got, [1, 0, 0])


def test_cast_to_half_rounds(run_program: Callable) -> None:
    x = np.array([0.1, 65519.0, 65520.0, -2049.0, 1e-9], np.float32)
    [got] = run_program(lambda mb, x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"), {"x": x}).values()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(got, x.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_cast_of_integers_keeps_the_low_bits(dtype: str, run_program: Callable) -> None:
    x = np.array([-70000, -1, 0, 200, 40000, 70000], np.int32)
    [got] = run_program(
        lambda mb, x: mb.cast(x=mb.cast(x=x, dtype=dtype), dtype="int32"), {"x": x}, ios=17
    ).values()
    np.testing.assert_array_equal(got, x.astype(dtype).astype(np.int32))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int32", 2.0**31), ("int32", np.nan), ("uint8", 256), ("int8", -129), ("uint16", -1)],
)
def test_casts_without_a_defined_result_are_refused(dtype: str, value: float, run_program: Callable) -> None:
    with pytest.raises(UnsupportedError, match="cannot hold"):
        run_program(
            lambda mb, x: mb.cast(x=mb.cast(x=x, dtype=dtype), dtype="fp32"),
            {"x": np.array([value], np.float32)},
            ios=17,
        )


def test_negative_powers_of_two_are_no_integers(run_program: Callable) -> None:
    with pytest.raises(UnsupportedError, match="exp2"):
        run_program(lambda mb, x: mb.exp2(x=x), {"x": np.array([-1], np.int32)})
