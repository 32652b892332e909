"""Normalization against its formulas in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(9)
PICTURES = RNG.normal(2, 3, (2, 3, 4, 5)).astype(np.float32)
SEQUENCES = PICTURES[..., 0].copy()
VOLUMES = PICTURES.reshape(2, 3, 2, 2, 5)
GAMMA, BETA, MEAN = (RNG.normal(size=3).astype(np.float32) for _ in range(3))
VARIANCE = RNG.uniform(0.5, 2, 3).astype(np.float32)
EPSILON = np.float32(0.25)


def _channel(vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    return vector.reshape(-1, *[1] * (x.ndim - 2))


def _close(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("x", [SEQUENCES, PICTURES, VOLUMES], ids=["sequences", "pictures", "volumes"])
def test_batch_norm(x: np.ndarray, run_program: Callable) -> None:
    def build(mb, x):
        plain = mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE)
        return [
            plain,
            mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE, gamma=GAMMA, beta=BETA, epsilon=EPSILON),
        ]

    plain, scaled = run_program(build, {"x": x}).values()
    centered = x - _channel(MEAN, x)
    _close(plain, centered / np.sqrt(_channel(VARIANCE, x) + 1e-5))
    want = centered / np.sqrt(_channel(VARIANCE, x) + EPSILON) * _channel(GAMMA, x) + _channel(BETA, x)
    _close(scaled, want)


@pytest.mark.parametrize(
    "x", [SEQUENCES, PICTURES, PICTURES[..., :1, :1].copy()], ids=["sequences", "pictures", "one element"]
)
def test_instance_norm(x: np.ndarray, run_program: Callable) -> None:
    def build(mb, x):
        return [mb.instance_norm(x=x), mb.instance_norm(x=x, gamma=GAMMA, beta=BETA, epsilon=EPSILON)]

    plain, scaled = run_program(build, {"x": x}).values()
    over = tuple(range(2, x.ndim))
    centered, variance = x - x.mean(over, keepdims=True), x.var(over, keepdims=True)
    _close(plain, centered / np.sqrt(variance + 1e-5))
    _close(scaled, centered / np.sqrt(variance + EPSILON) * _channel(GAMMA, x) + _channel(BETA, x))


@pytest.mark.parametrize("axes", [[3], [-2, -1], [1], [3, 1], [0], [0, 1, 2, 3]])
@pytest.mark.parametrize("scaled", [False, True])
def test_layer_norm(axes: list[int], scaled: bool, run_program: Callable, fold_program: Callable) -> None:
    over = sorted(axis % 4 for axis in axes)
    sizes = [PICTURES.shape[axis] for axis in over]
    vectors = np.random.default_rng(1).normal(size=(2, *sizes)).astype(np.float32)
    given = {"gamma": vectors[0], "beta": vectors[1], "epsilon": EPSILON} if scaled else {}

    def build(mb, x):
        return mb.layer_norm(x=x, axes=axes, **given)

    [got] = run_program(build, {"x": PICTURES}).values()
    _close(got, *fold_program(build, {"x": PICTURES}))


@pytest.mark.parametrize("x", [SEQUENCES, PICTURES, VOLUMES], ids=["sequences", "pictures", "volumes"])
def test_l2_norm(x: np.ndarray, run_program: Callable, fold_program: Callable) -> None:
    def build(mb, x):
        return [mb.l2_norm(x=x), mb.l2_norm(x=x, epsilon=EPSILON)]

    for got, want in zip(run_program(build, {"x": x}).values(), fold_program(build, {"x": x}), strict=True):
        _close(got, want)


@pytest.mark.parametrize("x", [SEQUENCES, PICTURES], ids=["sequences", "pictures"])
def test_local_response_norm(x: np.ndarray, run_program: Callable) -> None:
    alpha, beta, k = 0.3, 0.6, 2.0

    def build(mb, x):
        given = {"alpha": np.float32(alpha), "beta": np.float32(beta), "k": np.float32(k)}
        return [mb.local_response_norm(x=x, size=3), mb.local_response_norm(x=x, size=3, **given)]

    default, given = run_program(build, {"x": x}).values()
    squares = np.pad(np.square(x), [(0, 0), (1, 1), *[(0, 0)] * (x.ndim - 2)])
    sums = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    _close(default, x / (1 + 1e-4 / 3 * sums) ** 0.75)
    _close(given, x / (k + alpha / 3 * sums) ** beta)


def test_even_neighbourhoods_are_refused(run_program: Callable) -> None:
    with pytest.raises(UnsupportedError, match="local_response_norm"):
        run_program(lambda mb, x: mb.local_response_norm(x=x, size=2), {"x": PICTURES})
