"""Our conversions beside those of other converters, on the same networks, as JSON and a Markdown table.

    nox -s peer_table

or, with environments that are there already (see ENVIRONMENTS in `peer_table_tools`):

    python -P -m toolchain.benchmarks.peer_table lenet mobile-hourglass --data DATA --folder build/peer_table
        --peer litert-torch=LITERT/bin/python --peer onnx2tf-2=ONNX2TF/bin/python

Every converter runs in an environment and a process of its own (benchmarks/peers/peer_*.py), with the same
weights and the same calibration samples. The conversions of one network and precision follow each other in
rounds, so that a computer that becomes slower meets all alike. What was measured stays in FOLDER, and the
same command goes on where it stopped; `--again NAME` measures a converter anew, `--again latency` the
latency. After every step the results are written.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.benchmarks.environment import cpu_model, environment
from toolchain.benchmarks.latency_processes import measure_processes
from toolchain.benchmarks.peer_table_samples import Given, write_given
from toolchain.benchmarks.peer_table_scores import contents, parity
from toolchain.benchmarks.peer_table_text import markdown
from toolchain.benchmarks.peer_table_tools import (
    ENVIRONMENTS,
    ONNX,
    PRECISIONS,
    TFLITE,
    Tool,
    Workshop,
    run_job,
)
from toolchain.benchmarks.report import run_benchmark, save_json
from toolchain.errors import ToolchainError, UsageError

CALIBRATION, MEASURED = 100, 8
REPEATS = 3
PROCESSES, ROUNDS, WARMUP_SECONDS = 4, 20, 3.0
TIMEOUT = 1800.0
LATENCY = "latency"
KEPT_SETTINGS = ("repeats", "calibration", "measured", "processes", "rounds", "threads")
SMALL_FIRST = ("mobile-hourglass", "mobile-hourglass-video-f32-t6", "lenet", "mobilenetv2", "vgg11")
LARGE_LAST = ("unet", "segnet")


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        precisions: of PRECISIONS.
        repeats: conversions of each file, each in a fresh process.
        calibration: samples for int8 files.
        measured: samples that files are compared on.
        processes: fresh processes for the latency.
        rounds: samples per file and process.
        warmup_seconds: longest warm-up per file and process.
        threads: of the interpreter.
        again: names of converters, or "latency", whose figures are not reused.
    """

    precisions: Sequence[str] = PRECISIONS
    repeats: int = REPEATS
    calibration: int = CALIBRATION
    measured: int = MEASURED
    processes: int = PROCESSES
    rounds: int = ROUNDS
    warmup_seconds: float = WARMUP_SECONDS
    threads: int = 1
    again: Sequence[str] = ()


def networks() -> tuple[str, ...]:
    """Every network of the zoo, the large ones last."""
    from toolchain.models.zoo import zoo

    others = [name for name in zoo() if name not in (*SMALL_FIRST, *LARGE_LAST)]
    return (*SMALL_FIRST, *others, *LARGE_LAST)


