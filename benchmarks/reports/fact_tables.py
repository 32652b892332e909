"""What belongs to the times: files, accuracy, memory, operators, computers, and how figures were obtained."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.figures import OUTLIER_RULE
from toolchain.benchmarks.harness.results import HOST
from toolchain.benchmarks.reports.measured import UNKNOWN, Measured, by_file
from toolchain.benchmarks.reports.tables import Table
from toolchain.benchmarks.reports.texts import milliseconds, percent, size

# Operators of an entry that a report lists, the slowest.
LISTED = 15
MOMENTS = ("before", "loaded", "peak")
OVERALL_F1 = "overall_f1"
# Accuracies, the most telling first: key, name, unit, factor to it. All but the first are of the parity.
ACCURACIES = (
    (OVERALL_F1, "overall F1", "%", 1.0),
    ("agreement", "agreement with PyTorch", "%", 100.0),
    ("sqnr_db", "SQNR", "dB", 1.0),
)


def file_table(measured: Sequence[Measured]) -> Table:
    """Size, latency and accuracy of every entry that is a file."""
    rows = []
    for one in measured:
        file = one.entry.file
        if file is None:
            continue
        p50 = float(np.median(one.inference)) if one.published else None
        accuracies = [_accuracy_text(one, key, factor) for key, _, _, factor in ACCURACIES]
        rows.append([one.label, file.format, one.precision, size(file.bytes), milliseconds(p50), *accuracies])
    columns = (
        "",
        "format",
        "precision",
        "size",
        "inference p50, ms",
        *(f"{name}, {unit}" for _, name, unit, _ in ACCURACIES),
    )
    unused = [
        len(columns) - len(ACCURACIES) + index
        for index in range(len(ACCURACIES))
        if all(row[len(columns) - len(ACCURACIES) + index] == UNKNOWN for row in rows)
    ]
    return Table("Size, latency, accuracy", *_without(columns, rows, unused), _accuracy_notes(measured))


def accuracy(one: Measured, key: str) -> float | None:
    """A figure of the file of an entry: infinite where it is exact, None where there is none."""
    if key == OVERALL_F1:
        return one.judged.overall_f1 if one.judged else None
    found = (one.entry.file.parity if one.entry.file else None) or {}
    value = found.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _accuracy_text(one: Measured, key: str, factor: float) -> str:
    value = accuracy(one, key)
    if value is None:
        return UNKNOWN
    return "exact" if value == math.inf else f"{value * factor:.2f}"


def _accuracy_notes(measured: Sequence[Measured]) -> list[str]:
    told = {
        f"{parity['samples']} {parity['inputs']} inputs against {parity['reference']}"
        for one in measured
        if one.entry.file and (parity := one.entry.file.parity)
        if {"samples", "inputs", "reference"} <= set(parity)
    }
    judged = dict.fromkeys(one.judged.text for one in measured if one.judged)
    notes = [f"Overall F1 is that of {text}." for text in judged]
    if told:
        which = "Agreement and SQNR are those" if judged else "Accuracy is that"
        notes.append(f"{which} of the sidecars, which the export wrote: {'; '.join(sorted(told))}.")
    return notes


def _without(
    columns: Sequence[str], rows: list[list[str]], unused: Sequence[int]
) -> tuple[list[str], list[list[str]]]:
    kept = [index for index in range(len(columns)) if index not in unused]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]


def memory_table(measured: Sequence[Measured]) -> Table:
    """Resident memory in MB by moment; empty where nothing is known."""
    rows = []
    for one in measured:
        known = one.entry.memory_mb
        if known:
            cells = [f"{known[moment]:.1f}" if moment in known else UNKNOWN for moment in MOMENTS]
            grown = f"{known['peak'] - known['before']:+.1f}" if {"peak", "before"} <= set(known) else UNKNOWN
            rows.append([one.label, *cells, grown])
    columns = ("", *(f"{moment}, MB" for moment in MOMENTS), "peak - before, MB")
    return Table("Memory", columns, rows)


def operator_tables(measured: Sequence[Measured]) -> list[Table]:
    """The slowest operators of every entry with a profile."""
    tables = []
    for one in measured:
        if not one.entry.operators or not one.published:
            continue
        listed = one.entry.operators[:LISTED]
        rows = [[o["op"], o["name"], milliseconds(o["ms"]), percent(o["share"])] for o in listed]
        rest = len(one.entry.operators) - len(listed)
        share = sum(operator["share"] for operator in one.entry.operators[LISTED:])
        notes = [f"{rest} more take {percent(share)} together."] if rest else []
        columns = ("operator", "name", "ms", "share")
        tables.append(Table(f"Operators of {one.label}", columns, rows, notes))
    return tables


def environment_tables(measured: Sequence[Measured]) -> list[Table]:
    """For every results file: where and when it was measured, with what, how, and of which files."""
    tables = []
    for group in by_file(measured):
        results = group[0].results
        facts: dict[str, Any] = {
            "results file": group[0].source,
            "measured": results.created,
            "where": group[0].where,
            **_flat("", results.lane.details),
            **_flat("", results.machine),
            **_flat("", results.settings),
            "command": shlex.join(map(str, results.command)),
        }
        for one in group:
            if one.entry.file is not None:
                facts[f"SHA-256 of {one.entry.file.path}"] = one.entry.file.sha256
        rows = [[name, _plain(value)] for name, value in facts.items()]
        tables.append(Table(f"Environment: {group[0].where}", ("", ""), rows))
    return tables


def _flat(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """Nested keys joined with spaces."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}".replace("_", " ")
        made |= _flat(f"{key} ", value) if isinstance(value, dict) else {key: value}
    return made


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or UNKNOWN
    return UNKNOWN if value is None else value if isinstance(value, str) else json.dumps(value)


def provenance(measured: Sequence[Measured]) -> Iterator[str]:
    """How each figure was obtained, as sentences."""
    yield (
        "Samples are wall-clock times; every one is kept in the results file. One sample of a model is the"
        " mean of as many runs as the latency table says behind the x; one sample of a pipeline is one frame."
    )
    if any(one.results.lane.where == HOST for one in measured):
        yield (
            "On the host, the entries of one results file were measured in turns, each once in every round. A"
            " ratio is the median of the ratios within the rounds, its interval a bootstrap over the rounds."
        )
    yield (
        "p50, p90 and p99 are quantiles of the samples, interpolated linearly. Spread is the median distance"
        f" from p50. Outliers are counted by the {OUTLIER_RULE}; they stay in every figure. Drift is the"
        " median of the last third of the samples over that of the first third, minus 1. Waited is the"
        " share of the time in which other programs had the core."
    )
    for group in by_file(measured):
        runs = ", ".join(f"{one.entry.warmup_runs} ({one.label})" for one in group)
        yield (
            f"{group[0].source}: loading, the first run and the warm-up are no samples; runs of warm-up:"
            f" {runs}."
        )
        if group[0].results.profile_note:
            yield f"{group[0].source}: operators: {group[0].results.profile_note}"
    if any(one.entry.memory_mb for one in measured):
        yield "Memory is the resident memory of the measuring process, not that of the file alone."
    if any(one.is_pipeline for one in measured):
        yield (
            "Means of stages add up to the mean frame but for what lies between the stages;"
            " medians of stages do not add up."
        )
