"""Robust figures of timing samples.

Timings on a shared computer have a long right tail, so the centre is the median and a comparison is made
from pairs measured next to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK = 200
# 97.5 % quantile of Student's t distribution for 1 to 30 degrees of freedom; 1.96 is its limit.
STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
STUDENT_T_LIMIT = 1.96


@dataclass(frozen=True)
class Summary:
    """Order statistics of samples, in the unit of the samples.

    Attributes:
        median: half of the samples lie below.
        p10: a tenth of the samples lie below.
        p90: nine tenths of the samples lie below.
        minimum: the smallest sample.
        maximum: the largest sample.
        count: number of samples.
    """

    median: float
    p10: float
    p90: float
    minimum: float
    maximum: float
    count: int

    def as_json(self) -> dict[str, float]:
        """A dict that JSON can express."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """Median of the paired ratios of one process and its percentile bootstrap interval.

    The interval covers the rounds of this process alone; `ratio_over_processes` covers what differs
    between processes, which for the latency of a network is several per cent.

    Attributes:
        median: median of numerator / denominator over the pairs.
        low: lower end of the interval.
        high: upper end of the interval.
        confidence: share (0-1) of resamples inside the interval.
        pairs: number of pairs.
    """

    median: float
    low: float
    high: float
    confidence: float
    pairs: int

    def as_json(self) -> dict[str, float]:
        """A dict that JSON can express."""
        return asdict(self)


def summarize(samples: Sequence[float]) -> Summary:
    """Order statistics, quantiles interpolated linearly between samples (Hyndman and Fan 1996, type 7).

    Raises:
        ValueError: no samples, or one that is not finite.
    """
    values = _finite(samples)
    p10, median, p90 = np.quantile(values, [0.1, 0.5, 0.9])
    return Summary(
        float(median), float(p10), float(p90), float(values.min()), float(values.max()), values.size
    )


def paired_ratio(
    numerator: Sequence[float],
    denominator: Sequence[float],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ratio:
    """Median of `numerator[i] / denominator[i]` with a percentile bootstrap interval over the pairs.

    Dividing inside a pair cancels what disturbs both measurements of a round alike (clock, other load).
    Source of the interval: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        numerator: one positive sample per round.
        denominator: one positive sample per round, of the same rounds.
        confidence: share (0-1) of the resampled medians that lie inside the interval.
        resamples: number of resampled medians.
        seed: seed of the resampling.

    Raises:
        ValueError: different lengths, no pairs, a sample that is not finite and positive, or a
            confidence outside 0-1.
    """
    over, under = _finite(numerator), _finite(denominator)
    if over.size != under.size:
        raise ValueError(f"{over.size} samples cannot be paired with {under.size}")
    if (over <= 0).any() or (under <= 0).any():
        raise ValueError("a ratio needs positive samples")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    ratios = over / under
    medians = _resampled_medians(ratios, resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Ratio(float(np.median(ratios)), float(low), float(high), confidence, ratios.size)


def independent_ratio(
    numerator: Sequence[float] | np.ndarray,
    denominator: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of `statistic(numerator) / statistic(denominator)` of two measurements.

    Samples that follow each other resemble each other on a busy computer, so blocks of them are resampled,
    of a length of the cube root of their number. Source: Politis and Romano, A circular block-resampling
    procedure for stationary data, 1992.

    Args:
        numerator: positive samples in the order of time.
        denominator: positive samples of another measurement, in the order of time.
        statistic: (resamples, samples) -> (resamples,).
        confidence: share (0-1) of the resampled ratios that lie inside the interval.
        resamples: number of resampled ratios.
        seed: seed of the resampling.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: no samples, or one that is not finite and positive.
    """
    sides = [_finite(numerator), _finite(denominator)]
    if any((side <= 0).any() for side in sides):
        raise ValueError("a ratio needs positive samples")
    rng = np.random.default_rng(seed)
    over, under = (_resampled_in_blocks(side, statistic, resamples, rng) for side in sides)
    tail = (1 - confidence) / 2
    low, high = np.quantile(over / under, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_in_blocks(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    length = max(1, round(values.size ** (1 / 3)))
    blocks = -(-values.size // length)
    found = []
    for size in _chunks(resamples):
        starts = rng.integers(0, values.size, (size, blocks, 1))
        places = ((starts + np.arange(length)) % values.size).reshape(size, -1)[:, : values.size]
        found.append(statistic(values[places]))
    return np.concatenate(found)


@dataclass(frozen=True)
class ProcessRatio:
    """Ratio of two files over several processes, with an interval for the variation between processes.

    Attributes:
        mean: geometric mean of the processes' ratios.
        low: lower end of the 95 % interval; None for a single process.
        high: upper end of the 95 % interval; None for a single process.
        each: the ratio of every process.
    """

    mean: float
    low: float | None
    high: float | None
    each: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        return asdict(self)


def ratio_over_processes(ratios: Sequence[float]) -> ProcessRatio:
    """Geometric mean of one ratio per process and its 95 % Student interval on the logarithms.

    The rounds of one process share its memory layout, so an interval over rounds does not cover what
    another process would show; the processes are the independent samples.

    Raises:
        ValueError: no ratios, or one that is not finite and positive.
    """
    values = _finite(ratios)
    if (values <= 0).any():
        raise ValueError("a ratio must be positive")
    logs = np.log(values)
    mean = float(logs.mean())
    each = tuple(float(value) for value in values)
    if values.size == 1:
        return ProcessRatio(float(np.exp(mean)), None, None, each)
    freedom = values.size - 1
    quantile = STUDENT_T[freedom - 1] if freedom <= len(STUDENT_T) else STUDENT_T_LIMIT
    half = quantile * float(logs.std(ddof=1)) / values.size**0.5
    return ProcessRatio(float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)), each)


def _resampled_medians(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Medians of samples drawn with replacement, in chunks so that memory does not grow with `resamples`."""
    drawn = (values[rng.integers(0, values.size, (size, values.size))] for size in _chunks(resamples))
    return np.concatenate([np.median(sample, axis=1) for sample in drawn])


def _chunks(resamples: int) -> list[int]:
    return [CHUNK] * (resamples // CHUNK) + ([resamples % CHUNK] if resamples % CHUNK else [])


def _finite(samples: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("at least one sample is needed")
    if not np.isfinite(values).all():
        raise ValueError("samples must be finite")
    return values
