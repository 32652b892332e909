"""Latency of .tflite files on LiteRT, measured against each other in one process.

    python -P -m toolchain.benchmarks.latency OURS.tflite PEER.tflite --json

In a process all files are loaded and warmed up first; then every round runs each file once, in an order that
is drawn anew and reversed in the next round, so that a change of the computer's speed meets all files alike.
The command line repeats this in fresh processes (`toolchain.benchmarks.latency_processes`), because where a
process happens to put its memory favours one file for as long as it lives.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.harness.inputs import random_input
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.benchmarks.statistics import Ratio, Summary, paired_ratio, summarize
from toolchain.errors import UnsupportedError, UsageError

ROUNDS = 20
SAMPLE_MS = 5.0
WARMUP_SECONDS = 5.0
BLOCK_RUNS = 5
BLOCK_MS = 50.0
STEADY_BLOCKS = 3
STEADY_CHANGE = 0.03
MS = 1e-6


@dataclass(frozen=True)
class FileLatency:
    """Samples of one file; one sample is the mean over `repeats` invocations of one round.

    Attributes:
        path: the file.
        wall_ms: elapsed time of one invocation, in milliseconds, a sample per round.
        cpu_ms: processor time of one invocation, all threads together, in milliseconds, a sample per round.
        repeats: invocations in a sample.
        warmup_runs: invocations before the first sample.
        steady: whether the time had settled when the warm-up ended.
        difference: largest absolute difference of the outputs from those of the first file on the same
            inputs; None when shapes or types do not match.
    """

    path: Path
    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    repeats: int
    warmup_runs: int
    steady: bool
    difference: float | None

    @property
    def wall(self) -> Summary:
        """Order statistics of the elapsed time."""
        return summarize(self.wall_ms)

    @property
    def cpu(self) -> Summary:
        """Order statistics of the processor time."""
        return summarize(self.cpu_ms)

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        return {
            "path": os.fspath(self.path),
            "wall": self.wall.as_json(),
            "cpu": self.cpu.as_json(),
            "repeats": self.repeats,
            "warmup_runs": self.warmup_runs,
            "steady": self.steady,
            "difference": self.difference,
            "wall_ms": [round(value, 6) for value in self.wall_ms],
            "cpu_ms": [round(value, 6) for value in self.cpu_ms],
        }


@dataclass(frozen=True)
class Comparison:
    """The first file against another one; below 1 means that the first is faster.

    Attributes:
        path: the other file.
        wall: first / other, elapsed time.
        cpu: first / other, processor time, which other work on the computer disturbs less.
    """

    path: Path
    wall: Ratio
    cpu: Ratio

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        return {"path": os.fspath(self.path), "wall": self.wall.as_json(), "cpu": self.cpu.as_json()}


@dataclass(frozen=True)
class LatencyReport:
    """Everything that one measurement found.

    Attributes:
        files: one entry per file, in the order given.
        ratios: the first file against each other file.
        threads: threads of the interpreter.
        environment: see `toolchain.benchmarks.environment.environment`, taken before the first run.
    """

    files: tuple[FileLatency, ...]
    ratios: tuple[Comparison, ...]
    threads: int
    environment: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        return {
            "threads": self.threads,
            "files": [entry.as_json() for entry in self.files],
            "ratios": [entry.as_json() for entry in self.ratios],
            "environment": self.environment,
        }


@dataclass
class _Contender:
    path: Path
    interpreter: Any
    outputs: list[np.ndarray]
    repeats: int = 1
    warmup_runs: int = 0
    steady: bool = False

    def invoke(self, repeats: int) -> tuple[float, float]:
        """Elapsed and processor time of one invocation in milliseconds, mean over `repeats`."""
        invoke = self.interpreter.invoke
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(repeats):
            invoke()
        elapsed, used = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
        return elapsed / repeats * MS, used / repeats * MS


def measure(
    paths: Sequence[Path | str],
    threads: int = 1,
    rounds: int = ROUNDS,
    sample_ms: float = SAMPLE_MS,
    warmup_seconds: float = WARMUP_SECONDS,
    seed: int = 0,
) -> LatencyReport:
    """Interleaved latency of .tflite files on LiteRT with its default XNNPACK delegate.

    Files with inputs of the same shapes get the same random values. Only the invocation is timed.

    Args:
        paths: the files; a file may occur twice, which shows the noise of the measurement.
        threads: threads of each interpreter.
        rounds: samples per file.
        sample_ms: least length of a sample in milliseconds; short networks are invoked several times.
        warmup_seconds: longest warm-up per file; it ends earlier when the time has settled.
        seed: seed of the inputs, of the order and of the bootstrap; the files are loaded in reverse order
            when it is odd.

    Raises:
        UsageError: no files, a file that cannot be read, or a number out of range.
        UnsupportedError: a file that LiteRT cannot load.
    """
    _check(paths, threads=threads, rounds=rounds)
    before = environment()
    positions = range(len(paths))
    loaded = {
        index: _load(Path(paths[index]), threads, seed)
        for index in (reversed(positions) if seed % 2 else positions)
    }
    contenders = [loaded[index] for index in positions]
    for contender in contenders:
        _warm_up(contender, sample_ms, warmup_seconds)
    samples = _rounds(contenders, rounds, np.random.default_rng(seed))
    files = tuple(
        _result(contender, found, contenders[0]) for contender, found in zip(contenders, samples, strict=True)
    )
    first = files[0]
    ratios = tuple(
        Comparison(
            other.path,
            paired_ratio(first.wall_ms, other.wall_ms, seed=seed),
            paired_ratio(first.cpu_ms, other.cpu_ms, seed=seed),
        )
        for other in files[1:]
    )
    return LatencyReport(files, ratios, threads, before)


def _check(paths: Sequence[Path | str], **numbers: int) -> None:
    if not paths:
        raise UsageError("no file to measure", "name at least one .tflite file")
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}")
    for path in paths:
        if not Path(path).is_file():
            raise UsageError(f"no file at '{path}'", "give the path of a .tflite file")


def _load(path: Path, threads: int, seed: int) -> _Contender:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=os.fspath(path), num_threads=threads)
        interpreter.allocate_tensors()
        seen: Counter[tuple[int, ...]] = Counter()
        for detail in interpreter.get_input_details():
            shape = tuple(int(size) for size in detail["shape"])
            interpreter.set_tensor(detail["index"], random_input(shape, detail["dtype"], seed, seen[shape]))
            seen[shape] += 1
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise UnsupportedError(
            f"LiteRT cannot run '{path}': {str(error).splitlines()[0]}", "export the file again"
        ) from error
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    return _Contender(path, interpreter, outputs)


def _warm_up(contender: _Contender, sample_ms: float, seconds: float) -> None:
    """Invoke until the medians of three blocks in a row hardly differ, or the time is over."""
    deadline = time.perf_counter() + seconds
    medians: list[float] = []
    while not contender.steady and (not medians or time.perf_counter() < deadline):
        block: list[float] = []
        spent = 0.0
        while len(block) < BLOCK_RUNS or spent < BLOCK_MS:
            block.append(contender.invoke(1)[0])
            spent += block[-1]
        contender.warmup_runs += len(block)
        medians.append(summarize(block).median)
        latest = medians[-STEADY_BLOCKS:]
        settled = all(abs(after / before - 1) < STEADY_CHANGE for before, after in pairwise(latest))
        contender.steady = settled and len(latest) == STEADY_BLOCKS
    contender.repeats = max(1, math.ceil(sample_ms / min(medians)))


def _rounds(
    contenders: Sequence[_Contender], rounds: int, rng: np.random.Generator
) -> list[list[tuple[float, float]]]:
    """Samples (elapsed, processor time) per contender; the garbage collector is off meanwhile."""
    samples: list[list[tuple[float, float]]] = [[] for _ in contenders]
    order = rng.permutation(len(contenders))
    collecting = gc.isenabled()
    gc.disable()
    try:
        for index in range(rounds):
            order = order[::-1] if index % 2 else rng.permutation(len(contenders))
            for position in order:
                contender = contenders[position]
                samples[position].append(contender.invoke(contender.repeats))
    finally:
        if collecting:
            gc.enable()
    return samples


def _result(contender: _Contender, samples: list[tuple[float, float]], first: _Contender) -> FileLatency:
    wall, cpu = zip(*samples, strict=True)
    return FileLatency(
        contender.path,
        wall,
        cpu,
        contender.repeats,
        contender.warmup_runs,
        contender.steady,
        largest_difference(first.outputs, contender.outputs),
    )


def largest_difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float | None:
    """Largest absolute difference of two lists of outputs; None when their shapes or types differ.

    NaN in the same places on both sides counts as equal, NaN on one side as infinite.
    """
    if [(x.shape, x.dtype) for x in one] != [(x.shape, x.dtype) for x in other]:
        return None
    worst = 0.0
    for left, right in zip(one, other, strict=True):
        left, right = left.astype(np.float64), right.astype(np.float64)
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        apart = np.abs(np.where(same, 0.0, left) - np.where(same, 0.0, right))
        worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)))
    return worst


def _benchmark(arguments: Sequence[str] | None) -> str:
    from toolchain.benchmarks.latency_processes import PROCESSES, describe, measure_processes

    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.latency",
        description="Latency of .tflite files on LiteRT, interleaved; ratios are first file / other file.",
    )
    parser.add_argument("files", nargs="+", type=Path, help="the .tflite files")
    parser.add_argument("--threads", type=int, default=1, help="threads of the interpreter")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples per file and process")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="fresh processes")
    parser.add_argument(
        "--warmup", type=float, default=WARMUP_SECONDS, help="longest warm-up per file, in seconds"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of inputs, order and bootstrap")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    parser.add_argument("--once", action="store_true", help="measure in this process and print its JSON")
    options = parser.parse_args(arguments)
    chosen = {
        "threads": options.threads,
        "rounds": options.rounds,
        "warmup_seconds": options.warmup,
        "seed": options.seed,
    }
    if options.once:
        return as_text(measure(options.files, **chosen).as_json())
    report = measure_processes(options.files, processes=options.processes, **chosen)
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report) if options.json else describe(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
