"""Measure contenders against each other: the same rounds for all, so that noise meets all alike.

One after the other they are loaded, run once and warmed up. Then come rounds in which every contender gives
one sample; the order within a round is drawn, and reversed in the next one. A computer that becomes slower
or faster meanwhile changes all of them, and the ratio within a round hardly. Where the system tells how long
the thread waited for a core that another program had, that is kept beside each sample.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.contender import TOTAL, Contender, Prepared
from toolchain.benchmarks.harness.results import Entry, MeasuredFile
from toolchain.benchmarks.harness.waiting import WaitClock
from toolchain.benchmarks.memory import peak_megabytes, reset_peak, resident_megabytes
from toolchain.errors import ToolchainError, UsageError

BLOCK_RUNS = 5
BLOCK_MS = 50.0
STEADY_BLOCKS = 3
STEADY_CHANGE = 0.03
MS = 1e-6
DIGITS = 6


@dataclass(frozen=True)
class Options:
    """How long and how to measure.

    Attributes:
        min_runs: samples of each contender, at least.
        min_seconds: length of the rounds of all contenders together, at least.
        warmup_seconds: longest warm-up of each contender; it ends earlier when the time has settled.
        max_seconds: when the rounds end even if the two minima are not reached; the entries are then marked.
        threads: of one operator; for whoever makes the contenders.
        seed: of the order, and of the inputs for whoever makes them; contenders are loaded in reverse
            order when it is odd.
        sample_ms: a run shorter than this is repeated, and a sample is the mean; 0 never repeats.
    """

    min_runs: int = 50
    min_seconds: float = 3.0
    warmup_seconds: float = 5.0
    max_seconds: float = 120.0
    threads: int = 1
    seed: int = 0
    sample_ms: float = 1.0

    def check(self) -> None:
        """Raises UsageError when a number is out of range."""
        for name, value, least in (
            ("runs", self.min_runs, 1),
            ("threads", self.threads, 1),
            ("seconds", self.min_seconds, 0),
            ("seconds of warm-up", self.warmup_seconds, 0),
            ("seed", self.seed, 0),
        ):
            if not math.isfinite(value) or value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        if not self.max_seconds >= max(self.min_seconds, 1e-3):
            raise UsageError(
                f"at most {self.max_seconds:g} s cannot hold the least {self.min_seconds:g} s",
                "allow more seconds, or ask for fewer",
            )

    def as_settings(self) -> dict[str, Any]:
        """For `Results.settings`."""
        return {
            "runs": self.min_runs,
            "seconds": self.min_seconds,
            "warmup_seconds": self.warmup_seconds,
            "max_seconds": self.max_seconds,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Measured:
    """What was measured of one contender; the fields are those of `Entry`."""

    name: str
    load_ms: float
    first_ms: float
    warmup_runs: int
    steady: bool
    repeats: int
    samples: dict[str, list[float]]
    at_s: list[float]
    memory_mb: dict[str, float]
    partial: str | None
    waited_ms: list[float]

    def as_entry(
        self,
        runtime: str,
        threads: int | None,
        file: MeasuredFile | None = None,
        operators: list[dict[str, Any]] | None = None,
        shares: dict[str, float] | None = None,
    ) -> Entry:
        """The entry of a results file, with what the harness cannot know."""
        return Entry(
            name=self.name,
            runtime=runtime,
            threads=threads,
            file=file,
            load_ms=self.load_ms,
            first_ms=self.first_ms,
            warmup_runs=self.warmup_runs,
            steady=self.steady,
            repeats=self.repeats,
            samples=self.samples,
            at_s=self.at_s,
            memory_mb=self.memory_mb,
            operators=operators,
            shares=shares or {},
            partial=self.partial,
            waited_ms=self.waited_ms,
        )


@dataclass
class _Running:
    contender: Contender
    waiting: WaitClock
    load_ms: float = 0.0
    first_ms: float = 0.0
    warmup_runs: int = 0
    steady: bool = False
    repeats: int = 1
    stages: tuple[str, ...] = ()
    sums: array[float] = field(default_factory=lambda: array("d"))
    samples: tuple[array[float], ...] = ()
    totals: array[float] = field(default_factory=lambda: array("d"))
    waits: array[float] = field(default_factory=lambda: array("d"))
    at: array[float] = field(default_factory=lambda: array("d"))
    memory: dict[str, float] = field(default_factory=dict)
    partial: str | None = None

    def settle_stages(self, found: dict[str, float]) -> None:
        self.stages = tuple(found)
        if TOTAL in self.stages:
            raise ValueError(f"'{self.contender.name}' reports 'total', which the harness measures")
        self.sums = array("d", bytes(8 * len(self.stages)))
        self.samples = tuple(array("d") for _ in self.stages)

    def work(self, repeats: int) -> tuple[float, float]:
        """Mean milliseconds of one of `repeats` runs, and of the waiting within; sums of stages in `sums`."""
        run, clock, sums, stages = self.contender.run, time.perf_counter_ns, self.sums, self.stages
        for index in range(len(sums)):
            sums[index] = 0.0
        spent = 0
        waited = self.waiting.read()
        for _ in range(repeats):
            before = clock()
            found = run()
            spent += clock() - before
            if len(found) != len(stages):
                raise ValueError(f"'{self.contender.name}' changed its stages: {', '.join(found)}")
            for index, stage in enumerate(stages):
                sums[index] += found[stage]
        waited = min(self.waiting.read() - waited, spent)
        return spent * MS / repeats, waited * MS / repeats

    def keep(self, total: float, waited: float, at: float) -> None:
        self.totals.append(total)
        self.waits.append(waited)
        self.at.append(at)
        for kept, spent in zip(self.samples, self.sums, strict=True):
            kept.append(spent / self.repeats)

    def result(self) -> Measured:
        named = {**dict(zip(self.stages, self.samples, strict=True)), TOTAL: self.totals}
        return Measured(
            self.contender.name,
            round(self.load_ms, DIGITS),
            round(self.first_ms, DIGITS),
            self.warmup_runs,
            self.steady,
            self.repeats,
            {stage: [round(value, DIGITS) for value in values] for stage, values in named.items()},
            [round(value, DIGITS) for value in self.at],
            {moment: round(value, 3) for moment, value in self.memory.items()},
            self.partial,
            [round(value, DIGITS) for value in self.waits] if self.waiting.known else [],
        )


def measure(
    contenders: Sequence[Contender],
    options: Options,
    on_stage: Callable[[str], None] = lambda _stage: None,
) -> list[Measured]:
    """Measure contenders in the same rounds, with the garbage collector off, and close them.

    The last stage, "total", is the elapsed time around `run()`. A contender that fails after its first
    sample keeps what it has and is marked; the others go on. Memory is that of this process: "before" and
    "loaded" around loading, "peak" between loading and the end of the contender's warm-up, so that "peak"
    less "before" is its own; left out where the system does not tell.

    Args:
        contenders: with different names.
        options: how long.
        on_stage: told what goes on, for a progress line.

    Returns:
        In the order of `contenders`; the n-th samples of all are of the same round.

    Raises:
        UsageError: nothing to measure, a name that occurs twice, or an option out of range.
        Exception: what a contender raised before its first sample.
    """
    options.check()
    names = [contender.name for contender in contenders]
    if not names:
        raise UsageError("nothing to measure", "name at least one model file")
    if len(set(names)) != len(names):
        raise UsageError(f"two of the contenders share a name: {', '.join(names)}", "give each its own")
    with ExitStack() as closing:
        waiting = closing.enter_context(WaitClock())
        running = [_Running(contender, waiting) for contender in contenders]
        for one in reversed(running) if options.seed % 2 else running:
            closing.callback(one.contender.close)
            _start(one, options, on_stage)
        on_stage(f"measuring {', '.join(names)}")
        _rounds(running, options)
        return [one.result() for one in running]


def _start(one: _Running, options: Options, on_stage: Callable[[str], None]) -> None:
    """Load, first run, warm-up."""
    on_stage(f"loading {one.contender.name}")
    gc.collect()
    fresh = reset_peak()
    _note_memory(one, "before")
    before = time.perf_counter_ns()
    one.contender.load()
    one.load_ms = (time.perf_counter_ns() - before) * MS
    _note_memory(one, "loaded")
    if isinstance(one.contender, Prepared):
        one.contender.prepare()
    before = time.perf_counter_ns()
    found = one.contender.run()
    one.first_ms = (time.perf_counter_ns() - before) * MS
    one.settle_stages(found)
    on_stage(f"warming up {one.contender.name}")
    with _no_garbage_collection():
        _warm_up(one, options)
    if fresh and "before" in one.memory:
        one.memory["peak"] = peak_megabytes()


def _note_memory(one: _Running, moment: str) -> None:
    found = resident_megabytes()
    if found is not None:
        one.memory[moment] = found


def _warm_up(one: _Running, options: Options) -> None:
    """Run until the medians of three blocks in a row hardly differ, or the time is over."""
    deadline = time.perf_counter() + options.warmup_seconds
    medians: list[float] = []
    while not one.steady and (not medians or time.perf_counter() < deadline):
        block: list[float] = []
        while not block or (
            (len(block) < BLOCK_RUNS or sum(block) < BLOCK_MS) and time.perf_counter() < deadline
        ):
            total, waited = one.work(1)
            block.append(total - waited)
        one.warmup_runs += len(block)
        medians.append(statistics.median(block))
        latest = medians[-STEADY_BLOCKS:]
        settled = all(abs(after - before) <= STEADY_CHANGE * before for before, after in pairwise(latest))
        one.steady = settled and len(latest) == STEADY_BLOCKS and len(block) >= BLOCK_RUNS
    one.repeats = max(1, math.ceil(options.sample_ms / max(min(medians), 1e-4)))


def _rounds(running: Sequence[_Running], options: Options) -> None:
    rng = np.random.default_rng(options.seed)
    order = list(range(len(running)))
    with _no_garbage_collection():
        if len(running) > 1:
            # The first ones have been idle since their warm-up.
            for one in running:
                one.work(one.repeats)
                one.warmup_runs += one.repeats
        start = time.perf_counter()
        done = 0
        while live := [one for one in running if one.partial is None]:
            elapsed = time.perf_counter() - start
            if done >= options.min_runs and elapsed >= options.min_seconds:
                break
            if done and elapsed >= options.max_seconds:
                _mark_unfinished(live, done, options)
                break
            order = order[::-1] if done % 2 else [int(index) for index in rng.permutation(len(running))]
            for index in order:
                if running[index].partial is None:
                    _sample(running[index], start)
            done += 1


def _sample(one: _Running, start: float) -> None:
    """One sample; a failure after the first one ends this contender alone."""
    at = time.perf_counter() - start
    try:
        total, waited = one.work(one.repeats)
    except Exception as error:
        # Runtimes raise what they like; a contender that has given nothing yet has nothing to keep.
        if not one.totals:
            raise
        reason = error.message if isinstance(error, ToolchainError) else " ".join(str(error).split())
        one.partial = f"failed after {len(one.totals)} samples: {reason or type(error).__name__}"
        return
    one.keep(total, waited, at)


def _mark_unfinished(live: Sequence[_Running], done: int, options: Options) -> None:
    if done < options.min_runs:
        for one in live:
            one.partial = f"stopped after {options.max_seconds:g} s with {done} of {options.min_runs} runs"


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
