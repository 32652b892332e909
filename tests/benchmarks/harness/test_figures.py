"""Quantiles, spread, outliers, drift and ratios of samples whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmarks.harness.figures import (
    figures,
    notes,
    own_memory,
    ratio,
    stage_figures,
    summary,
    waited,
)
from toolchain.benchmarks.harness.results import HOST, Entry, Lane, Results


def only_total(times: list[float]) -> Entry:
    return Entry("net", "test", 1, None, 0.0, 0.0, 0, True, 1, {"total": times}, [0.0] * len(times))


TIMES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=80)


def test_figures_of_one_to_a_hundred():
    found = figures(list(range(1, 101)))
    assert (found.p50, found.p90, found.p99) == pytest.approx((50.5, 90.1, 99.01))
    assert (found.mean, found.minimum, found.maximum, found.count) == (50.5, 1, 100, 100)
    # Distances from 50.5 are 0.5 to 49.5, each twice.
    assert found.spread == pytest.approx(25.0)
    assert found.outliers == 0


@pytest.mark.parametrize(
    ("samples", "outliers"),
    [
        # Median 10.5, deviation 2.5: 3.5 * 1.4826 * 2.5 = 12.97 from the median.
        ([8, 8, 9, 10, 11, 12, 13, 13, 24], 1),
        ([8, 8, 9, 10, 11, 12, 13, 13, 15], 0),
        # More than half are equal: the mean deviation is 2, and 90 is further than 3.5 * 1.2533 * 2 away.
        ([10] * 49 + [110], 1),
        ([10] * 20, 0),
        ([10], 0),
    ],
)
def test_outliers_are_counted_by_the_rule(samples, outliers):
    assert figures(samples).outliers == outliers


@pytest.mark.parametrize(
    ("samples", "drift", "drifted"),
    [
        ([10.0] * 9, 0.0, False),
        ([10.0] * 3 + [50.0] * 4 + [12.0] * 3, 0.2, True),
        ([10.0] * 3 + [9.0] * 3 + [9.6] * 3, -0.04, False),
        ([10.0] * 8, None, False),
        ([0.0] * 9, None, False),
    ],
)
def test_drift_compares_the_thirds(samples, drift, drifted):
    found = figures(samples)
    assert found.drift == (drift if drift is None else pytest.approx(drift))
    assert found.drifted == drifted


@pytest.mark.parametrize("samples", [[], [float("nan")], [1.0, float("inf")]])
def test_no_samples_and_infinite_ones_are_refused(samples):
    with pytest.raises(ValueError, match="at least one sample"):
        figures(samples)


@given(TIMES, st.floats(0.01, 100))
def test_figures_are_in_order_and_scale_with_the_samples(samples, factor):
    found, scaled = figures(samples), figures([value * factor for value in samples])
    assert found.minimum <= found.p50 <= found.p90 <= found.p99 <= found.maximum
    assert 0 <= found.spread <= found.maximum - found.minimum
    for name in ("p50", "p90", "p99", "mean", "minimum", "maximum", "spread"):
        assert getattr(scaled, name) == pytest.approx(getattr(found, name) * factor, rel=1e-9, abs=1e-9)
    assert 0 <= found.outliers < max(2, found.count / 2)


@given(TIMES)
def test_order_in_time_matters_to_drift_alone(samples):
    forward, backward = figures(samples).as_json(), figures(samples[::-1]).as_json()
    assert {k: v for k, v in forward.items() if "drift" not in k and k != "mean"} == {
        k: v for k, v in backward.items() if "drift" not in k and k != "mean"
    }


def test_total_comes_last(make_entry):
    entry = make_entry([3.0], samples={"total": [3.0], "a": [1.0], "b": [2.0]})
    assert list(stage_figures(entry)) == ["a", "b", "total"]


def test_a_ratio_is_taken_within_rounds(make_entry):
    base = make_entry([10.0, 20.0, 40.0, 10.0])
    entry = make_entry([11.0, 22.0, 44.0, 11.0])
    found = ratio(entry, base)
    assert (found.median, found.low, found.high, found.pairs) == (
        *(pytest.approx(1.1) for _ in range(3)),
        4,
    )


def test_a_ratio_with_an_entry_that_ended_early_uses_its_rounds(make_entry):
    found = ratio(make_entry([20.0, 40.0], partial="gone"), make_entry([10.0, 20.0, 500.0]))
    assert (found.median, found.pairs) == (pytest.approx(2.0), 2)


def test_what_was_waited_for_a_core_is_no_part_of_a_ratio(make_entry):
    base = make_entry([5.0, 9.0, 5.0], waited_ms=[0.0, 4.0, 0.0])
    entry = make_entry([15.5, 5.5, 6.5], waited_ms=[10.0, 0.0, 1.0])
    assert ratio(entry, base).median == pytest.approx(1.1)
    assert ratio(entry, make_entry([5.0, 9.0, 5.0])).median == pytest.approx(1.3)
    assert ratio(entry, base, stage="inference").median == pytest.approx(1.3)
    assert waited(base) == pytest.approx(4 / 19)
    assert waited(make_entry([5.0])) is None


@pytest.mark.parametrize(("over", "under"), [([], [1.0]), ([1.0], [0.0])])
def test_there_is_no_ratio_without_times(over, under, make_entry):
    assert ratio(make_entry(over), make_entry(under)) is None


@given(st.lists(st.floats(1, 100), min_size=1, max_size=30), st.floats(0.5, 2.0))
def test_a_constant_factor_is_found_whatever_the_noise(times, factor):
    found = ratio(only_total([value * factor for value in times]), only_total(times))
    assert found.median == pytest.approx(factor)
    assert found.low <= found.median * (1 + 1e-12)
    assert found.high >= found.median * (1 - 1e-12)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"steady": False}, ["not settled"]),
        ({"partial": "the phone went away"}, ["the phone went away"]),
        ({"repeats": 4}, ["mean of 4 runs"]),
        ({"waited_ms": [1.0] * 9}, ["10% of the time"]),
        ({"runtime": "reference interpreter on PyTorch 2.13, not Core ML"}, ["not of Core ML"]),
    ],
)
def test_what_a_reader_must_know_is_noted(fields, expected, make_entry):
    found = notes(make_entry([10.0] * 9, **fields))
    assert len(found) == len(expected)
    assert all(part in note for part, note in zip(expected, found, strict=True))


def test_drift_is_noted(make_entry):
    assert notes(make_entry([10.0] * 5 + [13.0] * 5)) == ["drifted by +30.0%"]


def test_memory_of_an_entry_is_what_it_added(make_entry):
    assert own_memory(make_entry([1.0], memory_mb={"before": 100.0, "loaded": 120.0, "peak": 150.0})) == 50.0
    assert own_memory(make_entry([1.0], memory_mb={"before": 100.0})) is None


def test_the_summary_has_every_entry_and_its_ratio_to_the_first(make_entry):
    entries = [make_entry([10.0] * 9, "a"), make_entry([12.0] * 9, "b")]
    results = Results("model", "now", ["toolchain"], Lane(HOST, "cpu"), {}, {}, entries)
    first, second = summary(results)
    assert (first["name"], first["ratio"]) == ("a", None)
    assert second["ratio"]["median"] == pytest.approx(1.2)
    assert second["stages"]["total"]["p50"] == 12.0
    assert np.isfinite(list(second["stages"]["total"].values())).all()
