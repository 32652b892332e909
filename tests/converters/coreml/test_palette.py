"""K-means in one dimension: tables, indices, and how good they are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from toolchain.converters.coreml.palette import lossless_tables, palettize
from toolchain.parity import compare
from toolchain.spec import GENERIC

TYPES = (np.float16, np.float32)
FINITE = {"allow_nan": False, "allow_infinity": False}


def sqnr_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """Signal-to-quantization-noise ratio in dB."""
    return compare([{"w": expected}], [{"w": actual}], GENERIC).sqnr_db


def squared_error(weights: np.ndarray, table: np.ndarray) -> float:
    """Sum of squared distances to the nearest entry."""
    distance = np.abs(weights.astype(np.float64).reshape(-1, 1) - np.unique(table).astype(np.float64))
    return float((distance.min(1) ** 2).sum())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("bits", "least"), [(1, 4.3), (2, 9.2), (4, 20.1), (6, 31.7), (8, 43.7)])
def test_normal_weights_are_as_near_as_theory_allows(dtype: type, bits: int, least: float) -> None:
    """Optimal levels for a Gaussian reach 4.40, 9.30, 20.22 and 31.89 dB with 1, 2, 4, 6 bits (Max, 1960)."""
    weights = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(dtype)
    table, indices = palettize(weights, bits)
    assert sqnr_db(weights, table[indices]) > least


@pytest.mark.parametrize("dtype", TYPES)
def test_few_distinct_values_are_kept_exactly(dtype: type) -> None:
    weights = np.random.default_rng(0).choice(np.array([-2.5, 0, 1e-4, 3], dtype), (7, 5))
    table, indices = palettize(weights, 4)
    assert table.shape == (16,)
    assert table.dtype == dtype
    assert np.array_equal(table[indices], weights)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float16, st.integers(1, 300), elements=st.floats(-100, 100, width=16, **FINITE)),
    st.sampled_from([1, 2, 4, 6, 8]),
)
def test_every_weight_gets_its_nearest_entry(weights: np.ndarray, bits: int) -> None:
    table, indices = palettize(weights, bits)
    assert table.shape == (1 << bits,)
    assert indices.dtype == np.uint8
    assert np.all(np.diff(table.astype(np.float64)) >= 0)
    chosen = np.abs(weights.astype(np.float64) - table[indices].astype(np.float64))
    nearest = np.abs(weights.astype(np.float64)[:, None] - table.astype(np.float64)).min(1)
    assert np.array_equal(chosen, nearest)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, st.integers(3, 200), elements=st.floats(-8, 8, width=16, **FINITE)),
    st.sampled_from([1, 2, 4]),
)
def test_never_worse_than_evenly_spaced_levels(weights: np.ndarray, bits: int) -> None:
    table, _ = palettize(weights, bits)
    even = np.linspace(weights.min(), weights.max(), 1 << bits)
    assert squared_error(weights, table) <= squared_error(weights, even) * (1 + 1e-6) + 1e-9


def best_error(weights: np.ndarray, levels: int) -> float:
    """The least squared error of any table, by trying all runs of the sorted weights."""
    ordered = np.sort(weights.astype(np.float64))
    count = len(ordered)
    cost = np.full((count + 1, count + 1), np.inf)
    for start in range(count):
        for end in range(start + 1, count + 1):
            cost[start, end] = ((ordered[start:end] - ordered[start:end].mean()) ** 2).sum()
    best = cost[0]
    for _ in range(levels - 1):
        best = np.minimum(best, (best[:, None] + cost).min(0))
    return float(best[count])


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "standard_exponential"])
def test_not_far_from_the_best_table(draw: str, bits: int) -> None:
    weights = getattr(np.random.default_rng(3), draw)(150).astype(np.float32)
    table, _ = palettize(weights, bits)
    assert squared_error(weights, table) <= 1.5 * best_error(weights, 1 << bits)


def test_same_weights_give_the_same_table() -> None:
    weights = np.random.default_rng(1).laplace(size=(128, 64)).astype(np.float16)
    first, second = (palettize(weights.copy(), 6) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("scale", "far"), list(itertools.product([1e-6, 1.0, 1e3], [1, 30])))
def test_outliers_and_small_weights(scale: float, far: float) -> None:
    """Tables follow the weights' own range; one far weight does not take it away from the others."""
    weights = np.random.default_rng(2).standard_normal(5000).astype(np.float32) * np.float32(scale)
    weights[0] = far * scale
    table, indices = palettize(weights, 6)
    assert sqnr_db(weights, table[indices]) > 30


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_shared_weights_are_their_own_table(dtype: type, bits: int) -> None:
    """Negative zeros, which folded batch normalization makes of zeros, take no entry of their own."""
    random = np.random.default_rng(bits)
    values = np.append(random.standard_normal((1 << bits) - 1), 0).astype(dtype)
    weights = random.choice(values, (64, 32, 3, 3))
    weights[::2][weights[::2] == 0] = -0.0
    table, indices = palettize(weights, bits)
    assert np.array_equal(table[indices], weights)
    assert set(table.tolist()) == set(values.tolist())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_shared_weights_with_folded_normalization_take_a_table_for_each_channel(
    dtype: type, axis: int
) -> None:
    random = np.random.default_rng(0)
    weights = random.choice(random.standard_normal(16), (32, 32, 5, 5))
    scale = random.standard_normal(32).reshape([-1 if index == axis else 1 for index in range(4)])
    shared, scaled = weights.astype(dtype), (weights * scale).astype(dtype)
    assert lossless_tables(shared, 4, axis, (1, 2, 32)) == 1
    assert lossless_tables(scaled, 4, axis, (1, 2, 32)) == 32
    assert lossless_tables(scaled, 4, axis, (1, 2)) is None
    assert lossless_tables(scaled, 3, axis, (1, 2, 32)) is None
    for part in np.split(scaled, 32, axis):
        table, indices = palettize(part, 4)
        assert np.array_equal(table[indices], part)
