"""What TensorFlow Lite's benchmark_model writes.

Its log lines come from tensorflow/lite/tools/benchmark/benchmark_model.cc and
tensorflow/core/util/stats_calculator.h; newer builds begin each with a level such as "INFO: ".
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from toolchain.errors import UnsupportedError

NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
STATISTICS = re.compile(r"^(?:\w+: )?(count=\d+ .*)$", re.MULTILINE)
FIELD = re.compile(rf"(\w+)=({NUMBER})")
TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({NUMBER}), First inference: ({NUMBER}), "
    rf"Warmup \(avg\): ({NUMBER}), Inference \(avg\): ({NUMBER})"
)
PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: ({NUMBER})")
IGNORED = re.compile(r"Unconsumed cmdline flags: *(.*\S)")
XNNPACK = re.compile(r"XNNPACK delegate", re.IGNORECASE)
PROFILE = "Operator-wise Profiling Info for Regular Benchmark Runs"
BY_TIME = "Top by Computation Time"
# The two printed averages of one figure differ by their rounding to six digits.
ROUNDING = 1e-4
US_PER_MS = 1e3
MEBI = 1 << 20
MEGA = 1e6


@dataclass(frozen=True)
class Statistics:
    """One line of statistics; times in milliseconds. Of the single runs only the first and last are known.

    Attributes:
        count: runs.
        first: the first run.
        last: the last run.
        min: shortest.
        max: longest.
        avg: mean.
        std: standard deviation.
        median: None in builds that do not print it.
        p5: likewise.
        p95: likewise.
    """

    count: int
    first: float
    last: float
    min: float
    max: float
    avg: float
    std: float
    median: float | None = None
    p5: float | None = None
    p95: float | None = None

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Launch:
    """One call of benchmark_model; times in milliseconds.

    Attributes:
        load_ms: initialization of the session.
        first_ms: the first inference.
        warmup: statistics of the warm-up, the first inference included.
        runs: statistics of the measured runs.
        xnnpack: whether the log names XNNPACK's delegate.
        peak_mb: peak memory in MB (10^6 bytes), where it was asked for.
        operators: `name`, `op`, `ms`, `share` of each, slowest first, where they were asked for.
    """

    load_ms: float
    first_ms: float
    warmup: Statistics
    runs: Statistics
    xnnpack: bool
    peak_mb: float | None = None
    operators: list[dict[str, Any]] | None = None


def parse_launch(text: str) -> Launch:
    """Read the log of one call.

    Raises:
        UnsupportedError: it has no results, contradicts itself, or flags were ignored.
    """
    if ignored := IGNORED.search(text):
        raise UnsupportedError(
            f"this benchmark_model does not know {ignored[1]}", "take a newer build of benchmark_model"
        )
    timings = TIMINGS.search(text)
    lines = [_statistics(line) for line in STATISTICS.findall(text)]
    if timings is None or len(lines) < 2:
        raise UnsupportedError(
            f"benchmark_model has written no results: {_last_line(text)}",
            "run it by hand with `adb shell`; --benchmark-binary must be TensorFlow Lite's benchmark_model",
        )
    init, first, _, average = (float(value) / US_PER_MS for value in timings.groups())
    warmup, runs = lines[0], lines[1]
    if abs(runs.avg - average) > ROUNDING * average + ROUNDING:
        raise UnsupportedError(
            f"benchmark_model contradicts itself: the mean is {runs.avg:g} ms and {average:g} ms",
            "take another build of benchmark_model",
        )
    peak = PEAK.search(text)
    return Launch(
        load_ms=init,
        first_ms=first,
        warmup=warmup,
        runs=runs,
        xnnpack=XNNPACK.search(text) is not None,
        peak_mb=float(peak[1]) * MEBI / MEGA if peak else None,
        operators=_operators(text),
    )


def _statistics(line: str) -> Statistics:
    """`count=2 first=.. curr=.. min=.. max=.. avg=.. std=..`; only `curr` where all runs took the same."""
    found = {name: float(value) / US_PER_MS for name, value in FIELD.findall(line)}
    count = int(found.pop("count") * US_PER_MS + 0.5)
    last = found.get("curr")
    same = dict.fromkeys(("first", "min", "max", "avg"), last)
    values: dict[str, Any] = {**same, "std": 0.0, **found, "last": last}
    values.pop("curr", None)
    if last is None or not set(values) <= set(Statistics.__dataclass_fields__):
        raise UnsupportedError(
            f"benchmark_model has written '{line}'", "take another build of benchmark_model"
        )
    return Statistics(count=count, **values)


def _operators(text: str) -> list[dict[str, Any]] | None:
    """The table "Top by Computation Time" of the measured runs; None without one."""
    table = text.partition(PROFILE)[2].partition(BY_TIME)[2].partition("Number of nodes executed")[0]
    header: list[str] = []
    found = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        if "[node type]" in [cell.lower() for cell in cells]:
            header = [cell.strip("[]").lower() for cell in cells]
        elif header and len(cells) == len(header):
            row = dict(zip(header, cells, strict=True))
            share = float(row["%"].rstrip("%")) / 100
            found.append(
                {"name": row["name"], "op": row["node type"], "ms": float(row["avg ms"]), "share": share}
            )
    return found or None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it wrote nothing"
