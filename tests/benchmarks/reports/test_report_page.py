"""The page: complete, offline, escaped, and its bars as long as the times that they stand for."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmarks.harness.results import Results
from toolchain.benchmarks.reports.axis import Axis, around, from_zero
from toolchain.benchmarks.reports.charts import (
    distributions,
    memory_chart,
    operator_charts,
    scatter,
    timelines,
)
from toolchain.benchmarks.reports.fact_tables import environment_tables, file_table, memory_table
from toolchain.benchmarks.reports.headline import headline
from toolchain.benchmarks.reports.latency_tables import latency_table, ratio_tables, stage_tables
from toolchain.benchmarks.reports.measured import Measured, gather
from toolchain.benchmarks.reports.page import ParityPictures, ParitySheet, page

VOID = {"meta", "img"}
WITH_ADDRESS = ("src", "href", "srcset", "action", "xlink:href", "data", "poster")


class Reader(HTMLParser):
    """Tables, charts by their label, headings, elements and addresses; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.charts: dict[str, list[dict[str, str]]] = {}
        self.headings: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self._open: list[str] = []
        self._chart = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.addresses += [values[name] for name in WITH_ADDRESS if name in values]
        self.handlers += [name for name in values if name.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "svg":
            self._chart = values.get("aria-label", "")
            self.charts.setdefault(self._chart, [])
        if tag == "rect":
            self.charts[self._chart].append(values)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data
        if {"h1", "h2", "h3"} & set(self._open):
            self.headings[-1] += data


@pytest.fixture
def reader(measured: list[Measured]) -> Reader:
    return Reader(page(measured))


def test_page_shows_the_tables(reader: Reader, measured: list[Measured]) -> None:
    wanted = [
        headline(measured), latency_table(measured), *ratio_tables(measured), *stage_tables(measured),
        file_table(measured), memory_table(measured), *environment_tables(measured),
    ]  # fmt: skip
    assert len(reader.tables) == len(wanted)
    for found, table in zip(reader.tables, wanted, strict=True):
        assert found == [list(table.columns), *(list(row) for row in table.rows)]
    for heading in ("Latency", "Ratios", "Stages", "Operators", "Size, latency, accuracy", "Memory"):
        assert heading in reader.headings
    assert "Parity" not in reader.headings


def test_page_needs_nothing_from_outside(measured: list[Measured]) -> None:
    text = page(measured)
    reader = Reader(text)
    assert reader.addresses == []
    assert reader.handlers == []
    assert not {"script", "link", "iframe", "object", "i", "b", "u"} & reader.tags
    for outside in ("http:", "https:", "//", "url(", "@import"):
        assert outside not in text
    # All that an emulator says is what it is.
    assert "4321" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;/style&gt;" in text


def test_bars_of_stages_are_as_long_as_their_means(reader: Reader, measured: list[Measured]) -> None:
    one = next(one for one in measured if one.is_pipeline and one.published)
    (bars,) = (rects for label, rects in reader.charts.items() if label.startswith(f"{one.label}: 11"))
    lengths = [float(rect["width"].removesuffix("%")) for rect in bars]
    means = [np.mean(one.times(stage)) for stage in one.stages]
    np.testing.assert_allclose(lengths, 100 * np.array(means) / one.times().mean(), atol=0.01)
    starts = [float(rect["x"].removesuffix("%")) for rect in bars]
    np.testing.assert_allclose(starts, [0, *np.cumsum(lengths)[:-1]], atol=0.01)


def test_frames_are_stacked(measured: list[Measured]) -> None:
    one = next(one for one in measured if one.is_pipeline and one.published)
    (line,) = timelines(measured)
    assert (line.frames, line.each, len(line.columns)) == (40, 1, 40)
    tops = [sum(bar.length for bar in bars) for _, bars in line.columns]
    frames = one.times() - 0.01
    np.testing.assert_allclose(tops, 100 * frames / frames.max(), atol=0.01)
    # Detection ran in every tenth frame only.
    assert [len(bars) for _, bars in line.columns] == [5 if index % 10 == 0 else 4 for index in range(40)]


def test_distributions_count_all_samples(measured: list[Measured]) -> None:
    found = distributions(measured)
    assert found is not None
    shown = [one for one in measured if one.published]
    assert [row.label for row in found.rows] == [one.label for one in shown]
    for one, row in zip(shown, found.rows, strict=True):
        times = one.times() if one.is_pipeline else one.inference
        assert row.marks[0] == (found.axis.at(float(np.median(times))), "p50")
        assert max(height for _, _, height in row.bins) == 100
        assert row.beyond == int((times > found.axis.high).sum())
        assert len(row.course.split()) == times.size


def test_operators_memory_and_files(measured: list[Measured]) -> None:
    ((_, chart),) = operator_charts(measured)
    assert [row.bars[0].length for row in chart.rows] == [round(5.0 * (20 - index), 3) for index in range(15)]
    memory = memory_chart(measured)
    assert memory is not None
    assert [bar.length for bar in memory.rows[0].bars] == pytest.approx(
        [100 * part / 125.5 for part in (100, 10, 15.5)], abs=0.01
    )
    files = scatter(measured)
    assert files is not None
    assert (files.name, files.unit) == ("agreement with PyTorch", "%")
    first, second = files.points
    assert first.x > second.x
    assert first.y < second.y
    assert (first.radius - 4) / (second.radius - 4) == pytest.approx((988_048 / 334_928) ** 0.5, abs=0.02)


def test_a_kind_of_operator_has_one_colour_in_all_charts(models: Results) -> None:
    first, second = models.entries[:2]
    conv = {"op": "CONV_2D", "name": "a", "ms": 2.0, "share": 0.5}
    pool = {"op": "MAX_POOL_2D", "name": "b", "ms": 1.0, "share": 0.5}
    entries = [replace(first, operators=[conv, pool]), replace(second, operators=[{**pool, "ms": 3.0}, conv])]
    charts = operator_charts(gather([("a.json", replace(models, entries=entries))]))
    colours = [{row.label.split()[0]: row.bars[0].colour for row in chart.rows} for _, chart in charts]
    assert colours[0] == colours[1]
    assert len(set(colours[0].values())) == 2


def test_nothing_but_an_emulator(emulated: Results) -> None:
    text = page(gather([("a.json", emulated)]))
    reader = Reader(text)
    assert "4321" not in text
    assert reader.tables[0][-1] == ["total, ms", "103 to 110", "269"]
    assert "Stages" not in reader.headings


def test_parity_pictures_are_part_of_the_page(measured: list[Measured]) -> None:
    pictures = [
        (name, np.full((8, 8, 3), 99, np.uint8)) for name in ("input", "<b>PyTorch", "file", "difference")
    ]
    sheet = ParitySheet(
        [ParityPictures("a.tflite", "SQNR 36 dB", pictures)], [("nose", (1, 2, 255))], ["<note>"]
    )
    text = page(measured, sheet)
    reader = Reader(text)
    assert "Parity" in reader.headings
    assert len(reader.addresses) == 4
    assert all(address.startswith("data:image/jpeg;base64,") for address in reader.addresses)
    assert "#0102ff" in text
    assert "&lt;note&gt;" in text
    assert "b" not in reader.tags


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.booleans())
def test_axes_hold_their_values(first: float, second: float, logarithmic: bool) -> None:
    low, high = sorted((first, second))
    if logarithmic:
        low, high = low + 1e-6, high + 1e-6
    for axis in (around(low, high, logarithmic), from_zero(high)):
        assert 0 <= axis.at(low) <= axis.at(high) <= 100
        assert len(axis.ticks) <= 40
        assert all(0 <= tick.at <= 100 for tick in axis.ticks)


def test_ticks_are_round() -> None:
    assert [tick.text for tick in Axis(0, 12.3).ticks] == ["0", "5", "10"]
    assert [tick.text for tick in Axis(3, 120, logarithmic=True).ticks] == ["5", "10", "20", "50", "100"]
    assert [tick.at for tick in Axis(0, 20).ticks] == [0, 25, 50, 75, 100]
