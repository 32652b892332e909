"""What samples say: quantiles, spread, outliers, drift, and the ratio of two entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.contender import TOTAL
from toolchain.benchmarks.harness.results import Entry, Results
from toolchain.benchmarks.statistics import Ratio, paired_ratio

OUTLIER_RULE = "modified z-score above 3.5 (Iglewicz and Hoaglin 1993)"
OUTLIER_SCORE = 3.5
# What makes the two deviations those of a normal distribution.
NORMAL_MEDIAN_DEVIATION = 1.4826
NORMAL_MEAN_DEVIATION = 1.2533
DRIFT_RULE = "median of the last third against that of the first third, beyond 5 %"
DRIFT_BOUND = 0.05
DRIFT_SAMPLES = 9
# Share of the time that other programs may take before the reader is told.
WAITED_BOUND = 0.02


@dataclass(frozen=True)
class Figures:
    """Of the samples of one stage, in their unit.

    Attributes:
        p50: half of the samples lie below; quantiles are interpolated (Hyndman and Fan 1996, type 7).
        p90: nine tenths of the samples lie below.
        p99: ninety-nine hundredths lie below; with fewer than a hundred samples nearly the largest.
        mean: arithmetic mean.
        minimum: the smallest sample.
        maximum: the largest sample.
        spread: median absolute deviation from the median, unscaled.
        outliers: how many samples OUTLIER_RULE names; they stay in every figure.
        drift: median of the last third / median of the first third - 1; None below nine samples or when the
            first third's median is 0.
        count: number of samples.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    minimum: float
    maximum: float
    spread: float
    outliers: int
    drift: float | None
    count: int

    @property
    def drifted(self) -> bool:
        """Whether the time changed while it was measured, by DRIFT_RULE."""
        return self.drift is not None and abs(self.drift) > DRIFT_BOUND

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        return {**asdict(self), "drifted": self.drifted}


def figures(samples: Sequence[float] | np.ndarray) -> Figures:
    """Figures of samples in the order of time.

    Raises:
        ValueError: no samples, or one that is not finite.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError("figures need at least one sample, and finite ones")
    p50, p90, p99 = (float(value) for value in np.quantile(values, [0.5, 0.9, 0.99]))
    apart = np.abs(values - p50)
    return Figures(
        p50,
        p90,
        p99,
        float(values.mean()),
        float(values.min()),
        float(values.max()),
        float(np.median(apart)),
        _outliers(apart),
        _drift(values),
        values.size,
    )


def _outliers(apart: np.ndarray) -> int:
    """Count by OUTLIER_RULE; where more than half of the samples are equal, the mean deviation is used."""
    scale = NORMAL_MEDIAN_DEVIATION * float(np.median(apart))
    if scale == 0:
        scale = NORMAL_MEAN_DEVIATION * float(apart.mean())
    return int((apart > OUTLIER_SCORE * scale).sum()) if scale > 0 else 0


def _drift(values: np.ndarray) -> float | None:
    if values.size < DRIFT_SAMPLES:
        return None
    third = values.size // 3
    first = float(np.median(values[:third]))
    return float(np.median(values[-third:])) / first - 1 if first > 0 else None


def stage_figures(entry: Entry) -> dict[str, Figures]:
    """Figures of every stage, "total" last; empty for an entry without samples."""
    order = [stage for stage in entry.samples if stage != TOTAL] + [TOTAL]
    return {stage: figures(entry.samples[stage]) for stage in order if entry.samples[stage]}


def ratio(entry: Entry, base: Entry, stage: str = TOTAL, seed: int = 0) -> Ratio | None:
    """`entry` / `base` of one stage, paired by round; above 1 means that `entry` takes longer.

    Of "total", what the thread waited for a core that another program had is taken off where both entries
    know it: it belongs to neither of them. An entry that ended early is compared on the rounds that it has.
    The interval covers the rounds of this process; another process may lay out its memory otherwise, which
    changes the latency of a network by several per cent.

    Returns:
        None when one of the two has no samples, no such stage, or a time of zero.
    """
    over, under = (np.asarray(one.samples.get(stage, []), dtype=np.float64) for one in (entry, base))
    if stage == TOTAL and entry.waited_ms and base.waited_ms:
        over, under = over - np.asarray(entry.waited_ms), under - np.asarray(base.waited_ms)
    common = min(over.size, under.size)
    over, under = over[:common], under[:common]
    positive = (over > 0) & (under > 0)
    if not positive.any():
        return None
    return paired_ratio(over[positive].tolist(), under[positive].tolist(), seed=seed)


def waited(entry: Entry) -> float | None:
    """Share (0-1) of the measured time in which other programs had the core; None where not known."""
    total = sum(entry.samples[TOTAL])
    return sum(entry.waited_ms) / total if entry.waited_ms and total > 0 else None


def summary(results: Results) -> list[dict[str, Any]]:
    """Figures of every entry, as JSON can express them.

    Returns:
        Per entry: `name`, `stages` (`Figures` in ms by stage), `ratio` (to the first entry, None for that
        one; it supposes samples of common rounds, as the harness takes them), `waited` (share of the
        time), `memory_mb` and `notes`.
    """
    first = results.entries[0] if results.entries else None
    found = []
    for entry in results.entries:
        paired = ratio(entry, first) if first is not None and entry is not first else None
        found.append(
            {
                "name": entry.name,
                "stages": {stage: values.as_json() for stage, values in stage_figures(entry).items()},
                "ratio": None if paired is None else paired.as_json(),
                "waited": waited(entry),
                "memory_mb": own_memory(entry),
                "notes": notes(entry),
            }
        )
    return found


def own_memory(entry: Entry) -> float | None:
    """Megabytes that this entry needed at its peak, beyond what was there before; None where not known."""
    if not {"before", "peak"} <= entry.memory_mb.keys():
        return None
    return max(0.0, entry.memory_mb["peak"] - entry.memory_mb["before"])


def notes(entry: Entry) -> list[str]:
    """What a reader must know before trusting the figures of an entry; usually nothing."""
    found = []
    if entry.reference_interpreter:
        found.append("time of the reference interpreter, not of Core ML")
    if entry.partial is not None:
        found.append(entry.partial)
    if not entry.steady:
        found.append("not settled after the warm-up")
    if entry.samples[TOTAL]:
        total = figures(entry.samples[TOTAL])
        if total.drifted:
            found.append(f"drifted by {total.drift:+.1%}")
    share = waited(entry)
    if share is not None and share > WAITED_BOUND:
        found.append(f"other programs had the core for {share:.0%} of the time, which p50 to p99 include")
    if entry.repeats > 1:
        found.append(f"a sample is the mean of {entry.repeats} runs")
    return found
