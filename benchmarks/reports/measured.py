"""The entries of one or several results files, checked and named, as every report shows them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.contender import INFERENCE, TOTAL
from toolchain.benchmarks.harness.results import PIPELINE, Entry, Results, load_results
from toolchain.benchmarks.reports.judged import Judged
from toolchain.errors import UsageError

UNKNOWN = "-"
# What anyone may have written into a results file is checked before it is used.
_KINDS_OF_RESULTS = {
    "created": str, "command": list, "machine": dict, "settings": dict, "profile_note": str | None,
}  # fmt: skip
_KINDS_OF_LANE = {"name": str, "details": dict}
_KINDS_OF_ENTRY = {
    "name": str, "runtime": str, "threads": int | None, "warmup_runs": int, "steady": bool, "repeats": int,
    "samples": dict, "at_s": list, "memory_mb": dict, "operators": list | None, "shares": dict,
    "partial": str | None, "waited_ms": list,
}  # fmt: skip
_KINDS_OF_FILE = {
    "path": str, "sha256": str, "bytes": int, "format": str, "precision": str | None, "model": str | None,
    "parity": dict | None,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """An entry and the measurement that it belongs to.

    Attributes:
        label: unique among all entries of a report.
        entry: what was measured.
        results: the file that it is from.
        source: path of that file, as given.
        judged: how its file did on annotated pictures; None where that is not known.
    """

    label: str
    entry: Entry
    results: Results
    source: str
    judged: Judged | None = None

    @property
    def where(self) -> str:
        """Host, browser, device or emulator, and its name."""
        return f"{self.results.lane.where}: {self.results.lane.name}"

    @property
    def precision(self) -> str:
        """Of the file; "-" where nothing says so."""
        return (self.entry.file.precision if self.entry.file else None) or UNKNOWN

    @property
    def threads(self) -> str:
        """Of one operator; "-" where that is not known."""
        return UNKNOWN if self.entry.threads is None else str(self.entry.threads)

    @property
    def emulated(self) -> bool:
        """Whether an emulator or a stand-in for the real runtime ran it."""
        return self.results.lane.emulated or self.entry.reference_interpreter

    @property
    def published(self) -> bool:
        """Whether there are times to show: those of an emulator say nothing about a device."""
        return not self.emulated and bool(self.entry.samples[TOTAL])

    @property
    def is_pipeline(self) -> bool:
        """Whether its samples are frames rather than inferences."""
        return self.results.kind == PIPELINE

    @property
    def stages(self) -> list[str]:
        """Parts of a sample, in their order, without the total."""
        return [stage for stage in self.entry.samples if stage != TOTAL]

    def times(self, stage: str = TOTAL) -> np.ndarray:
        """Milliseconds of one stage, (samples,) float64."""
        return np.asarray(self.entry.samples[stage], np.float64)

    @property
    def inference(self) -> np.ndarray:
        """Milliseconds of one inference, (samples,) float64: the stage of that name, or the total."""
        return self.times(INFERENCE if INFERENCE in self.entry.samples else TOTAL)


@dataclass(frozen=True)
class StageTime:
    """How long one stage of a pipeline takes.

    Attributes:
        mean: milliseconds per frame; frames in which the stage did not run count as zero.
        p50: median of the frames in which it ran, milliseconds; None where it never ran.
        share: share (0-1) of the frames in which it ran.
    """

    mean: float
    p50: float | None
    share: float


def stage_time(times: np.ndarray) -> StageTime:
    """Mean per frame, and the median of the frames in which a stage ran: those that took any time.

    Args:
        times: (frames,) milliseconds, at least one.
    """
    ran = times[times > 0]
    return StageTime(float(times.mean()), float(np.median(ran)) if ran.size else None, ran.size / times.size)


def read_all(paths: Sequence[Path]) -> list[Measured]:
    """Read results files for a report.

    Raises:
        UsageError: there is none, or one cannot be read, is damaged or is of another version.
    """
    if not paths:
        raise UsageError("there is nothing to report", "give files that `toolchain benchmark --output` wrote")
    return gather([(str(path), load_results(path)) for path in paths])


def gather(files: Sequence[tuple[str, Results]]) -> list[Measured]:
    """The entries of all files, each under a name of its own.

    Args:
        files: path and content of each results file.

    Raises:
        UsageError: a file holds a figure that is no finite number, or nothing at all.
    """
    for name, results in files:
        for problem in _problems(results):
            raise UsageError(f"'{name}' is a damaged results file: {problem}", "measure again")
    often = Counter(entry.name for _, results in files for entry in results.entries)
    there = Counter((entry.name, results.lane.name) for _, results in files for entry in results.entries)
    taken: set[str] = set()
    made = []
    for name, results in files:
        for entry in results.entries:
            label = entry.name
            if often[entry.name] > 1:
                alike = there[entry.name, results.lane.name] > 1
                label = f"{entry.name} ({Path(name).stem if alike else results.lane.name})"
            label = _free(label, taken)
            taken.add(label)
            made.append(Measured(label, entry, results, name))
    return made


def by_file(measured: Sequence[Measured]) -> list[list[Measured]]:
    """The entries of each results file, in their order."""
    groups: dict[int, list[Measured]] = {}
    for one in measured:
        groups.setdefault(id(one.results), []).append(one)
    return list(groups.values())


def _free(label: str, taken: set[str]) -> str:
    numbered = (f"{label} ({number})" for number in count(2))
    return label if label not in taken else next(name for name in numbered if name not in taken)


def _problems(results: Results) -> Iterator[str]:
    """What would make a report wrong, as sentences."""
    if not results.entries:
        yield "it has no entries"
    yield from _wrong_kinds("the measurement", _KINDS_OF_RESULTS, results)
    yield from _wrong_kinds("the lane", _KINDS_OF_LANE, results.lane)
    for entry in results.entries:
        yield from _wrong_kinds(f"entry '{entry.name}'", _KINDS_OF_ENTRY, entry)
        if entry.file is not None:
            yield from _wrong_kinds(f"the file of '{entry.name}'", _KINDS_OF_FILE, entry.file)
    for entry in results.entries:
        figures: list[Any] = [
            entry.load_ms,
            entry.first_ms,
            *entry.memory_mb.values(),
            *entry.shares.values(),
        ]
        figures += [value for values in entry.samples.values() for value in values] + entry.at_s
        figures += entry.waited_ms
        figures += [entry.file.bytes] if entry.file else []
        for operator in entry.operators or []:
            if not isinstance(operator.get("name"), str) or not isinstance(operator.get("op"), str):
                yield f"an operator of '{entry.name}' has no name"
            figures += [operator.get("ms"), operator.get("share")]
        if not all(_is_figure(value) for value in figures):
            yield f"a figure of '{entry.name}' is no finite number of at least zero"


def _wrong_kinds(what: str, kinds: dict[str, Any], holder: Any) -> Iterator[str]:
    for name, kind in kinds.items():
        if not isinstance(getattr(holder, name), kind):
            yield f"{name} of {what} is {type(getattr(holder, name)).__name__}"


def _is_figure(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Beyond that, sums and differences overflow.
    return number and math.isfinite(value) and 0 <= value < 1e15
