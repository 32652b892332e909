"""Operators with two operands against coremltools' own evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

GENERATOR = np.random.default_rng(3)
FLOATS = {
    "x": GENERATOR.normal(size=(2, 3, 4)).astype(np.float32) * 4,
    "y": GENERATOR.normal(size=(3, 1)).astype(np.float32) * 2,
}
EVERY_SIGN = np.array([-7, -6, -1, 0, 1, 6, 7], np.int32)
INTEGERS = {"x": EVERY_SIGN, "y": np.array([[-3], [-1], [2], [7]], np.int32)}
ARITHMETIC = ["add", "sub", "mul", "floor_div", "mod", "maximum", "minimum"]
COMPARISONS = ["equal", "not_equal", "greater", "greater_equal", "less", "less_equal"]
LOGICAL = ["logical_and", "logical_or", "logical_xor"]


def _check(run_program: Callable, fold_program: Callable, ops: list[str], inputs: dict) -> None:
    """All operators in one program, since writing one takes a while."""

    def build(mb, x, y):
        made = {op: getattr(mb, op)(x=x, y=y) for op in ops}
        return [mb.cast(x=made[op], dtype="int32") if op in COMPARISONS else made[op] for op in ops]

    got, want = run_program(build, inputs).values(), fold_program(build, inputs)
    for op, computed, expected in zip(ops, got, want, strict=True):
        assert computed.dtype == expected.dtype, op
        np.testing.assert_allclose(computed, expected, rtol=1e-6, atol=0, err_msg=op)


def test_floats(run_program: Callable, fold_program: Callable) -> None:
    _check(run_program, fold_program, [*ARITHMETIC, "real_div", *COMPARISONS], FLOATS)


def test_integers(run_program: Callable, fold_program: Callable) -> None:
    _check(run_program, fold_program, [*ARITHMETIC, *COMPARISONS], INTEGERS)


def test_logic(run_program: Callable) -> None:
    inputs = {"x": np.array([[0], [1]], np.int32), "y": np.array([0, 1], np.int32)}

    def build(mb, x, y):
        operands = {"x": mb.cast(x=x, dtype="bool"), "y": mb.cast(x=y, dtype="bool")}
        return [mb.cast(x=getattr(mb, op)(**operands), dtype="int32") for op in LOGICAL]

    for op, got in zip(LOGICAL, run_program(build, inputs).values(), strict=True):
        np.testing.assert_array_equal(got, getattr(np, op)(inputs["x"], inputs["y"]), err_msg=op)


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": np.abs(FLOATS["x"]), "y": FLOATS["y"]},
        {"x": FLOATS["x"], "y": np.array([0, 1, 2, 3], np.float32)},
        {"x": EVERY_SIGN, "y": np.array([[0], [1], [3]], np.int32)},
    ],
    ids=["positive base", "whole powers", "integers"],
)
def test_pow(inputs: dict[str, np.ndarray], run_program: Callable, fold_program: Callable) -> None:
    _check(run_program, fold_program, ["pow"], inputs)


def test_half_precision_rounds_every_result(run_program: Callable) -> None:
    x = np.array([1.0, 2048.0, 60000.0], np.float32)

    def build(mb, x, y):
        return mb.sub(x=mb.add(x=x, y=y), y=y)

    [got] = run_program(build, {"x": x, "y": x + 1}, precision="fp16").values()
    half, one_more = x.astype(np.float16), (x + 1).astype(np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(got, (half + one_more) - one_more)


def test_whole_quotients_of_integers(run_program: Callable) -> None:
    inputs = {"x": np.array([-6, 0, 9], np.int32), "y": np.array([3], np.int32)}
    [got] = run_program(lambda mb, x, y: mb.real_div(x=x, y=y), inputs).values()
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, [-2, 0, 3])


@pytest.mark.parametrize(
    ("op", "x", "y", "message"),
    [
        ("real_div", 7, 2, "no integer"),
        ("pow", 7, -1, "negative power"),
        ("floor_div", 7, 0, "floor_div"),
        ("mod", 7, 0, "mod"),
    ],
)
def test_undefined_results_are_refused(op: str, x: int, y: int, message: str, run_program: Callable) -> None:
    inputs = {"x": np.array([x], np.int32), "y": np.array([y], np.int32)}
    with pytest.raises(UnsupportedError, match=message):
        run_program(lambda mb, x, y: getattr(mb, op)(x=x, y=y), inputs)
