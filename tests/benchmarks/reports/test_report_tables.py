"""What the tables say is what the samples say; emulators say nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.benchmarks.harness.results import Results
from toolchain.benchmarks.reports.fact_tables import (
    environment_tables,
    file_table,
    memory_table,
    operator_tables,
    provenance,
)
from toolchain.benchmarks.reports.headline import headline
from toolchain.benchmarks.reports.latency_tables import latency_table, ratio_tables, stage_tables
from toolchain.benchmarks.reports.markdown import literal, markdown
from toolchain.benchmarks.reports.measured import Measured, gather, read_all
from toolchain.benchmarks.reports.tables import Table
from toolchain.benchmarks.reports.texts import milliseconds, size
from toolchain.errors import UsageError


def cells(table: Table) -> dict[str, dict[str, str]]:
    """Cell by row and column."""
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_headline_has_the_published_rows_and_ours_beside(measured: list[Measured]) -> None:
    found = cells(headline(measured))
    ours = "whole app (Host processor)"
    published = {row: list(values.values())[1:3] for row, values in found.items()}
    assert published["face detection, ms"] == ["7 to 8", "7 to 8"]
    assert published["inference, ms"] == ["75 to 78", "203"]
    assert published["colorization, ms"] == ["18", "54"]
    assert published["total, ms"] == ["103 to 110", "269"]
    assert published["where"] == ["thesis, chapter 5, iPhone X"] * 2
    assert list(found) == [
        "where", "runtime", "precision", "threads", "face detection, ms", "crop, ms", "inference, ms",
        "un-warp, ms", "colorization, ms", "total, ms",
    ]  # fmt: skip
    samples = next(one for one in measured if one.label == ours).entry.samples
    assert found["inference, ms"][ours] == f"{np.median(samples['inference']):.2f}"
    assert found["total, ms"][ours] == f"{np.median(samples['total']):.1f}"
    assert found["face detection, ms"][ours] == "0.725 per frame (7.25 in 10.0 % of frames)"
    assert [found[row][ours] for row in ("where", "runtime", "precision", "threads")] == [
        "host: Host processor", "LiteRT 2.3.0, XNNPACK", "-", "2",
    ]  # fmt: skip
    # A model alone fills one row.
    assert [found[f"{row}, ms"]["b.tflite"] for row in ("face detection", "crop", "total")] == ["-"] * 3
    assert found["inference, ms"]["b.tflite"] == milliseconds(np.median(measured[1].times()))
    assert found["precision"]["b.tflite"] == "int8"


def test_an_emulator_is_left_out_of_all_times(measured: list[Measured]) -> None:
    tables = [headline(measured), latency_table(measured), *ratio_tables(measured), *stage_tables(measured)]
    for table in tables:
        assert "4321" not in str(table)
        assert not any("Emulated phone" in column for column in table.columns)
    for table in tables[:2]:
        assert sum("Emulated phone" in note and "left out" in note for note in table.notes) == 1


def test_a_stand_in_for_core_ml_is_left_out(models: Results) -> None:
    entry = replace(models.entries[0], runtime="reference interpreter on PyTorch 2.9, not Core ML")
    table = latency_table(gather([("a.json", replace(models, entries=[entry, models.entries[1]]))]))
    assert [row[0] for row in table.rows] == ["b.tflite"]
    assert any("stand-in" in note for note in table.notes)


def test_latency_and_ratio(measured: list[Measured]) -> None:
    found = cells(latency_table(measured))
    slow, fast = found["a.tflite"], found["b.tflite"]
    times = measured[0].times()
    for name, share in (("p50", 50), ("p90", 90), ("p99", 99)):
        assert float(slow[f"{name}, ms"]) == pytest.approx(np.percentile(times, share), abs=0.051)
        assert float(fast[f"{name}, ms"]) == pytest.approx(np.percentile(times, share) / 2, abs=0.051)
    assert (slow["samples"], fast["samples"]) == ("40", "40 x 3")
    assert (slow["waited"], fast["waited"]) == ("-", "10.0 %")
    assert (slow["first, ms"], slow["load, ms"], slow["where"]) == ("34.0", "12.0", "host: Host processor")
    (table,) = ratio_tables(measured)
    assert table.rows == [["b.tflite", "0.500", "0.500 to 0.500", "40"]]
    notes = latency_table(measured).notes
    assert any("ended early: the tab was closed" in note for note in notes)


def test_ratios_outside_of_common_rounds_are_of_medians(models: Results) -> None:
    device = replace(models, lane=replace(models.lane, where="device"))
    (table,) = ratio_tables(gather([("a.json", device)]))
    assert table.rows == [["b.tflite", "0.500", "of medians", "-"]]


def test_stages_add_up(measured: list[Measured]) -> None:
    (table,) = stage_tables(measured)
    means = {row[0]: float(row[1]) for row in table.rows}
    total = means.pop("total")
    assert sum(means.values()) + 0.01 == pytest.approx(total, abs=0.06)
    assert cells(table)["face detection"]["ran in"] == "10.0 %"
    assert table.notes == ["detected: 10.0 % of frames"]


def test_files_memory_operators(measured: list[Measured]) -> None:
    files = cells(file_table(measured))
    assert files["a.tflite"]["SQNR, dB"] == "exact"
    assert files["b.tflite"]["SQNR, dB"] == "36.25"
    assert files["b.tflite"]["agreement with PyTorch, %"] == "99.75"
    assert (files["a.tflite"]["size"], files["b.tflite"]["size"]) == ("988.0 kB", "334.9 kB")
    assert "F1, %" not in file_table(measured).columns
    assert file_table(measured).notes == [
        "Accuracy is that of the sidecars, which the export wrote: 4 synthetic inputs against torch."
    ]
    assert cells(memory_table(measured))["a.tflite"]["peak - before, MB"] == "+25.5"
    (operators,) = operator_tables(measured)
    assert operators.rows[0] == ["CONV_2D", "node <0>", "20.0", "4.0 %"]
    assert len(operators.rows) == 15
    assert operators.notes == ["3 more take 12.0 % together."]


def test_environment_and_provenance(measured: list[Measured]) -> None:
    first, *_ = environment_tables(measured)
    facts = dict(first.rows)
    assert facts["versions torch"] == "2.9"
    assert facts["command"] == "toolchain benchmark 'a file.tflite'"
    assert facts["SHA-256 of a.tflite"] == "a" * 64
    assert facts["seed"] == "0"
    sentences = " ".join(provenance(measured))
    assert "each operator <alone>" in sentences
    assert "20 (a.tflite)" in sentences


def test_entries_of_the_same_name_are_told_apart(pipeline: Results) -> None:
    phone = replace(pipeline, lane=replace(pipeline.lane, name="a phone"))
    files = [("old/a.json", pipeline), ("b.json", pipeline), ("new/a.json", pipeline), ("c.json", phone)]
    assert [one.label for one in gather(files)] == [
        "whole app (a)", "whole app (b)", "whole app (a) (2)", "whole app (a phone)",
    ]  # fmt: skip


def test_amortized_detection_is_its_mean_in_the_headline(pipeline: Results) -> None:
    # Detection reads the last mask in every frame: its median would say nothing of the detector.
    [entry] = pipeline.entries
    times = [time or 0.05 for time in entry.samples["detection"]]
    entry = replace(entry, samples={**entry.samples, "detection": times}, shares={"detected": 0.1})
    found = cells(headline(gather([("a", replace(pipeline, entries=[entry]))])))
    assert found["face detection, ms"]["whole app"] == "0.770 per frame (detector in 10.0 % of frames)"
    every = replace(entry, shares={"detected": 1.0})
    found = cells(headline(gather([("a", replace(pipeline, entries=[every]))])))
    assert found["face detection, ms"]["whole app"] == "0.050"


def test_markdown_lists_the_slowest_operators(measured: list[Measured]) -> None:
    text = markdown(measured)
    [table] = operator_tables(measured)
    block = text.split("## Operators of a.tflite")[1].split("## ")[0]
    rows = [line for line in block.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(table.rows) == 15
    assert rows[0] == "| " + " | ".join(literal(cell) for cell in table.rows[0]) + " |"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"load_ms": float("nan")}, "no finite number"),
        ({"first_ms": 1e300}, "no finite number"),
        ({"samples": {"total": [float("inf")]}, "at_s": [0.0]}, "no finite number"),
        ({"memory_mb": {"peak": -1.0}}, "no finite number"),
        ({"runtime": ["x"]}, "runtime of entry 'a.tflite' is list"),
        ({"operators": [{"name": 1, "op": "x", "ms": 1.0, "share": 1.0}]}, "an operator of 'a.tflite'"),
    ],
)
def test_damaged_figures_are_refused(models: Results, change: dict[str, Any], message: str) -> None:
    damaged = replace(models, entries=[replace(models.entries[0], **change)])
    with pytest.raises(UsageError, match=message):
        gather([("damaged.json", damaged)])


def test_another_version_is_refused(models: Results, saved: Callable[[Results, str], Path]) -> None:
    path = saved(models, "a.json")
    path.write_text(path.read_text().replace('"version": 1,', '"version": 99,', 1))
    with pytest.raises(UsageError, match="version 99"):
        read_all([path])
    with pytest.raises(UsageError, match="nothing to report"):
        read_all([])


def test_markdown_is_well_formed_and_literal(measured: list[Measured]) -> None:
    text = markdown(measured)
    assert "4321" not in text
    assert "<script" not in text.replace("\\<", "")
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            # Bars that are escaped separate nothing.
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    for heading in ("Published table and ours", "Latency", "Ratios", "Environment", "How each figure"):
        assert f"## {heading}" in text
    assert "host: Host processor" in text
    assert "browser: Browser \\& co" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a|b\nc", "a\\|b c"), ("<b>*x*", "\\<b\\>\\*x\\*"), ("\x1b[0m", "\\[0m"), ("f_32", "f_32")],
)
def test_literal(text: str, shown: str) -> None:
    assert literal(text) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (7.256, "7.26"), (103.44, "103.4"), (2690.4, "2690"), (3e7, "3e+07")],
)
def test_milliseconds(value: float, text: str) -> None:
    assert milliseconds(value) == text


def test_sizes() -> None:
    assert [size(count) for count in (999, 1000, 988_048, 5_000_000, 2 * 10**9)] == [
        "999 B", "1.0 kB", "988.0 kB", "5.0 MB", "2.00 GB",
    ]  # fmt: skip
