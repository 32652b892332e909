"""What the charts of a report show, as numbers: the template draws them.

Horizontal places and lengths are percent of a chart's width, vertical ones percent of its height from its
top. Colours are indices into the template's palette.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.contender import TOTAL
from toolchain.benchmarks.harness.figures import figures
from toolchain.benchmarks.reports.axis import Axis, around, from_zero
from toolchain.benchmarks.reports.fact_tables import ACCURACIES, LISTED, MOMENTS, accuracy
from toolchain.benchmarks.reports.headline import STAGE_NAMES
from toolchain.benchmarks.reports.measured import Measured
from toolchain.benchmarks.reports.texts import milliseconds, percent, size

BINS = 60
FRAMES = 120
POINTS = 300
# A logarithmic axis where the medians are this many times apart.
FAR_APART = 8.0
# Samples further out than this many 99 % quantiles are counted rather than drawn.
BEYOND = 1.25
COLOURS = 8
# Times below that, in milliseconds, are not worth a logarithmic axis: clocks do not see them.
SEEN = 1e-6


@dataclass(frozen=True)
class Bar:
    """A rectangle that begins at `start` and is `length` long."""

    start: float
    length: float
    colour: int
    title: str


@dataclass(frozen=True)
class Row:
    """A line of a bar chart: its bars, and what is written above them."""

    label: str
    text: str
    bars: list[Bar]


@dataclass(frozen=True)
class BarChart:
    """Rows of bars above one axis."""

    rows: list[Row]
    axis: Axis
    unit: str
    legend: list[tuple[str, int]]


@dataclass(frozen=True)
class Distribution:
    """The samples of one entry.

    Attributes:
        bins: start, length, and height in percent of the highest.
        marks: place and name of p50, p90 and p99.
        beyond: how many samples lie to the right of the chart.
        course: points (x, y) of the samples in the order of time; y from the top.
    """

    label: str
    text: str
    bins: list[tuple[float, float, float]]
    marks: list[tuple[float, str]]
    beyond: int
    course: str
    slowest: str
    seconds: str


@dataclass(frozen=True)
class Distributions:
    """The distributions of all entries on one axis."""

    rows: list[Distribution]
    axis: Axis


def distributions(measured: Sequence[Measured]) -> Distributions | None:
    """Histograms and courses of all entries; None where there are no times to show."""
    shown = [
        (one, one.times(TOTAL) if one.is_pipeline else one.inference) for one in measured if one.published
    ]
    if not shown:
        return None
    medians = [float(np.median(times)) for _, times in shown]
    low = min(float(times.min()) for _, times in shown)
    logarithmic = low > SEEN and max(medians) / min(medians) > FAR_APART
    high = max(min(float(times.max()), BEYOND * figures(times).p99) for _, times in shown)
    axis = around(low, high, logarithmic)
    return Distributions([_distribution(one, times, axis) for one, times in shown], axis)


def _distribution(one: Measured, times: np.ndarray, axis: Axis) -> Distribution:
    found = figures(times)
    drawn = np.array([axis.at(float(value)) for value in times if value <= axis.high])
    counts, edges = np.histogram(drawn, BINS, (0, 100))
    highest = max(int(counts.max()), 1)
    bins = [
        (round(float(left), 3), round(100 / BINS, 3), round(100 * int(number) / highest, 2))
        for left, number in zip(edges, counts, strict=False)
        if number
    ]
    p50, p90, p99 = (milliseconds(value) for value in (found.p50, found.p90, found.p99))
    return Distribution(
        one.label,
        f"p50 {p50}, p90 {p90}, p99 {p99} ms, {found.count} samples",
        bins,
        [(axis.at(found.p50), "p50"), (axis.at(found.p90), "p90"), (axis.at(found.p99), "p99")],
        int((times > axis.high).sum()),
        _course(one.entry.at_s, times, min(float(times.max()), BEYOND * found.p99)),
        milliseconds(min(float(times.max()), BEYOND * found.p99)),
        f"{one.entry.at_s[-1] - one.entry.at_s[0]:.1f}",
    )


def _course(at_s: Sequence[float], times: np.ndarray, high: float) -> str:
    """Points of a polyline in a square of 100 x 100: at most POINTS medians of neighbouring samples."""
    across = around(at_s[0], max(at_s), room=0.0)
    up = from_zero(high)
    groups = np.array_split(np.arange(times.size), min(times.size, POINTS))
    places = [(across.at(at_s[group[0]]), 100 - up.at(float(np.median(times[group])))) for group in groups]
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def stage_names(measured: Sequence[Measured]) -> list[str]:
    """Stages of all pipelines, in their order, without repetition."""
    return list(dict.fromkeys(s for one in measured if one.published and one.is_pipeline for s in one.stages))


def stage_chart(measured: Sequence[Measured]) -> BarChart | None:
    """Mean time of every stage of every pipeline, end to end; None without pipelines."""
    shown = [one for one in measured if one.published and one.is_pipeline]
    if not shown:
        return None
    names = stage_names(shown)
    totals = [float(one.times(TOTAL).mean()) for one in shown]
    sums = [sum(float(one.times(stage).mean()) for stage in one.stages) for one in shown]
    axis = from_zero(max(*totals, *sums))
    rows = []
    for one, total in zip(shown, totals, strict=True):
        bars, before = [], 0.0
        for stage in one.stages:
            mean = float(one.times(stage).mean())
            name = STAGE_NAMES.get(stage, stage)
            bars.append(_bar(axis, before, mean, names.index(stage), f"{name}: {milliseconds(mean)} ms"))
            before += mean
        rows.append(Row(one.label, f"{milliseconds(total)} ms", bars))
    return BarChart(rows, axis, "ms", _legend([STAGE_NAMES.get(name, name) for name in names]))


def _bar(axis: Axis, start: float, length: float, colour: int, title: str) -> Bar:
    left, right = axis.at(start), axis.at(start + length)
    return Bar(left, round(right - left, 3), colour % COLOURS, title)


def _legend(names: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, index % COLOURS) for index, name in enumerate(names)]


@dataclass(frozen=True)
class Timeline:
    """Frames of a pipeline as stacked columns.

    Attributes:
        columns: for each column its bars, from below: `start` and `length` are vertical.
        width: of a column.
        each: how many frames a column is the mean of.
        high: milliseconds at the top.
        frames: how many frames there are.
    """

    label: str
    columns: list[tuple[float, list[Bar]]]
    width: float
    each: int
    high: str
    frames: int


def timelines(measured: Sequence[Measured]) -> list[Timeline]:
    """The stages of every pipeline, frame by frame; many frames are shown as means of neighbours."""
    names = stage_names(measured)
    return [_timeline(one, names) for one in measured if one.published and one.is_pipeline]


def _timeline(one: Measured, names: Sequence[str]) -> Timeline:
    frames = len(one.entry.at_s)
    each = math.ceil(frames / FRAMES)
    groups = [slice(start, start + each) for start in range(0, frames, each)]
    means = {stage: [float(one.times(stage)[group].mean()) for group in groups] for stage in one.stages}
    tops = [sum(means[stage][index] for stage in one.stages) for index in range(len(groups))]
    axis = from_zero(max(tops))
    width = 100 / len(groups)
    columns = []
    for index in range(len(groups)):
        bars, before = [], 0.0
        for stage in one.stages:
            length = means[stage][index]
            title = f"{STAGE_NAMES.get(stage, stage)}: {milliseconds(length)} ms"
            bars.append(_bar(axis, before, length, names.index(stage), title))
            before += length
        columns.append((round(index * width, 3), [bar for bar in bars if bar.length]))
    return Timeline(one.label, columns, round(width * 0.88, 3), each, milliseconds(max(tops)), frames)


def operator_charts(measured: Sequence[Measured]) -> list[tuple[Measured, BarChart]]:
    """The slowest operators of every entry with a profile; kinds have a colour each, the same everywhere."""
    charts = []
    kinds: list[str] = []
    for one in measured:
        listed = (one.entry.operators or [])[:LISTED]
        if not listed or not one.published:
            continue
        axis = from_zero(max(operator["ms"] for operator in listed))
        kinds += dict.fromkeys(operator["op"] for operator in listed if operator["op"] not in kinds)
        rows = [_operator_row(operator, axis, kinds.index(operator["op"])) for operator in listed]
        charts.append((one, BarChart(rows, axis, "ms", [])))
    return charts


def _operator_row(operator: dict[str, Any], axis: Axis, colour: int) -> Row:
    text = f"{milliseconds(operator['ms'])} ms, {percent(operator['share'])}"
    bar = _bar(axis, 0.0, operator["ms"], colour, f"{operator['name']}: {text}")
    return Row(f"{operator['op']}  {operator['name']}", text, [bar])


def memory_chart(measured: Sequence[Measured]) -> BarChart | None:
    """Resident memory of every entry where it is known, one bar over the other; None where it never is."""
    shown = [one for one in measured if one.entry.memory_mb]
    if not shown:
        return None
    axis = from_zero(max(value for one in shown for value in one.entry.memory_mb.values()))
    rows = []
    for one in shown:
        known = [(moment, one.entry.memory_mb[moment]) for moment in MOMENTS if moment in one.entry.memory_mb]
        bars, before = [], 0.0
        for moment, value in known:
            grown = max(value - before, 0.0)
            bars.append(_bar(axis, before, grown, MOMENTS.index(moment), f"{moment}: {value:.1f} MB"))
            before = max(before, value)
        rows.append(Row(one.label, ", ".join(f"{m} {value:.1f}" for m, value in known) + " MB", bars))
    return BarChart(rows, axis, "MB", _legend(MOMENTS))


@dataclass(frozen=True)
class Point:
    """A file: its place, its radius in pixels, and what to say of it."""

    x: float
    y: float
    radius: float
    number: int
    label: str
    text: str


@dataclass(frozen=True)
class Scatter:
    """Latency (across) against accuracy (up) and size (area)."""

    points: list[Point]
    across: Axis
    up: Axis
    name: str
    unit: str


def scatter(measured: Sequence[Measured]) -> Scatter | None:
    """Files by latency, accuracy and size; the accuracy is the one that most files have, None without two."""
    shown = [one for one in measured if one.published and one.entry.file is not None]
    found = [(name, unit, factor, _finite(shown, key)) for key, name, unit, factor in ACCURACIES]
    name, unit, factor, values = max(found, key=lambda row: len(row[3]))
    if len(values) < 2:
        return None
    files = [
        (one, float(np.median(one.inference)), values[one.label] * factor)
        for one in shown
        if one.label in values
    ]
    times, heights = [time for _, time, _ in files], [height for _, _, height in files]
    logarithmic = min(times) > SEEN and max(times) / min(times) > FAR_APART
    across = around(min(times), max(times), logarithmic, room=0.12)
    up = around(min(heights), max(heights), room=0.15)
    largest = max(one.entry.file.bytes for one, _, _ in files if one.entry.file)
    points = []
    for number, (one, time, height) in enumerate(files, 1):
        assert one.entry.file is not None
        radius = 4 + 14 * math.sqrt(one.entry.file.bytes / max(largest, 1))
        text = f"{milliseconds(time)} ms, {name} {height:.2f} {unit}, {size(one.entry.file.bytes)}"
        points.append(
            Point(across.at(time), round(100 - up.at(height), 3), round(radius, 1), number, one.label, text)
        )
    return Scatter(points, across, up, name, unit)


def _finite(shown: Sequence[Measured], key: str) -> dict[str, float]:
    """Finite accuracies by label."""
    known = {one.label: accuracy(one, key) for one in shown}
    return {label: value for label, value in known.items() if value is not None and math.isfinite(value)}
