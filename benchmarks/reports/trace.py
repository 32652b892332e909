"""Samples as a Chrome trace, which Perfetto and chrome://tracing open.

Format: "Trace Event Format", Google, JSON object with `traceEvents`. Every results file is a process, every
entry a thread. A sample is a complete event ("X"), its stages are complete events inside it, one behind the
other; `ts` and `dur` are microseconds from the start of the measurement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from toolchain.benchmarks.harness.contender import TOTAL
from toolchain.benchmarks.reports.measured import Measured, by_file
from toolchain.errors import UsageError

NS_PER_MS, NS_PER_S, NS_PER_US = 1e6, 1e9, 1e3


def trace(measured: Sequence[Measured]) -> dict[str, Any]:
    """All samples that may be shown, as an object that JSON can express.

    A sample that is the mean of several runs is as long as one of them and says so in `args`. Where clocks
    are coarse, a sample begins no earlier than the one before it ended, and is never shorter than its stages.

    Raises:
        UsageError: everything was measured on an emulator, or there are no samples.
    """
    events: list[dict[str, Any]] = []
    process = count(1)
    threads = count(1)
    for group in by_file(measured):
        shown = [one for one in group if one.published]
        if not shown:
            continue
        pid = next(process)
        events.append(_name("process_name", f"{shown[0].where} ({shown[0].source})", pid, 0))
        for one in shown:
            tid = next(threads)
            events.append(_name("thread_name", f"{one.label}, {one.entry.runtime}", pid, tid))
            events += _samples(one, pid, tid)
    if not events:
        raise UsageError(
            "there is no sample that a trace may show", "times of an emulator say nothing about a device"
        )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def trace_text(measured: Sequence[Measured]) -> str:
    """The trace as JSON, without indentation: there are many events."""
    return json.dumps(trace(measured), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _name(kind: str, name: str, pid: int, tid: int) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _samples(one: Measured, pid: int, tid: int) -> Iterator[dict[str, Any]]:
    """Sample events and those of their stages, in the order of time; counted in whole nanoseconds."""
    unit = "frame" if one.is_pipeline else "run"
    arguments = {"repeats": one.entry.repeats} if one.entry.repeats > 1 else {}
    free = 0
    for index, (at, total) in enumerate(zip(one.entry.at_s, one.entry.samples[TOTAL], strict=True)):
        begin = max(free, round(at * NS_PER_S))
        lengths = [round(one.entry.samples[stage][index] * NS_PER_MS) for stage in one.stages]
        whole = max(round(total * NS_PER_MS), sum(lengths))
        yield _slice(f"{unit} {index}", unit, begin, whole, pid, tid, arguments)
        free = begin + whole
        for stage, length in zip(one.stages, lengths, strict=True):
            if length:
                yield _slice(stage, "stage", begin, length, pid, tid)
            begin += length


def _slice(
    name: str,
    category: str,
    begin: int,
    length: int,
    pid: int,
    tid: int,
    arguments: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "ts": begin / NS_PER_US,
        "dur": length / NS_PER_US,
        "pid": pid,
        "tid": tid,
        "args": arguments or {},
    }
