"""The figures of the side-by-side table, from the runs that were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

CONVERSION = ("convert", "quantize")
EXPORT = "export"
CLOCKS = ("seconds", "cpu_seconds")


@dataclass(frozen=True)
class Row:
    """One file of one converter.

    Attributes:
        network: its name.
        precision: of the file.
        entry: what `peer_table` recorded of the file.
        ours: our file of the same network, precision and format; this one itself for ours.
        onnx: the ONNX file that other converters start from.
        latency: of the precision's .tflite files, None where it was not measured.
    """

    network: str
    precision: str
    entry: dict[str, Any]
    ours: dict[str, Any]
    onnx: dict[str, Any]
    latency: dict[str, Any] | None

    @property
    def tool(self) -> str:
        """Name of the converter."""
        return self.entry["tool"]

    @property
    def failure(self) -> str | None:
        """Why there is no file to speak of, None where there is one."""
        runs = self.entry["runs"]
        if not runs:
            return "not run"
        if not runs[-1]["ok"]:
            return runs[-1]["error"]
        return (self.entry.get("file") or {}).get("error")

    def conversion(self, clock: str) -> float | None:
        """From the ONNX file or the exported program to the file, median over the runs, in seconds."""
        return _median(self.entry, CONVERSION, clock)

    def whole(self, clock: str) -> float | None:
        """From the torch module to the file; a tool that takes ONNX files needs torch.onnx.export before."""
        own = self.conversion(clock)
        source = self.entry if self.entry["starts_from"] == "module" else self.onnx
        export = _median(source, (EXPORT,), clock)
        return None if own is None or export is None else own + export

    def slower(self, kind: str, clock: str) -> float | None:
        """How many times as long as ours it takes; `kind` is "conversion" or "whole"."""
        ours = Row(self.network, self.precision, self.ours, self.ours, self.onnx, self.latency)
        found, least = getattr(self, kind)(clock), getattr(ours, kind)(clock)
        return found / least if found and least else None

    def process(self, clock: str) -> float | None:
        """The whole process, imports included, median, in seconds."""
        found = [run[f"process_{clock}"] for run in _good(self.entry)]
        return median(found) if found else None

    def peak(self) -> float | None:
        """Largest memory of the process over the runs, in MB."""
        found = [run["peak_megabytes"] for run in _good(self.entry) if run["peak_megabytes"]]
        return max(found) if found else None

    def milliseconds(self) -> float | None:
        """Median latency."""
        found = (self.latency or {}).get("files", {}).get(self.tool)
        return found["wall"]["median"] if found and self.entry["format"] == "tflite" else None

    def latency_ratio(self, clock: str) -> dict[str, Any] | None:
        """Our time / its time, as of `ratio_over_processes`."""
        if self.entry["format"] != "tflite":
            return None
        return (self.latency or {}).get("ours_to", {}).get(self.tool, {}).get(clock)


def rows(report: dict[str, Any]) -> Iterator[Row]:
    """Every file, in the order of the report."""
    for network, entry in report["networks"].items():
        for precision, found in entry["precisions"].items():
            onnx = next(file for file in found["files"] if file["format"] == "onnx")
            for file in found["files"]:
                ours = next(
                    (other for other in found["files"] if other["ours"] and _same_format(other, file)), None
                )
                if ours is not None:
                    yield Row(network, precision, file, ours, onnx, found["latency"])


def versions(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Versions of each converter's packages, of its last run."""
    found: dict[str, dict[str, str]] = {}
    for row in rows(report):
        for run in row.entry["runs"]:
            known = {name: version for name, version in run["versions"].items() if version}
            found.setdefault(row.tool, {}).update(known)
    return found


def extremes(found: Sequence[Row], kind: str, clock: str) -> tuple[float, float, Row] | None:
    """Least and median factor of `Row.slower`, and the row of the least; None without any."""
    known = [(factor, row) for row in found if (factor := row.slower(kind, clock)) is not None]
    if not known:
        return None
    least, where = min(known, key=lambda pair: pair[0])
    return least, median(factor for factor, _row in known), where


def _same_format(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one["format"] == other["format"]


def _good(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in entry["runs"] if run["ok"]]


def _median(entry: dict[str, Any], stages: Sequence[str], clock: str) -> float | None:
    found = [sum(run[clock].get(stage, 0.0) for stage in stages) for run in _good(entry)]
    return median(found) if found else None
