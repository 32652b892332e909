"""The side-by-side table of converters as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolchain.benchmarks.peer_table_figures import Row, extremes, rows, versions

HEAD = (
    "| network | precision | converter | conversion s (CPU) | x ours | whole call s (CPU) | x ours"
    " | process s (CPU) | peak MB | file MB | TRANSPOSE | SQNR dB | same class % | ms | ours / it |"
)
TITLES = {"tflite": "TFLite", "mlpackage": "Core ML"}
WANTED_FACTOR, WANTED_LATENCY = 5.0, 1.0
MEGA = 1e6
ABSENT = "-"
LONGEST_ERROR = 160

EXPLANATION = """\
Conversion: from the ONNX file (ours, onnx2tf, onnx2coreml) or the exported or traced program (litert-torch,
coremltools) to the file on disk, calibration included. Whole call: from the torch module; for converters of
ONNX files torch.onnx.export is added. Each conversion is a fresh process; medians. CPU: processor time of
all threads and child processes. x ours: how many times as long as ours, elapsed time (processor time). A
child process that a tool starts counts with its imports. Process: the whole process, imports included. Ours
without the run and comparison that `toolchain export` adds. onnx2tf always writes further precisions
besides in the same call. Peak: largest resident memory of the process. SQNR and same class: against PyTorch
on samples that no converter saw; Core ML files on this project's reference interpreter. ms: median on
LiteRT; ours / it: below 1 ours is faster, elapsed time (processor time), mean over processes. Latency of
Core ML files needs an Apple device and was not measured.
"""


def markdown(report: dict[str, Any]) -> str:
    """The report of `peer_table` as one table per format, a summary, and what failed."""
    found = list(rows(report))
    lines = _conditions(report)
    for format_, title in TITLES.items():
        of_format = [row for row in found if row.entry["format"] == format_]
        if of_format:
            lines += [f"## {title}", "", HEAD, "| --- " * HEAD.count(" | ") + "| --- |"]
            lines += [_row(row) for row in of_format]
            lines.append("")
    lines += [EXPLANATION, *_summary(found), *_failures(found)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _conditions(report: dict[str, Any]) -> list[str]:
    machine = report["environment"]
    lines = [
        "# Converters side by side",
        "",
        f"{machine['cpu']} ({', '.join(machine['instruction_sets'])}), {machine['usable_cores']} cores,"
        f" {machine['system']}.",
        "",
    ]
    lines += [
        f"- {tool}: {', '.join(f'{name} {version}' for name, version in packages.items())}"
        for tool, packages in versions(report).items()
    ]
    amounts: dict[tuple[int, int], list[str]] = {}
    for name, entry in report["networks"].items():
        settings = entry["settings"]
        amounts.setdefault((settings["calibration"], settings["repeats"]), []).append(name)
    lines += [
        f"- int8 from {samples} calibration samples, conversions measured {repeats} x: {', '.join(names)}"
        for (samples, repeats), names in amounts.items()
    ]
    loads = [
        found["latency"]["load_average"][0]
        for entry in report["networks"].values()
        for found in entry["precisions"].values()
        if found["latency"] and found["latency"].get("load_average")
    ]
    if loads:
        lines.append(f"- load average when latency was measured: {min(loads):.1f} to {max(loads):.1f}")
    return [*lines, ""]


def _row(row: Row) -> str:
    first = [row.network, row.precision, row.tool]
    if row.failure:
        return "| " + " | ".join([*first, f"no file: {_short(row.failure)}", *[ABSENT] * 11]) + " |"
    file = row.entry["file"] or {}
    parity = file.get("parity") or {}
    cells = [
        *first,
        _seconds(row.conversion),
        _factors(row, "conversion"),
        _seconds(row.whole),
        _factors(row, "whole"),
        _seconds(row.process),
        _number(row.peak(), 0),
        _number(file["bytes"] / MEGA if file else None, 3),
        str(file.get("transposes", ABSENT)),
        ("exact" if parity["sqnr_db"] is None else f"{parity['sqnr_db']:.1f}") if parity else ABSENT,
        _number(100 * parity["agreement"] if parity else None, 2),
        _number(row.milliseconds(), 3),
        _latency_ratio(row),
    ]
    return "| " + " | ".join(cells) + " |"


def _seconds(figure: Callable[[str], float | None]) -> str:
    return f"{_number(figure('seconds'), 2)} ({_number(figure('cpu_seconds'), 2)})"


def _factors(row: Row, kind: str) -> str:
    if row.entry["ours"]:
        return ABSENT
    wall, cpu = (_number(row.slower(kind, clock), 1) for clock in ("seconds", "cpu_seconds"))
    return f"{wall} ({cpu})"


def _latency_ratio(row: Row) -> str:
    found = [row.latency_ratio(clock) for clock in ("wall", "cpu")]
    if not all(found):
        return ABSENT
    wall, cpu = (f"{ratio['mean']:.3f}" for ratio in found if ratio)
    return f"{wall} ({cpu})"


def _number(value: float | None, digits: int) -> str:
    return ABSENT if value is None else f"{value:,.{digits}f}"


def _short(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:LONGEST_ERROR]


def _summary(found: list[Row]) -> list[str]:
    lines = [
        "## Against each converter",
        "",
        "| converter | files | conversion: least factor (median) | whole call: least factor (median)"
        " | below 5 x, conversion | largest ours / it, CPU"
        " | above 1.00 (beyond noise) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for tool in dict.fromkeys(row.tool for row in found if not row.entry["ours"]):
        of_tool = [row for row in found if row.tool == tool and not row.failure]
        if of_tool:
            lines.append(_summary_row(tool, of_tool))
    return [
        *lines,
        "",
        "Factors and counts by processor time, which other work on the computer disturbs less."
        " Beyond noise: the 95 % interval over processes lies above 1.00.",
        "",
    ]


def _summary_row(tool: str, of_tool: list[Row]) -> str:
    factors = []
    for kind in ("conversion", "whole"):
        known = extremes(of_tool, kind, "cpu_seconds")
        factors.append(
            f"{known[0]:.1f} ({known[1]:.1f}), {known[2].network} {known[2].precision}" if known else ABSENT
        )
    below = [
        row
        for row in of_tool
        if (factor := row.slower("conversion", "cpu_seconds")) is not None and factor < WANTED_FACTOR
    ]
    ratios = [(ratio["mean"], row) for row in of_tool if (ratio := row.latency_ratio("cpu"))]
    intervals = [row.latency_ratio("cpu") for row in of_tool]
    worst = max(ratios, key=lambda pair: pair[0]) if ratios else None
    above = sum(round(ratio, 2) > WANTED_LATENCY for ratio, _row in ratios)
    shown = f"{worst[0]:.3f}, {worst[1].network} {worst[1].precision}" if worst else ABSENT
    sure = sum((ratio["low"] or 0.0) > WANTED_LATENCY for ratio in intervals if ratio)
    counted = f"{above} of {len(ratios)} ({sure})" if ratios else ABSENT
    return (
        f"| {tool} | {len(of_tool)} | {factors[0]} | {factors[1]} | {len(below)} of {len(of_tool)}"
        f" | {shown} | {counted} |"
    )


def _failures(found: list[Row]) -> list[str]:
    failed = [row for row in found if row.failure]
    if not failed:
        return []
    lines = ["## No file", ""]
    for row in failed:
        runs = row.entry["runs"]
        kind = "" if not runs or runs[-1]["offered"] else " (not offered)"
        lines.append(
            f"- {row.tool}, {row.entry['format']} {row.precision} of {row.network}{kind}: {row.failure}"
        )
    return [*lines, ""]
