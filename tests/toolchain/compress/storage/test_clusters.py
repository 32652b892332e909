"""K-means of weights: never worse than its start, near the best there is, zeros stay zeros."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from toolchain.compress.storage.clusters import share
from toolchain.converters.coreml.palette import Sums, lloyd

FINITE = {"allow_nan": False, "allow_infinity": False}
WEIGHTS = arrays.arrays(np.float32, st.integers(1, 120), elements=st.floats(-8, 8, width=32, **FINITE))


def error_of(weights: np.ndarray, table: np.ndarray) -> float:
    return float((np.abs(weights.astype(np.float64)[:, None] - table).min(1) ** 2).sum())


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, st.integers(1, 8))
def test_zeros_stay_and_no_table_is_too_large(weights: np.ndarray, bits: int) -> None:
    weights[::3] = 0
    made = share(torch.from_numpy(weights), bits)
    shared = made.weights().numpy()
    assert len(made.values) <= 1 << bits
    assert np.all(np.diff(made.values.numpy()) > 0)
    assert not shared[weights == 0].any()
    assert shared.dtype == weights.dtype
    if len(np.unique(weights)) <= 1 << bits:
        assert np.array_equal(shared, weights)


@settings(max_examples=100, deadline=None)
@given(WEIGHTS.filter(lambda weights: weights.all()), st.integers(1, 4))
def test_never_worse_than_the_start(weights: np.ndarray, bits: int) -> None:
    shared = share(torch.from_numpy(weights), bits).weights().numpy()
    start = np.linspace(weights.min(), weights.max(), 1 << bits, dtype=np.float64)
    error = ((shared.astype(np.float64) - weights) ** 2).sum()
    # Centroids are rounded to float32.
    assert error <= error_of(weights, start) * (1 + 1e-5) + 1e-9


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(2, 9))
def test_no_step_makes_the_error_larger(weights: np.ndarray, levels: int) -> None:
    values, counts = np.unique(weights.astype(np.float64), return_counts=True)
    if len(values) <= levels:
        return
    sums, start = Sums(values, counts), np.linspace(values[0], values[-1], levels)
    errors = [lloyd(sums, start, steps)[1] for steps in range(12)]
    assert all(after <= before + 1e-9 * (1 + before) for before, after in itertools.pairwise(errors))


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float64, st.integers(3, 8), elements=st.floats(0.5, 8, width=16), unique=True))
def test_the_result_is_at_rest_and_no_better_than_brute_force(weights: np.ndarray) -> None:
    """Every border between two runs of the sorted weights is tried; k-means rests at one of them."""
    made = share(torch.from_numpy(weights), 1)
    ordered = np.sort(weights)
    splits = [(ordered[:cut], ordered[cut:]) for cut in range(1, len(ordered))]
    costs = [sum(((part - part.mean()) ** 2).sum() for part in split) for split in splits]
    error = float(((made.weights().numpy() - weights) ** 2).sum())
    assert error >= min(costs) - 1e-9
    assert any(abs(error - cost) < 1e-9 for cost in costs)
    for entry, value in enumerate(made.values.tolist()):
        assert value == pytest.approx(weights[made.codes.numpy() == entry].mean(), abs=1e-12)


@pytest.mark.parametrize("draw", ["standard_normal", "laplace", "standard_t"])
@pytest.mark.parametrize("bits", [2, 3, 5])
def test_not_far_from_the_best_table(draw: str, bits: int) -> None:
    """The optimum in one dimension by dynamic programming over the sorted weights."""
    generator = np.random.default_rng(5)
    weights = generator.standard_t(4, 200) if draw == "standard_t" else getattr(generator, draw)(size=200)
    ordered = np.sort(weights)
    cost = np.full((201, 201), np.inf)
    for first, last in itertools.combinations(range(201), 2):
        cost[first, last] = ordered[first:last].var() * (last - first)
    best = cost[0]
    for _ in range((1 << bits) - 1):
        best = np.minimum(best, (best[:, None] + cost).min(0))
    shared = share(torch.from_numpy(weights), bits).weights().numpy()
    error = ((shared - weights) ** 2).sum()
    assert best[200] - 1e-9 <= error <= 2.5 * best[200]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-38, 1.0, 3e4])
def test_any_type_and_scale(dtype: torch.dtype, scale: float) -> None:
    weights = (torch.linspace(-1, 1, 999, dtype=torch.float64) * scale).to(dtype)
    made = share(weights, 4)
    assert made.values.dtype == dtype
    # Centroids rest near the evenly spaced ones, whose cells are this wide.
    assert float((made.weights().double() - weights.double()).abs().max()) <= 2 * scale / 15


def test_the_largest_numbers_do_not_overflow() -> None:
    weights = torch.linspace(-1, 1, 99, dtype=torch.float64) * 1.7e308
    assert bool(torch.isfinite(share(weights, 3).weights()).all())


def test_float16_tables_hold_float16_numbers() -> None:
    weights = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    made = share(weights, 4, torch.float16)
    assert made.values.dtype == torch.float16
    nearest = (weights.double()[..., None] - made.values.double()).abs().argmin(-1)
    assert torch.equal(nearest, made.codes)
