"""Order statistics and paired ratios: their properties on random samples, and values known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.benchmarks.statistics import paired_ratio, ratio_over_processes, summarize

positive = st.floats(1e-3, 1e3)
samples = st.lists(positive, min_size=1, max_size=40)
pairs = st.lists(st.tuples(positive, positive), min_size=1, max_size=40)
factors = st.floats(0.1, 10)


@given(samples)
def test_quantiles_are_ordered_and_inside_the_samples(values):
    found = summarize(values)
    assert (
        min(values) == found.minimum <= found.p10 <= found.median <= found.p90 <= found.maximum == max(values)
    )
    assert found.count == len(values)


@given(samples, st.randoms(use_true_random=False))
def test_summary_ignores_the_order_of_samples(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert summarize(shuffled) == summarize(values)


@given(samples, factors)
def test_summary_scales_with_the_unit(values, factor):
    found, scaled = summarize(values), summarize([value * factor for value in values])
    assert np.allclose(
        [scaled.p10, scaled.median, scaled.p90], np.array([found.p10, found.median, found.p90]) * factor
    )


@pytest.mark.parametrize(
    ("values", "median", "p10", "p90"),
    [
        ([7.0], 7.0, 7.0, 7.0),
        ([1.0, 2.0], 1.5, 1.1, 1.9),
        ([float(value) for value in range(11)], 5.0, 1.0, 9.0),
        ([1.0, 1.0, 1.0, 100.0], 1.0, 1.0, 70.3),
    ],
)
def test_summary_of_known_samples(values, median, p10, p90):
    found = summarize(values)
    assert (found.median, found.p10, found.p90) == pytest.approx((median, p10, p90))


@settings(deadline=None)
@given(pairs)
def test_ratio_lies_inside_its_interval_and_the_interval_inside_the_ratios(rows):
    numerator, denominator = zip(*rows, strict=True)
    found = paired_ratio(numerator, denominator, resamples=200)
    each = np.divide(numerator, denominator)
    assert each.min() <= found.low <= found.high <= each.max()
    assert found.median == pytest.approx(float(np.median(each)))
    assert found.pairs == len(rows)


@settings(deadline=None)
@given(pairs, factors)
def test_ratio_scales_with_the_numerator(rows, factor):
    numerator, denominator = np.array(rows).T
    found = paired_ratio(numerator, denominator, resamples=200)
    scaled = paired_ratio(numerator * factor, denominator, resamples=200)
    expected = np.array([found.median, found.low, found.high]) * factor
    assert np.allclose([scaled.median, scaled.low, scaled.high], expected)


@settings(deadline=None)
@given(samples, factors)
def test_constant_ratio_has_an_interval_of_no_width(values, factor):
    found = paired_ratio([value * factor for value in values], values, resamples=50)
    assert (found.median, found.low, found.high) == pytest.approx((factor, factor, factor))


@settings(deadline=None)
@given(samples, factors)
def test_disturbances_that_meet_both_files_of_a_round_cancel(disturbance, factor):
    slow, fast = np.array(disturbance) * 3.0 * factor, np.array(disturbance) * 3.0
    assert paired_ratio(slow, fast, resamples=50).median == pytest.approx(factor)


def test_interval_covers_the_true_ratio_as_often_as_promised():
    rng = np.random.default_rng(1)
    trials, covered = 200, 0
    for trial in range(trials):
        denominator = rng.lognormal(0, 0.1, 60)
        numerator = 1.2 * rng.lognormal(0, 0.1, 60)
        found = paired_ratio(numerator, denominator, confidence=0.9, resamples=200, seed=trial)
        covered += found.low <= 1.2 <= found.high
    assert 0.82 <= covered / trials <= 0.97


def test_same_seed_gives_the_same_interval():
    rng = np.random.default_rng(2)
    numerator, denominator = rng.uniform(1, 2, 30), rng.uniform(1, 2, 30)
    assert paired_ratio(numerator, denominator, seed=3) == paired_ratio(numerator, denominator, seed=3)


@pytest.mark.parametrize(
    ("numerator", "denominator", "options", "message"),
    [
        ([], [], {}, "at least one"),
        ([1.0], [1.0, 2.0], {}, "cannot be paired"),
        ([1.0, 0.0], [1.0, 1.0], {}, "positive"),
        ([1.0, 1.0], [1.0, -1.0], {}, "positive"),
        ([float("nan")], [1.0], {}, "finite"),
        ([1.0], [float("inf")], {}, "finite"),
        ([1.0], [1.0], {"confidence": 1.0}, "between 0 and 1"),
    ],
)
def test_bad_samples_are_refused(numerator, denominator, options, message):
    with pytest.raises(ValueError, match=message):
        paired_ratio(numerator, denominator, **options)


@given(samples)
def test_process_ratio_is_the_geometric_mean_inside_its_interval(values):
    found = ratio_over_processes(values)
    assert found.mean == pytest.approx(float(np.exp(np.mean(np.log(values)))))
    if len(values) > 1:
        assert found.low <= found.mean * (1 + 1e-12)
        assert found.high >= found.mean * (1 - 1e-12)


@given(samples)
def test_swapping_the_files_inverts_ratio_and_interval(values):
    found, swapped = ratio_over_processes(values), ratio_over_processes([1 / value for value in values])
    assert swapped.mean == pytest.approx(1 / found.mean)
    if len(values) > 1 and found.high < 1e300:
        assert swapped.low == pytest.approx(1 / found.high)


def test_one_process_has_no_interval():
    found = ratio_over_processes([1.1])
    assert (found.mean, found.low, found.high) == (pytest.approx(1.1), None, None)


@pytest.mark.parametrize("count", [2, 4, 6, 40])
def test_interval_over_processes_covers_what_differs_between_them(count):
    """Rounds of a process share an offset, which only the interval over processes allows for."""
    rng = np.random.default_rng(count)
    trials, over_rounds, over_processes = 200, 0, 0
    for _ in range(trials):
        offsets = rng.normal(0, 0.03, count)
        rounds = [np.exp(offset + rng.normal(0, 0.01, 20)) for offset in offsets]
        single = paired_ratio(rounds[0], np.ones(20), resamples=50)
        over_rounds += single.low <= 1 <= single.high
        found = ratio_over_processes([np.median(ratios) for ratios in rounds])
        over_processes += found.low <= 1 <= found.high
    assert over_processes / trials >= 0.9
    assert over_rounds / trials <= 0.5


@pytest.mark.parametrize("ratios", [[], [0.0], [-1.0, 1.0], [float("nan")]])
def test_impossible_process_ratios_are_refused(ratios):
    with pytest.raises(ValueError, match=r"at least one|positive|finite"):
        ratio_over_processes(ratios)
