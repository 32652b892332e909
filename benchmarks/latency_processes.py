"""Latency of .tflite files against each other over several fresh processes.

One process is not enough: comparing a file with itself inside one process gives ratios several per cent from
1 whose interval over rounds excludes 1. Each process here loads the files in the opposite order of the one
before, and the interval of a ratio comes from the differences between processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolchain.benchmarks.latency import ROUNDS, WARMUP_SECONDS
from toolchain.benchmarks.statistics import ratio_over_processes, summarize
from toolchain.errors import ToolchainError, UsageError

PROCESSES = 6
CLOCKS = ("wall", "cpu")


def measure_processes(
    paths: Sequence[Path | str],
    processes: int = PROCESSES,
    threads: int = 1,
    rounds: int = ROUNDS,
    warmup_seconds: float = WARMUP_SECONDS,
    seed: int = 0,
) -> dict[str, Any]:
    """Run `toolchain.benchmarks.latency.measure` in fresh processes, one after the other, and combine.

    Args:
        paths: the files; the same file twice shows what the measurement cannot tell apart.
        processes: fresh processes, the load order alternating; at least 2 for an interval, an even number
            so that both orders count alike.
        threads: threads of each interpreter.
        rounds: samples per file and process.
        warmup_seconds: longest warm-up per file and process.
        seed: seed of the first process, counted up.

    Returns:
        A dict that JSON can express: `files` (`path`, `wall` and `cpu` order statistics in ms over all
        rounds of all processes, `difference` of the outputs from those of the first file), `ratios` (first
        file / other file, `path`, `wall` and `cpu` as of `ratio_over_processes`), `runs` (the report of
        each process) and `threads`.

    Raises:
        UsageError: a number out of range, or what `measure` refuses.
        UnsupportedError: a file that LiteRT cannot load.
    """
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    runs = [
        _in_fresh_process(paths, threads, rounds, warmup_seconds, seed + index) for index in range(processes)
    ]
    return {
        "threads": threads,
        "processes": processes,
        "rounds": rounds,
        "files": [_file(index, runs) for index in range(len(paths))],
        "ratios": [_ratio(index, runs) for index in range(len(paths) - 1)],
        "runs": runs,
    }


def describe(report: dict[str, Any]) -> str:
    """The report in lines for a terminal."""
    lines = []
    for entry in report["files"]:
        note = "" if entry["steady"] else "  (not settled after every warm-up)"
        wall = entry["wall"]
        lines.append(f"{wall['median']:10.3f} ms  p90 {wall['p90']:10.3f} ms  {entry['path']}{note}")
    for ratio in report["ratios"]:
        for clock in CLOCKS:
            found = ratio[clock]
            interval = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}] at 95%"
            lines.append(
                f"{report['files'][0]['path']} / {ratio['path']}, {clock}: {found['mean']:.3f}{interval}"
                f" over {len(found['each'])} processes"
            )
    return "\n".join(lines)


def _in_fresh_process(
    paths: Sequence[Path | str], threads: int, rounds: int, warmup_seconds: float, seed: int
) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "toolchain.benchmarks.latency", "--once"]
    options = ["--threads", threads, "--rounds", rounds, "--warmup", warmup_seconds, "--seed", seed]
    arguments = [*command, *map(str, options), "--", *(os.fspath(path) for path in paths)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
    known = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    raise ToolchainError(
        (known or lines)[-1], hints[-1] if hints else "", exit_code=done.returncode if known else None
    )


def _file(index: int, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    entries = [run["files"][index] for run in runs]
    return {
        "path": entries[0]["path"],
        **{
            clock: summarize([value for entry in entries for value in entry[f"{clock}_ms"]]).as_json()
            for clock in CLOCKS
        },
        "steady": all(entry["steady"] for entry in entries),
        "difference": entries[0]["difference"],
    }


def _ratio(index: int, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    entries = [run["ratios"][index] for run in runs]
    return {
        "path": entries[0]["path"],
        **{
            clock: ratio_over_processes([entry[clock]["median"] for entry in entries]).as_json()
            for clock in CLOCKS
        },
    }
