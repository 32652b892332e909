"""Two results files against each other, and the gate that a change must pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.contender import TOTAL
from toolchain.benchmarks.harness.figures import own_memory
from toolchain.benchmarks.harness.results import DEVICE, Entry, Results
from toolchain.benchmarks.statistics import independent_ratio
from toolchain.errors import UsageError

STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "p50": lambda drawn: np.quantile(drawn, 0.5, axis=-1),
    "p90": lambda drawn: np.quantile(drawn, 0.9, axis=-1),
    "p99": lambda drawn: np.quantile(drawn, 0.99, axis=-1),
    "mean": lambda drawn: drawn.mean(axis=-1),
    "min": lambda drawn: drawn.min(axis=-1),
    "max": lambda drawn: drawn.max(axis=-1),
}
# Resampling cannot find values beyond the samples, so that these have no interval.
EXTREMES = ("min", "max")
# Not a stage of any file: "total" less what the thread waited for a core that other programs had.
OWN = "own"
# Figures of an entry that have no samples, with their unit.
SINGLE = {"load": "ms", "first": "ms", "memory": "MB", "size": "B"}
LIMIT = re.compile(
    r"(?:(?P<stage>[\w-]+)\.)?"
    rf"(?P<figure>{'|'.join((*STATISTICS, *SINGLE))})"
    r":(?P<bound>[+-]?\d+(?:\.\d+)?)(?P<unit>%|ms)"
)
LIMIT_HINT = (
    "write [STAGE.]FIGURE:+N% or [STAGE.]FIGURE:+Nms, such as p50:+10% or inference.p90:+2ms; figures are "
    + ", ".join((*STATISTICS, *SINGLE))
    + f"; the stage '{OWN}' is total less what other programs took"
)
# What a computer is known by; a new kernel or another load makes no other computer.
MACHINE = ("cpu", "cores", "usable_cores", "instruction_sets")
# Settings that do not change what the figures mean: the seed, and what is compared entry by entry.
FREE_SETTINGS = ("seed", "timed")


@dataclass(frozen=True)
class Limit:
    """How much worse a figure may become.

    Attributes:
        text: as the user wrote it.
        stage: of the samples; "total" when the user named none; "own" is total less the waiting.
        figure: a key of STATISTICS or SINGLE.
        bound: largest allowed change, a share (0.1 for +10 %) or milliseconds.
        relative: whether `bound` is a share.
    """

    text: str
    stage: str
    figure: str
    bound: float
    relative: bool


@dataclass(frozen=True)
class Change:
    """One figure of one entry before and after.

    Attributes:
        name: of the entry.
        stage: of the samples; "" for figures without samples.
        figure: "p50", "p90", "p99", "mean", "min", "max", "load", "first", "memory" or "size".
        unit: "ms", "MB" or "B".
        before: in the first file.
        after: in the second one.
        change: after / before - 1.
        low: lower end of the 95 % interval of `change`; None where there is none.
        high: upper end.
        limit: of the gate; None without one.
        failed: whether the change is beyond it.
    """

    name: str
    stage: str
    figure: str
    unit: str
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    limit: str | None = None
    failed: bool = False

    @property
    def verdict(self) -> str:
        """Beyond the interval "worse" or "better", else "within the noise"; "" without an interval."""
        if self.low is None or self.high is None:
            return ""
        if self.low > 0:
            return "worse"
        return "better" if self.high < 0 else "within the noise"

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        return {**asdict(self), "verdict": self.verdict}


def parse_limit(text: str) -> Limit:
    """`p50:+10%`, `inference.p99:+2ms`, `size:+0%`; a bound below zero demands an improvement.

    Raises:
        UsageError: it is none.
    """
    found = LIMIT.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--fail-if '{text}' is no limit", LIMIT_HINT)
    figure, relative = found["figure"], found["unit"] == "%"
    if figure in SINGLE and (found["stage"] or (not relative and SINGLE[figure] != "ms")):
        raise UsageError(
            f"--fail-if '{text}': {figure} has no stages, and its limit is in percent", LIMIT_HINT
        )
    bound = float(found["bound"])
    return Limit(text.strip(), found["stage"] or TOTAL, figure, bound / 100 if relative else bound, relative)


def compare(
    before: Results, after: Results, limits: Sequence[Limit] = (), different_machines: bool = False
) -> list[Change]:
    """p50 of the whole run of every entry that both have, and the figure of every limit.

    Entries are matched by name. The interval covers the noise within the two measurements; another process
    or another time of day may add several per cent that it does not cover.

    Args:
        before: the reference.
        after: what is judged.
        limits: of the gate.
        different_machines: compare although computers, lanes, threads or settings differ.

    Raises:
        UsageError: they cannot be compared, or a limit cannot be judged: an entry is missing or ended early,
            or it has no such stage or figure.
    """
    _check_comparable(before, after, different_machines)
    old = {entry.name: entry for entry in before.entries}
    new = {entry.name: entry for entry in after.entries}
    common = [name for name in old if name in new]
    if not common:
        raise UsageError(
            f"no entry is in both files: {', '.join(old)} / {', '.join(new)}", "measure the same names"
        )
    if limits:
        _check_judgeable(old, new)
    changes = []
    for name in common:
        judged = [_judged(old[name], new[name], limit) for limit in limits]
        if not any(one.stage == TOTAL and one.figure == "p50" for one in judged):
            changes.append(_change(old[name], new[name], TOTAL, "p50"))
        changes.extend(judged)
    return changes


def unmatched(before: Results, after: Results) -> list[str]:
    """Names that only one of the two files has."""
    old, new = ({entry.name for entry in results.entries} for results in (before, after))
    return sorted(old ^ new)


def _check_comparable(before: Results, after: Results, different_machines: bool) -> None:
    if before.kind != after.kind:
        raise UsageError(
            f"one file is of a {before.kind}, the other of a {after.kind}",
            "compare two files of `toolchain benchmark`, or two of `toolchain benchmark pipeline`",
        )
    if before.lane.emulated != after.lane.emulated:
        raise UsageError(
            "one of the files is from an emulator, whose times say nothing about any device",
            "measure both on the same device",
        )
    differences = list(_differences(before, after))
    if differences and not different_machines:
        raise UsageError(
            f"the files cannot be compared: {'; '.join(differences)}",
            "measure both alike, or say --different-machines to compare nevertheless",
        )


def _differences(before: Results, after: Results) -> list[str]:
    pairs: list[tuple[str, Any, Any]] = [
        ("measured on", before.lane.where, after.lane.where),
        ("lane", before.lane.name, after.lane.name),
    ]
    if before.lane.where != DEVICE:
        pairs += [(key, before.machine.get(key), after.machine.get(key)) for key in MACHINE]
    for key in sorted(before.settings.keys() | after.settings.keys()):
        if key not in FREE_SETTINGS:
            pairs.append((f"setting {key}", before.settings.get(key), after.settings.get(key)))
    timed = [results.settings.get("timed") or {} for results in (before, after)]
    new = {entry.name: entry for entry in after.entries}
    for entry in before.entries:
        if entry.name in new:
            pairs.append((f"threads of {entry.name}", entry.threads, new[entry.name].threads))
            pairs.append((f"timed of {entry.name}", timed[0].get(entry.name), timed[1].get(entry.name)))
    return [f"{what}: {_shown(old)} / {_shown(new)}" for what, old, new in pairs if old != new]


def _shown(value: Any) -> str:
    return " ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _check_judgeable(old: dict[str, Entry], new: dict[str, Entry]) -> None:
    if missing := [name for name in old if name not in new]:
        raise UsageError(
            f"'{missing[0]}' is missing in the second file, so that --fail-if cannot judge it",
            "measure it again, or leave it out of the reference",
        )
    for entries in (old, new):
        for name in old:
            if entries[name].partial is not None:
                raise UsageError(
                    f"'{name}' ended early ({entries[name].partial}), so that --fail-if cannot judge it",
                    "measure it again",
                )


def _judged(old: Entry, new: Entry, limit: Limit) -> Change:
    found = _change(old, new, limit.stage, limit.figure)
    grown = found.change if limit.relative else found.after - found.before
    # What the figures in a file are rounded to must not fail a gate.
    return Change(**{**asdict(found), "limit": limit.text, "failed": grown > limit.bound + 1e-9})


def _change(old: Entry, new: Entry, stage: str, figure: str) -> Change:
    if figure in SINGLE:
        before, after = _single(old, figure), _single(new, figure)
        return Change(old.name, "", figure, SINGLE[figure], before, after, after / before - 1, None, None)
    samples = [_samples(entry, stage) for entry in (old, new)]
    before, after = (float(STATISTICS[figure](values)) for values in samples)
    if before <= 0:
        raise UsageError(f"'{figure}' of stage '{stage}' of '{old.name}' is 0, which has no relative change")
    low = high = None
    if figure not in EXTREMES and min(values.min() for values in samples) > 0:
        low, high = independent_ratio(samples[1], samples[0], STATISTICS[figure])
    return Change(
        old.name,
        stage,
        figure,
        "ms",
        before,
        after,
        after / before - 1,
        None if low is None else low - 1,
        None if high is None else high - 1,
    )


def _samples(entry: Entry, stage: str) -> np.ndarray:
    if stage == OWN and OWN not in entry.samples:
        if not entry.waited_ms:
            raise UsageError(
                f"what '{entry.name}' waited for other programs is not known, so that it has no '{OWN}' time",
                f"use {TOTAL}, or measure on Linux",
            )
        own = np.asarray(entry.samples[TOTAL]) - np.asarray(entry.waited_ms)
        # A thread that was set aside between the clocks has waited for longer than the run took.
        return own[own > 0] if (own > 0).any() else np.asarray(entry.samples[TOTAL])
    if not entry.samples.get(stage):
        raise UsageError(
            f"'{entry.name}' has no samples of stage '{stage}'", f"its stages are {', '.join(entry.samples)}"
        )
    return np.asarray(entry.samples[stage], dtype=np.float64)


def _single(entry: Entry, figure: str) -> float:
    values = {
        "load": entry.load_ms,
        "first": entry.first_ms,
        "memory": own_memory(entry),
        "size": entry.file.bytes if entry.file is not None else None,
    }
    found = values[figure]
    if not found:
        raise UsageError(f"'{figure}' of '{entry.name}' is not known", "leave that limit out")
    return float(found)