class Table:
    """The measurements of all networks; kept in files, so that a run can go on where another stopped."""

    def __init__(
        self,
        workshop: Workshop,
        data: Path | None,
        settings: Settings,
        saved: Callable[[dict[str, Any]], None],
        note: Callable[[str], object],
        earlier: dict[str, Any],
    ) -> None:
        self.workshop, self.data, self.settings = workshop, data, settings
        self.saved, self.note = saved, note
        self.tools = list(workshop.tools())
        self.networks = earlier
        self.environment = environment()

    def report(self) -> dict[str, Any]:
        """Everything that is known so far."""
        return {
            "networks": {name: self.networks[name] for name in networks() if name in self.networks},
            "environment": self.environment,
        }

    def measure(self, name: str) -> None:
        """All precisions of one network."""
        folder = self.workshop.folder / name
        self.note(f"{name}: weights and samples")
        given = write_given(name, folder, self.data, self.settings.calibration, self.settings.measured)
        key, earlier = given.digest(), self.networks.get(name, {})
        entry = self.networks[name] = {
            "key": key,
            "trained": given.trained,
            "samples": given.origin,
            "settings": {key: getattr(self.settings, key) for key in KEPT_SETTINGS},
            "precisions": dict(earlier["precisions"]) if earlier.get("key") == key else {},
        }
        for precision in self.settings.precisions:
            rows = {tool: self._kept(self._place(name, tool, precision), tool, key) for tool in self.tools}
            self._convert(name, precision, given, rows)
            described = [self._described(row, tool, given) for tool, row in rows.items()]
            entry["precisions"][precision] = {"files": described, "latency": None}
            self.saved(self.report())
            entry["precisions"][precision]["latency"] = self._latency(name, precision, rows)
            self.saved(self.report())

    def _place(self, name: str, tool: Tool, precision: str) -> Path:
        if tool.suffix == ONNX:
            return self.workshop.folder / name / "onnx"
        label = f"{tool.environment or tool.name}-{tool.suffix.lstrip('.')}-{precision}"
        return self.workshop.folder / name / label

    def _kept(self, place: Path, tool: Tool, key: str) -> dict[str, Any]:
        """The row of an earlier run on the same weights and samples, or an empty one."""
        fresh = {"place": place, "key": key, "runs": []}
        path = place / "row.json"
        if tool.name in self.settings.again or not path.is_file():
            return fresh
        row = json.loads(path.read_text(encoding="utf-8"))
        return {**row, "place": place} if row["key"] == key else fresh

    def _convert(self, name: str, precision: str, given: Given, rows: dict[Tool, dict[str, Any]]) -> None:
        """Conversions in rounds: one of each tool, then the next round; a failed one is not repeated."""
        for turn in range(self.settings.repeats):
            for tool, row in rows.items():
                runs = row["runs"]
                if len(runs) > turn or (runs and not runs[-1]["ok"]):
                    continue
                self.note(f"{name} {precision}: {tool.name} {tool.suffix}, {turn + 1}")
                runs.append(self._once(name, tool, precision, given, row["place"]))
                row.pop("file", None)
                _save_row(row)

    def _once(self, name: str, tool: Tool, precision: str, given: Given, place: Path) -> dict[str, Any]:
        onnx = given.weights.parent / "onnx" / f"{name}.onnx"
        output = onnx if tool.suffix == ONNX else place / f"{name}-{precision}{tool.suffix}"
        if output.is_dir():
            shutil.rmtree(output)
        output.unlink(missing_ok=True)
        job = {
            "name": name,
            "precision": precision,
            "weights": str(given.weights.resolve()),
            "onnx": str(onnx.resolve()),
            "calibration": str(given.calibration.resolve()),
            "output": str(output.resolve()),
        }
        return run_job(self.workshop, tool, job, place)

    def _described(self, row: dict[str, Any], tool: Tool, given: Given) -> dict[str, Any]:
        """The row as the report has it: runs, and what the file holds and computes."""
        path = _file_of(row, tool)
        if path is not None and "file" not in row and tool.suffix != ONNX:
            self.note(f"{path.name}: comparing the file of {tool.name}")
            try:
                row["file"] = {**contents(path), "parity": parity(path, given.measured), "error": None}
            except ToolchainError as error:
                # Folders of one computer tell others nothing.
                row["file"] = {"error": error.message.replace(str(path), path.name)}
            _save_row(row)
        return {
            "tool": tool.name,
            "format": tool.suffix.lstrip("."),
            "starts_from": tool.starts_from,
            "ours": tool.ours,
            "runs": row["runs"],
            "file": row.get("file"),
        }

    def _latency(self, name: str, precision: str, rows: dict[Tool, dict[str, Any]]) -> dict[str, Any] | None:
        """Our .tflite file against the others', interleaved in fresh processes."""
        files = {}
        for tool, row in rows.items():
            path = _file_of(row, tool)
            if tool.suffix == TFLITE and path is not None and not (row.get("file") or {}).get("error"):
                files[tool.name] = path
        ours = next((tool.name for tool in rows if tool.ours), None)
        if ours not in files:
            return None
        kept = self.workshop.folder / name / f"latency-{precision}.json"
        key = [[tool, path.stat().st_size, path.stat().st_mtime_ns] for tool, path in files.items()]
        if kept.is_file() and LATENCY not in self.settings.again:
            found = json.loads(kept.read_text(encoding="utf-8"))
            if found["key"] == key:
                return found["latency"]
        self.note(f"{name} {precision}: latency of {len(files)} files")
        try:
            latency = self._measured_latency(files)
        except ToolchainError as error:
            return {"error": error.message}
        save_json({"key": key, "latency": latency}, kept)
        return latency

    def _measured_latency(self, files: dict[str, Path]) -> dict[str, Any]:
        settings = self.settings
        before = environment()
        report = measure_processes(
            list(files.values()),
            settings.processes,
            settings.threads,
            settings.rounds,
            settings.warmup_seconds,
        )
        entries = dict(zip(files, report["files"], strict=True))
        ratios = dict(zip(list(files)[1:], report["ratios"], strict=True))
        return {
            "threads": settings.threads,
            "load_average": before["load_average"],
            "files": {
                tool: {"wall": entry["wall"], "cpu": entry["cpu"], "steady": entry["steady"]}
                for tool, entry in entries.items()
            },
            "ours_to": {tool: {"wall": ratio["wall"], "cpu": ratio["cpu"]} for tool, ratio in ratios.items()},
        }


