"""Time and memory of quantizing a network, and how both grow with the number of pictures.

    python -P -m toolchain.benchmarks.quantization_cost NAME --pictures FOLDER --output cost.json

Each measurement is a fresh `toolchain export NAME -f onnx -p int8 --calibration FOLDER`, which is what a user
runs: start, export to ONNX, calibration, placement, writing and comparing are all in the time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.memory import KIBI, MEGA
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import MissingDependencyError, ParityError, ToolchainError, UsageError

NAME = "mobile-hourglass-video-f32-t6"
COUNTS = (20, 50, 100)
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Cost:
    """What one command took.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of all processors together, which other work on the computer disturbs less.
        peak_megabytes: largest memory of its process, in MB (10^6 bytes); None where unknown.
    """

    seconds: float
    cpu_seconds: float
    peak_megabytes: float | None


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command and watch its memory.

    A file that fails its gate of accuracy has been quantized all the same, so that exit code is no failure:
    networks without trained weights fail it.

    Raises:
        ToolchainError: it failed; the message is its error, or else its last line.
    """
    start, before = time.perf_counter(), _seconds_of_children()
    with tempfile.TemporaryFile("w+") as shown:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=shown, text=True)
        peak: float | None = None
        while process.poll() is None:
            peak = max(filter(None, (peak, _peak_of(process.pid))), default=None)
            time.sleep(POLL_SECONDS)
        seconds, used = time.perf_counter() - start, _seconds_of_children() - before
        shown.seek(0)
        lines = [line.strip() for line in shown if line.strip()] or ["no message"]
    if process.returncode not in (0, ParityError.exit_code):
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise ToolchainError(f"'{' '.join(command[:3])}' failed: {(errors or lines)[-1]}")
    return Cost(round(seconds, 2), round(used, 2), peak)


def _seconds_of_children() -> float:
    """Processor seconds of all ended child processes, user and system."""
    found = os.times()
    return found.children_user + found.children_system


def _peak_of(process: int) -> float | None:
    """Largest memory of another process so far (VmHWM of proc_pid_status(5)); None if unknown."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * KIBI / MEGA if found else None


def measure(name: str, pictures: Path, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Quantize a network with the first pictures of a folder, once for each count.

    Returns:
        A dict that JSON can express: `runs` (`pictures` and the fields of Cost) and
        `megabytes_per_picture`, the growth of the peak from the smallest to the largest count.

    Raises:
        UsageError: fewer pictures than asked for, or no two counts.
        MissingDependencyError: the command `toolchain` is not installed.
    """
    found = sorted(path for path in pictures.glob("*") if path.is_file())
    if len(set(counts)) < 2 or min(counts) < 1:
        raise UsageError(f"growth needs two different counts of at least 1, not {list(counts)}")
    if len(found) < max(counts):
        raise UsageError(f"'{pictures}' holds {len(found)} pictures, not {max(counts)}")
    program = shutil.which("toolchain")
    if program is None:
        raise MissingDependencyError(
            "the command 'toolchain' is not installed", "pip install mobile-toolchain"
        )
    before, runs = environment(), []
    for count in sorted(counts):
        with tempfile.TemporaryDirectory() as folder:
            chosen = Path(folder) / "pictures"
            chosen.mkdir()
            for path in found[:count]:
                shutil.copy(path, chosen)
            files = ["-f", "onnx", "-p", "int8", "-o", str(Path(folder) / "made")]
            cost = cost_of([program, "export", name, *files, "--calibration", str(chosen)])
        runs.append({"pictures": count, **asdict(cost)})
    return {"name": name, "runs": runs, "megabytes_per_picture": _growth(runs), "environment": before}


def _growth(runs: Sequence[dict[str, Any]]) -> float | None:
    first, last = runs[0], runs[-1]
    if first["peak_megabytes"] is None or last["peak_megabytes"] is None:
        return None
    added = last["peak_megabytes"] - first["peak_megabytes"]
    return round(added / (last["pictures"] - first["pictures"]), 3)


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.quantization_cost",
        description="Time and memory of quantizing a network, as JSON.",
    )
    parser.add_argument("name", nargs="?", default=NAME, help="a network of the zoo")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of calibration pictures")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="how many of them to use")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    options = parser.parse_args(arguments)
    report = measure(options.name, options.pictures, options.counts)
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
