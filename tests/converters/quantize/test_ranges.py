"""Ranges from histograms, against figures by hand, brute force and ONNX Runtime's own calibrator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization.calibrate import HistogramCollector

from toolchain.converters.quantize.observe import Histogram
from toolchain.converters.quantize.ranges import (
    by_entropy,
    by_percentile,
    by_squared_error,
    ranges_from_card,
)
from toolchain.converters.quantize.scheme import Range, asymmetric
from toolchain.errors import UsageError

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal(100_000).astype(np.float32)
DATA = {
    "normal": NORMAL,
    "relu": np.maximum(NORMAL, 0),
    "shifted": NORMAL + 3,
    "outlier": np.append(NORMAL, np.float32(60)),
    "two outliers": np.append(NORMAL, np.array([-40, 60], np.float32)),
    "laplace": RNG.laplace(size=100_000).astype(np.float32),
    "negative": -np.abs(NORMAL),
}
METHODS = {"percentile": by_percentile, "entropy": by_entropy, "mse": by_squared_error}


def observed(data):
    histogram = Histogram()
    histogram.add(data)
    return histogram, Range(float(data.min()), float(data.max()))


def error(data, found):
    stored = asymmetric(found)
    return float(((stored.real(stored.stored(data.astype(np.float64))) - data) ** 2).mean())


@pytest.mark.parametrize("name", sorted(DATA))
def test_percentile_is_that_of_the_values(name):
    data = DATA[name]
    histogram, extremes = observed(data)
    found = by_percentile(histogram, extremes, 99)
    low, high = np.percentile(data, [0.5, 99.5])
    assert found.low == pytest.approx(low, abs=2 * histogram.width)
    assert found.high == pytest.approx(high, abs=2 * histogram.width)


def test_percentile_agrees_with_onnxruntime():
    data = DATA["laplace"]
    collector = HistogramCollector("percentile", False, 4096, 128, 99.9, "same")
    collector.collect({"x": data})
    low, high, *_ = collector.compute_percentile()["x"]
    found = by_percentile(*observed(data), 99.9)
    width = 2 * float(np.abs(data).max()) / 4096
    assert found.low == pytest.approx(float(low), abs=2 * width)
    assert found.high == pytest.approx(float(high), abs=2 * width)


@pytest.mark.parametrize("name", sorted(DATA))
def test_squared_error_is_never_more_than_that_of_the_extremes(name):
    data = DATA[name]
    histogram, extremes = observed(data)
    assert error(data, by_squared_error(histogram, extremes)) <= error(data, extremes) * 1.001


@pytest.mark.parametrize("name", ["outlier", "laplace", "relu"])
def test_squared_error_is_near_the_least_of_all(name):
    data = DATA[name][:20_000] if name != "outlier" else DATA[name]
    histogram, extremes = observed(data)
    shares = np.linspace(0.04, 1, 49)
    least = min(error(data, Range(extremes.low * a, extremes.high * b)) for a in shares[::4] for b in shares)
    assert error(data, by_squared_error(histogram, extremes)) <= 1.1 * least


def test_an_outlier_is_cut_off():
    histogram, extremes = observed(DATA["outlier"])
    for method in (by_percentile, by_entropy):
        assert method(histogram, extremes).high < 10


def test_entropy_agrees_with_onnxruntime_on_symmetric_data():
    data = np.concatenate([NORMAL, -NORMAL])
    collector = HistogramCollector("entropy", True, 1024, 255, 99.9, "same")
    collector.collect({"x": data})
    low, high, *_ = collector.compute_entropy()["x"]
    found = by_entropy(*observed(data))
    # The divergence is flat around its minimum.
    assert found.high == pytest.approx(float(high), rel=0.15)
    assert found.low == pytest.approx(float(low), rel=0.15)


@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("method", sorted(METHODS))
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_ranges_lie_within_the_extremes(method, values):
    histogram, extremes = observed(np.array(values, np.float32))
    found = METHODS[method](histogram, extremes)
    assert extremes.low <= found.low <= found.high <= extremes.high


def test_card():
    card = {"model": "net", "calibration": {"ranges": {"x": [-1.0, 1], "y": [0, 2.5]}}}
    assert ranges_from_card(card) == {"x": Range(-1.0, 1.0), "y": Range(0.0, 2.5)}


@pytest.mark.parametrize(
    "card",
    [
        None,
        {"model": "net"},
        {"model": "net", "calibration": None},
        {"model": "net", "calibration": {"ranges": {}}},
        {"model": "net", "calibration": {"ranges": {"x": [1, 2, 3]}}},
        {"model": "net", "calibration": {"ranges": {"x": ["a", 2]}}},
        {"model": "net", "calibration": {"ranges": {"x": [2, 1]}}},
        {"model": "net", "calibration": {"ranges": {"x": [0, float("inf")]}}},
    ],
)
def test_a_card_without_good_ranges(card):
    with pytest.raises(UsageError, match="card") as caught:
        ranges_from_card(card)
    assert "--calibration" in caught.value.hint