def _save_row(row: dict[str, Any]) -> None:
    save_json({key: value for key, value in row.items() if key != "place"}, row["place"] / "row.json")


def _file_of(row: dict[str, Any], tool: Tool) -> Path | None:
    """The converted file; None when the last conversion failed."""
    if not row["runs"] or not row["runs"][-1]["ok"]:
        return None
    return next(row["place"].glob(f"*{tool.suffix}"), None)


def _earlier(path: Path) -> dict[str, Any]:
    """The networks of an earlier report, as far as it is of this computer."""
    if not path.is_file():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    return report["networks"] if report["environment"]["cpu"] == cpu_model() else {}


def _peers(given: Sequence[str]) -> dict[str, Path]:
    found = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise UsageError(f"--peer {text} names no interpreter", "--peer litert-torch=FOLDER/bin/python")
        found[name] = Path(path)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.peer_table",
        description="Our conversions beside those of other converters, as JSON and a Markdown table.",
    )
    parser.add_argument("names", nargs="*", help="networks of the zoo; default: all, the large ones last")
    parser.add_argument(
        "--peer", action="append", default=[], help=f"NAME=PYTHON; NAME of {', '.join(ENVIRONMENTS)}"
    )
    parser.add_argument("--scripts", type=Path, default=Path("benchmarks/peers"))
    parser.add_argument("--data", type=Path, help="folder of the data sets; without it samples are noise")
    parser.add_argument("--folder", type=Path, default=Path("build/peer_table"), help="where files are kept")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: all")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="conversions of each file")
    parser.add_argument("--calibration", type=int, default=CALIBRATION, help="samples to calibrate with")
    parser.add_argument("--count", type=int, default=MEASURED, help="samples that files are compared on")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="fresh processes for the latency")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples per file and process")
    parser.add_argument("--warmup", type=float, default=WARMUP_SECONDS, help="longest warm-up, in seconds")
    parser.add_argument("--threads", type=int, default=1, help="threads of the interpreter")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="longest conversion, in seconds")
    parser.add_argument(
        "--again", action="append", default=[], help="a converter to measure anew, or 'latency'"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/peers.json"))
    return parser


def _benchmark(arguments: Sequence[str] | None) -> str:
    options = _parser().parse_args(arguments)
    for count in ("repeats", "calibration", "count"):
        if getattr(options, count) < 1:
            raise UsageError(f"--{count} must be at least 1, not {getattr(options, count)}")
    workshop = Workshop(_peers(options.peer), options.scripts, options.folder, options.timeout)
    workshop.check()
    known = [*(tool.name for tool in workshop.tools()), LATENCY]
    if unknown := [name for name in options.again if name not in known]:
        raise UsageError(f"nothing here is called '{unknown[0]}'", f"--again takes {', '.join(known)}")
    settings = Settings(
        options.precision or PRECISIONS,
        options.repeats,
        options.calibration,
        options.count,
        options.processes,
        options.rounds,
        options.warmup,
        options.threads,
        options.again,
    )

    def save(report: dict[str, Any]) -> None:
        save_json(report, options.output)
        options.output.with_suffix(".md").write_text(markdown(report), encoding="utf-8")

    table = Table(
        workshop,
        options.data,
        settings,
        save,
        lambda line: sys.stderr.write(f"{line}\n"),
        _earlier(options.output),
    )
    for name in options.names or networks():
        table.measure(name)
    return markdown(table.report()).rstrip("\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
