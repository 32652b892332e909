"""Products of matrices against numpy's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("bias", [None, _random(4)], ids=["", "bias"])
@pytest.mark.parametrize("ios", [15, 17])
def test_linear(bias: np.ndarray | None, ios: int, run_program: Callable) -> None:
    inputs, weight = {"x": _random(5), "y": _random(3, 5), "z": _random(2, 3, 5)}, _random(4, 5)

    def build(mb, **operands):
        return [mb.linear(x=operand, weight=weight, bias=bias) for operand in operands.values()]

    for got, x in zip(run_program(build, inputs, ios=ios).values(), inputs.values(), strict=True):
        np.testing.assert_allclose(got, x @ weight.T + (0 if bias is None else bias), rtol=1e-5, atol=1e-6)


PRODUCTS = [
    ((3, 4), (4, 2), False, False),
    ((4, 3), (4, 2), True, False),
    ((3, 4), (2, 4), False, True),
    ((4, 3), (2, 4), True, True),
    ((4,), (4, 3), False, False),
    ((10, 4, 3), (5, 10, 3, 2), False, False),
    ((1, 6, 3, 4), (2, 1, 2, 4), False, True),
]
"""Sizes of x and y, and whether x and y are transposed."""


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_matmul(kind: type, run_program: Callable) -> None:
    pairs = [[(_random(*shape) * 5).astype(kind) for shape in row[:2]] for row in PRODUCTS]
    inputs = {
        f"{side}{index}": value
        for index, pair in enumerate(pairs)
        for side, value in zip("xy", pair, strict=True)
    }

    def build(mb, **operands):
        return [
            mb.matmul(x=operands[f"x{index}"], y=operands[f"y{index}"], transpose_x=x, transpose_y=y)
            for index, (_, _, x, y) in enumerate(PRODUCTS)
        ]

    got = run_program(build, inputs).values()
    for row, (x, y), computed in zip(PRODUCTS, pairs, got, strict=True):
        want = (x.swapaxes(-1, -2) if row[2] else x) @ (y.swapaxes(-1, -2) if row[3] else y)
        assert computed.dtype == kind
        np.testing.assert_allclose(computed, want, rtol=1e-5, atol=1e-5, err_msg=str(row))


@pytest.mark.parametrize(
    ("x", "y", "equation"),
    [
        ((2, 3, 4, 5), (2, 5, 4, 6), "nchw,nwhu->nchu"),
        ((1, 3, 4, 5), (2, 5, 1, 6), "abcd,adce->abce"),
        ((3, 4, 5), (5, 4, 6), "chw,whr->chr"),
        ((3, 1, 5), (5, 4, 6), "chw,whr->chr"),
    ],
)
def test_einsum(
    x: tuple[int, ...], y: tuple[int, ...], equation: str, run_program: Callable, fold_program: Callable
) -> None:
    inputs = {"x": _random(*x), "y": _random(*y)}

    def build(mb, x, y):
        return mb.einsum(values=[x, y], equation=equation)

    [got] = run_program(build, inputs).values()
    np.testing.assert_allclose(got, *fold_program(build, inputs), rtol=1e-5, atol=1e-5)
