"""The Chrome trace: complete events that nest and add up."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmarks.harness.results import HOST, PIPELINE, Entry, Lane, Results
from toolchain.benchmarks.reports.measured import Measured, gather
from toolchain.benchmarks.reports.trace import trace, trace_text
from toolchain.errors import UsageError


def by_thread(events: list[dict]) -> dict[int, list[dict]]:
    found: dict[int, list[dict]] = {}
    for event in events:
        if event["ph"] == "X":
            found.setdefault(event["tid"], []).append(event)
    return found


def check_nesting(slices: list[dict]) -> None:
    """Samples follow each other without overlap; every stage lies inside its sample, behind the last one."""
    samples = [event for event in slices if event["cat"] != "stage"]
    for before, after in pairwise(samples):
        assert nanoseconds(before)[1] <= nanoseconds(after)[0]
    place, end = 0, 0
    for event in slices:
        begin, finish = nanoseconds(event)
        if event["cat"] == "stage":
            assert place <= begin <= finish <= end
            place = finish
        else:
            place, end = begin, finish


def nanoseconds(event: dict) -> tuple[int, int]:
    begin = round(event["ts"] * 1000)
    return begin, begin + round(event["dur"] * 1000)


def test_schema_and_sums(measured: list[Measured]) -> None:
    made = json.loads(trace_text(measured))
    assert set(made) == {"traceEvents", "displayTimeUnit"}
    assert made["displayTimeUnit"] == "ms"
    for event in made["traceEvents"]:
        assert event["ph"] in ("X", "M")
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
    names = {e["tid"]: e["args"]["name"] for e in made["traceEvents"] if e["name"] == "thread_name"}
    shown = [one for one in measured if one.published]
    assert list(names.values()) == [f"{one.label}, {one.entry.runtime}" for one in shown]
    threads = by_thread(made["traceEvents"])
    assert set(threads) == set(names)
    for one, slices in zip(shown, threads.values(), strict=True):
        check_nesting(slices)
        for stage, times in one.entry.samples.items():
            found = [
                e["dur"] for e in slices if e["name"] == stage or (stage == "total" and e["cat"] != "stage")
            ]
            assert sum(found) / 1000 == pytest.approx(sum(times), abs=1e-6)
    assert "4321" not in trace_text(measured)


def test_emulators_alone_have_no_trace(emulated: Results) -> None:
    with pytest.raises(UsageError, match="no sample"):
        trace(gather([("a.json", emulated)]))


milliseconds = st.floats(0, 1e4, allow_nan=False).map(lambda value: round(value, 6))


@given(
    st.lists(st.tuples(milliseconds, milliseconds, milliseconds, st.floats(0, 100)), min_size=1, max_size=20)
)
def test_slices_nest_whatever_clocks_say(rows: list[tuple[float, float, float, float]]) -> None:
    first, second, total, at = (list(column) for column in zip(*rows, strict=True))
    samples = {"a": first, "b": second, "total": total}
    entry = Entry("x", "r", 1, None, 1.0, 1.0, 1, True, 1, samples, sorted(at))
    results = Results(PIPELINE, "2026", [], Lane(HOST, "h"), {}, {}, [entry])
    (slices,) = by_thread(trace(gather([("a", results)]))["traceEvents"]).values()
    check_nesting(slices)
    assert sum(e["cat"] == "frame" for e in slices) == len(rows)


def test_repeats_are_told(models: Results) -> None:
    (slices,) = by_thread(
        trace(gather([("a", replace(models, entries=models.entries[1:]))]))["traceEvents"]
    ).values()
    assert slices[0]["args"] == {"repeats": 3}
