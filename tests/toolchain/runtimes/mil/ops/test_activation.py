"""Activation functions against coremltools' own evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

X = np.random.default_rng(4).normal(size=(2, 3, 4, 5)).astype(np.float32) * 4
PER_CHANNEL = np.array([0.1, -0.3, 2.0], np.float32)
ALPHA, BETA = np.float32(0.3), np.float32(0.7)

BOTH = {"alpha": ALPHA, "beta": BETA}

ROWS: list[tuple[str, dict[str, Any]]] = [
    *[(op, {}) for op in ("relu", "relu6", "sigmoid", "softplus", "softsign", "gelu", "softmax")],
    *[(op, {"alpha": ALPHA}) for op in ("leaky_relu", "elu", "thresholded_relu")],
    *[(op, BOTH) for op in ("clamped_relu", "linear_activation", "scaled_tanh", "sigmoid_hard")],
    ("clamped_relu", {"alpha": np.float32(-2), "beta": np.float32(3)}),
    *[("gelu", {"mode": mode}) for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")],
    ("prelu", {"alpha": PER_CHANNEL}),
    ("softplus_parametric", {"alpha": PER_CHANNEL, "beta": PER_CHANNEL[::-1].copy()}),
    *[("softmax", {"axis": axis}) for axis in (0, 1, -2)],
]


@pytest.mark.parametrize("ios", [15, 17])
def test_against_coremltools(ios: int, run_program: Callable, fold_program: Callable) -> None:
    def build(mb, x):
        # The evaluation of thresholded_relu writes into its input.
        return [getattr(mb, op)(x=mb.mul(x=x, y=np.float32(1)), **parameters) for op, parameters in ROWS]

    got, want = run_program(build, {"x": X}, ios=ios).values(), fold_program(build, {"x": X}, ios=ios)
    for row, computed, expected in zip(ROWS, got, want, strict=True):
        np.testing.assert_allclose(computed, expected, rtol=2e-6, atol=1e-6, err_msg=str(row))


def test_silu(run_program: Callable) -> None:
    [got] = run_program(lambda mb, x: mb.silu(x=x), {"x": X}).values()
    np.testing.assert_allclose(got, X / (1 + np.exp(-X)), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 2, 2, 2)])
def test_prelu_of_other_ranks(shape: tuple[int, ...], run_program: Callable, fold_program: Callable) -> None:
    x = np.random.default_rng(5).normal(size=shape).astype(np.float32)

    def build(mb, x):
        return mb.prelu(x=x, alpha=np.full(3, 0.2, np.float32))

    [got] = run_program(build, {"x": x}).values()
    np.testing.assert_allclose(got, *fold_program(build, {"x": x}), rtol=1e-6)


def test_threshold_itself_passes(run_program: Callable) -> None:
    x = np.array([0.2, 0.5, 0.7], np.float32)
    [got] = run_program(lambda mb, x: mb.thresholded_relu(x=x, alpha=np.float32(0.5)), {"x": x}).values()
    np.testing.assert_array_equal(got, np.array([0, 0.5, 0.7], np.float32))


def test_large_numbers_stay_finite(run_program: Callable) -> None:
    x = np.array([-1000.0, 1000.0], np.float32)

    def build(mb, x):
        return [mb.softplus(x=x), mb.softmax(x=x), mb.silu(x=x), mb.sigmoid(x=x)]

    got = list(run_program(build, {"x": x}).values())
    np.testing.assert_array_equal(got, [[0, 1000], [0, 1], [0, 1000], [0, 1]])


def test_clamped_relu_below_zero_is_refused(run_program: Callable) -> None:
    def build(mb, x):
        return mb.clamped_relu(x=x, alpha=np.float32(0.1), beta=np.float32(-1))

    with pytest.raises(UnsupportedError, match="clamped_relu"):
        run_program(build, {"x": X})
