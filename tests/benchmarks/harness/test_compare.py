"""Comparing results files: changes, intervals, the gate, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmarks.harness.compare import compare, parse_limit, unmatched
from toolchain.benchmarks.harness.results import DEVICE, EMULATOR, HOST, Entry, Lane, MeasuredFile, Results
from toolchain.benchmarks.statistics import independent_ratio
from toolchain.errors import UsageError

MACHINE = {
    "cpu": "EPYC",
    "cores": 2,
    "usable_cores": 2,
    "instruction_sets": ["avx2"],
    "load_average": [1, 1, 1],
}
SETTINGS = {"runs": 50, "seconds": 3.0, "seed": 0}
Maker = Callable[..., Results]


@pytest.fixture
def results(make_entry: Callable[..., Entry]) -> Maker:
    """Function (times by entry name, fields of the results) -> results."""

    def make(times: dict[str, list[float]], **fields: object) -> Results:
        values = {
            "kind": "model",
            "created": "now",
            "command": ["toolchain"],
            "lane": Lane(HOST, "EPYC"),
            "machine": MACHINE,
            "settings": SETTINGS,
            "entries": [make_entry(totals, name) for name, totals in times.items()],
            **fields,
        }
        return Results(**values)

    return make


def noisy(median: float, count: int = 100, share: float = 0.02, seed: int = 0) -> list[float]:
    return (median * np.random.default_rng(seed).normal(1, share, count)).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p50:+10%", ("total", "p50", 0.1, True)),
        ("inference.p99:+2ms", ("inference", "p99", 2.0, False)),
        ("mean:-5.5%", ("total", "mean", -0.055, True)),
        ("own.p90:0%", ("own", "p90", 0.0, True)),
        (" size:+0% ", ("total", "size", 0.0, True)),
        ("load:+3ms", ("total", "load", 3.0, False)),
    ],
)
def test_limits_are_read(text, expected):
    found = parse_limit(text)
    assert (found.stage, found.figure, pytest.approx(found.bound), found.relative) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p50",
        "p50:",
        "p50:10",
        "p51:+10%",
        "p50:+10s",
        "p50:+-1%",
        "memory:+3ms",
        "inference.size:+1%",
        "p50:+1%,",
    ],
)
def test_what_is_no_limit_is_refused_with_the_way_to_write_one(text):
    with pytest.raises(UsageError) as caught:
        parse_limit(text)
    assert "p50:+10%" in caught.value.hint


@pytest.mark.parametrize(
    ("factor", "limit", "failed"),
    [
        (1.2, "p50:+10%", True),
        (1.05, "p50:+10%", False),
        (1.1, "p50:+10%", False),
        (0.8, "p50:+10%", False),
        (1.2, "p50:+2ms", False),
        (1.3, "inference.p90:+2ms", True),
        (0.99, "mean:-5%", True),
        (0.94, "mean:-5%", False),
    ],
)
def test_a_gate_fails_when_the_change_is_beyond_its_limit(factor, limit, failed, results):
    before = [10.0] * 30
    after = [value * factor for value in before]
    found = compare(results({"net": before}), results({"net": after}), [parse_limit(limit)])
    assert [change.failed for change in found if change.limit] == [failed]
    assert found[-1].change == pytest.approx(factor - 1)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, "within the noise"), (1.1, "worse"), (0.9, "better"), (1.001, "within the noise")],
)
def test_a_change_is_told_from_noise(factor, verdict, results):
    before, after = results({"net": noisy(10, seed=0)}), results({"net": noisy(10 * factor, seed=1)})
    [change] = compare(before, after)
    assert (change.stage, change.figure) == ("total", "p50")
    assert change.low <= change.change <= change.high
    assert change.verdict == verdict


def test_every_common_entry_has_its_p50_and_every_limit(results):
    before = results({"a": [10.0] * 9, "b": [20.0] * 9, "gone": [1.0]})
    after = results({"b": [20.0] * 9, "a": [11.0] * 9, "new": [1.0]})
    found = compare(before, after)
    assert [(one.name, one.before, one.after) for one in found] == [("a", 10, 11), ("b", 20, 20)]
    assert unmatched(before, after) == ["gone", "new"]
    limits = [parse_limit("p90:+5%"), parse_limit("min:+50%")]
    found = compare(results({"a": [10.0] * 9}), results({"a": [11.0] * 9}), limits)
    assert [(one.figure, one.failed, one.verdict) for one in found] == [
        ("p50", False, "worse"),
        ("p90", True, "worse"),
        ("min", False, ""),
    ]


def test_figures_without_samples_are_compared(results, make_entry):
    def entry(size: int, load: float, peak: float) -> Entry:
        file = MeasuredFile("net.tflite", "0", size, "tflite")
        memory = {"before": 100.0, "peak": peak}
        return make_entry([1.0] * 3, file=file, load_ms=load, memory_mb=memory)

    limits = [parse_limit(text) for text in ("size:+0%", "load:+5ms", "memory:+10%")]
    before, after = (results({}, entries=[one]) for one in (entry(100, 10, 120), entry(101, 14, 130)))
    found = {one.figure: one for one in compare(before, after, limits)}
    assert (found["size"].change, found["size"].failed) == (pytest.approx(0.01), True)
    assert (found["load"].after, found["load"].failed) == (14, False)
    assert (found["memory"].change, found["memory"].failed) == (pytest.approx(0.5), True)


def test_own_time_is_without_the_waiting(results, make_entry):
    quiet = results({}, entries=[make_entry([10.0] * 20, waited_ms=[0.0] * 20)])
    busy = results({}, entries=[make_entry([30.0] * 20, waited_ms=[20.0] * 20)])
    total, own = compare(quiet, busy, [parse_limit("own.p50:+1%")])
    assert (total.change, own.change, own.failed) == (pytest.approx(2.0), pytest.approx(0.0), False)
    with pytest.raises(UsageError, match="waited for other programs is not known"):
        compare(quiet, results({"net": [10.0]}), [parse_limit("own.p50:+1%")])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"machine": {**MACHINE, "cpu": "Xeon"}}, "cpu: EPYC / Xeon"),
        ({"machine": {**MACHINE, "usable_cores": 1}}, "usable_cores: 2 / 1"),
        ({"lane": Lane(HOST, "Xeon")}, "lane: EPYC / Xeon"),
        ({"lane": Lane(DEVICE, "EPYC")}, "measured on: host / device"),
        ({"settings": {**SETTINGS, "runs": 10}}, "setting runs: 50 / 10"),
        ({"settings": {**SETTINGS, "source": "clip.mp4"}}, "setting source: None / clip.mp4"),
        ({"settings": {**SETTINGS, "timed": {"net": "all"}}}, "timed of net: None / all"),
    ],
)
def test_what_was_measured_otherwise_is_refused_unless_told_to(changes, named, results):
    before, after = results({"net": [10.0] * 9}), results({"net": [20.0] * 9}, **changes)
    with pytest.raises(UsageError, match=named) as caught:
        compare(before, after)
    assert "--different-machines" in caught.value.hint
    [change] = compare(before, after, different_machines=True)
    assert change.change == pytest.approx(1.0)


def test_another_number_of_threads_is_refused(results, make_entry):
    after = results({}, entries=[make_entry([10.0], threads=2)])
    with pytest.raises(UsageError, match="threads of net: 1 / 2"):
        compare(results({"net": [10.0]}), after)


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": {**MACHINE, "load_average": [9, 9, 9]}},
        {"settings": {**SETTINGS, "seed": 7}},
        {"created": "later"},
    ],
)
def test_seed_and_load_are_free(changes, results):
    [change] = compare(results({"net": [10.0]}), results({"net": [10.0]}, **changes))
    assert change.change == 0


def test_a_phone_may_hang_on_another_computer(results):
    phone = Lane(DEVICE, "Pixel 9")
    before = results({"net": [10.0]}, lane=phone)
    [change] = compare(before, results({"net": [10.0]}, lane=phone, machine={**MACHINE, "cpu": "Xeon"}))
    assert change.change == 0


@pytest.mark.parametrize("changes", [{"lane": Lane(EMULATOR, "x86")}, {"kind": "pipeline"}])
def test_emulators_and_other_kinds_are_refused_even_when_told_to(changes, results):
    with pytest.raises(UsageError):
        compare(results({"net": [1.0]}), results({"net": [1.0]}, **changes), different_machines=True)


def test_a_gate_is_not_judged_on_what_is_missing(results, make_entry):
    limits = [parse_limit("p50:+10%")]
    whole = results({"a": [10.0] * 9, "b": [10.0] * 9})
    with pytest.raises(UsageError, match="'b' is missing"):
        compare(whole, results({"a": [10.0] * 9}), limits)
    partial = results({}, entries=[make_entry([10.0], "a", partial="gone"), make_entry([10.0], "b")])
    with pytest.raises(UsageError, match=r"'a' ended early \(gone\)"):
        compare(whole, partial, limits)
    assert len(compare(whole, partial)) == 2
    with pytest.raises(UsageError, match="no samples of stage 'crop'"):
        compare(whole, whole, [parse_limit("crop.p50:+10%")])
    with pytest.raises(UsageError, match="'size' of 'a' is not known"):
        compare(whole, whole, [parse_limit("size:+10%")])
    with pytest.raises(UsageError, match="no entry is in both"):
        compare(whole, results({"c": [1.0]}))


def test_a_stage_that_took_no_time_has_no_relative_change(results, make_entry):
    idle = replace(make_entry([1.0]), samples={"detection": [0.0], "total": [1.0]})
    file = results({}, entries=[idle])
    with pytest.raises(UsageError, match="is 0"):
        compare(file, file, [parse_limit("detection.p50:+10%")])


@given(st.lists(st.floats(1, 100), min_size=2, max_size=60), st.floats(0.2, 5.0))
def test_the_interval_scales_with_the_numerator(samples, factor):
    def median(drawn: np.ndarray) -> np.ndarray:
        return np.median(drawn, axis=-1)

    plain = independent_ratio(samples, samples, median, resamples=50)
    scaled = independent_ratio([value * factor for value in samples], samples, median, resamples=50)
    assert plain[0] <= 1 + 1e-9 or plain[0] <= plain[1]
    assert scaled == pytest.approx(tuple(factor * end for end in plain))


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0], [float("nan")]])
def test_an_interval_needs_positive_samples(bad):
    with pytest.raises(ValueError, match="sample"):
        independent_ratio(bad, [1.0], lambda drawn: drawn.mean(axis=-1))
