"""Scales and zero points: worked out by hand, and the properties that every one must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.converters.quantize.scheme import (
    BIAS_MOST,
    FIXED,
    FIXED_INT16,
    Range,
    asymmetric,
    bias,
    symmetric,
    symmetric_int16,
)

NUMBERS = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [
        (0.0, 2.55, 0.01, -128),
        (-2.55, 0.0, 0.01, 127),
        (-1.28, 1.27, 0.01, 0),
        (1.0, 5.1, 0.02, -128),
        (-5.1, -1.0, 0.02, 127),
        (-1.0, 1.0, 1 / 127, 0),
        (0.0, 0.0, 1.0, -128),
        (0.0, 1e-40, 1.0, -128),
        (*FIXED["Sigmoid"], 1 / 256, -128),
        (*FIXED["Tanh"], 1 / 128, 0),
        (*FIXED["LogSoftmax"], 16 / 256, 127),
    ],
)
def test_asymmetric_parameters(low, high, scale, zero):
    found = asymmetric(Range(low, high))
    assert found.scale[0] == pytest.approx(scale, rel=1e-6)
    assert found.zero_point[0] == zero
    assert found.dtype == np.int8


@pytest.mark.parametrize("op", sorted(FIXED_INT16))
def test_int16_functions_have_steps_of_a_power_of_two(op):
    found = symmetric_int16(Range(*FIXED_INT16[op]))
    assert found.scale[0] == np.float32(1 / 32768)
    assert found.zero_point[0] == 0


@given(NUMBERS, NUMBERS, st.lists(st.floats(0, 1), min_size=1, max_size=20))
@pytest.mark.parametrize("parameters", [asymmetric, symmetric_int16])
def test_values_in_range_come_back_within_half_a_step(parameters, first, second, shares):
    low, high = sorted((first, second))
    found = parameters(Range(low, high))
    values = np.clip(np.array(shares) * (high - low) + low, low, high)
    scale = float(found.scale[0])
    back = found.real(found.stored(values)).astype(np.float64)
    if np.float32(max(high, 0) - min(low, 0)) / 32767 > 1e-37:
        assert np.abs(back - values).max() <= scale * 0.5 + 1e-5 * max(abs(low), abs(high))
    assert found.real(found.stored(np.zeros(1)))[0] == 0


def test_weights_have_a_scale_for_each_channel_and_never_minus_128():
    weights = np.array([[1.27, -0.5], [-2.54, 0.0]], np.float32)
    found = symmetric(weights, 0)
    np.testing.assert_allclose(found.scale, [0.01, 0.02], rtol=1e-6)
    np.testing.assert_array_equal(found.stored(weights), [[127, -50], [-127, 0]])
    assert found.axis == 0


def test_one_scale_for_all_weights():
    found = symmetric(np.array([[1.0, -2.54]], np.float32), None)
    np.testing.assert_allclose(found.scale, [0.02], rtol=1e-6)


def test_bias_has_the_scale_of_the_products():
    source = asymmetric(Range(0, 2.55))
    weights = symmetric(np.array([[1.27], [2.54]], np.float32), 0)
    found = bias(source, weights)
    np.testing.assert_allclose(found.scale, [1e-4, 2e-4], rtol=1e-6)
    np.testing.assert_array_equal(found.stored(np.array([1.0, -1.0])), [10000, -5000])
    assert found.dtype == np.int32


def test_weight_scale_is_widened_where_the_bias_would_not_fit():
    source = asymmetric(Range(0, 2.55e-6))
    weights, offset = np.array([[1e-6], [1.27]], np.float32), np.array([1000.0, 0.001], np.float32)
    found = symmetric(weights, 0, source, offset)
    assert found.scale[0] == pytest.approx(1000.0 / 1e-8 / BIAS_MOST, rel=1e-4)
    assert found.scale[1] == pytest.approx(0.01, rel=1e-6)
    integers = bias(source, found).stored(offset.astype(np.float64))
    np.testing.assert_allclose(bias(source, found).real(integers), offset, rtol=1e-5)


def test_bias_of_a_channel_without_weights_is_exact():
    source = asymmetric(Range(0, 255))
    weights, offset = np.zeros((2, 3), np.float32), np.array([0.3, 0.0], np.float32)
    found = symmetric(weights, 0, source, offset)
    made = bias(source, found)
    np.testing.assert_allclose(made.real(made.stored(offset.astype(np.float64))), offset, rtol=1e-6)
    np.testing.assert_array_equal(found.stored(weights), 0)


@given(
    st.lists(NUMBERS, min_size=4, max_size=4),
    st.lists(NUMBERS, min_size=2, max_size=2),
    st.floats(1e-30, 1e6),
    st.floats(1e-38, 1.0),
)
def test_weights_and_biases_always_fit(weights, offset, high, factor):
    weights = (np.array(weights).reshape(2, 2) * factor).astype(np.float32)
    offset = np.array(offset, np.float32)
    source = asymmetric(Range(0, high))
    found = symmetric(weights, 0, source, offset)
    made = bias(source, found)
    assert (found.scale >= np.finfo(np.float32).tiny).all()
    assert (made.scale >= np.finfo(np.float32).tiny).all()
    assert np.isfinite(made.scale).all()
    steps = offset.astype(np.float64) / made.scale
    assert (np.abs(steps) <= 2**31 - 1).all()
    error = np.abs(found.real(found.stored(weights.astype(np.float64))) - weights)
    assert (error <= found.scale[:, None] * 0.5001).all()
