"""Time of every operator of a .tflite file, each run alone on LiteRT.

    python -P -m toolchain.benchmarks.operator_profile FILE.tflite

Every operator becomes a file of its own, with its constants, whose inputs are random; equal ones are measured
once. What runtimes save by keeping tensors between operators is not seen, so the sum is more than the time
of the whole file; it says which operators are slow, not how slow the file is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from toolchain.benchmarks.harness.inputs import random_input
from toolchain.benchmarks.report import as_text, run_benchmark
from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.tflite_parts import operator_name, part_of, read_parts, signature

ROUNDS = 15
LEAST_SECONDS = 0.002
TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}


def profile(path: Path, rounds: int = ROUNDS, threads: int = 1) -> list[dict[str, Any]]:
    """Operators of the first subgraph, slowest first.

    Returns:
        For each kind (operator, types and shapes): `op`, `types`, `shapes` (of its inputs and outputs),
        `names` (of each one's first output), `count`, `microseconds` (smallest of `rounds`, of one), and
        `share` of the sum over the file.

    Raises:
        UsageError: the file is not there, or `rounds` is below 1.
        UnsupportedError: an operator cannot be run alone.
    """
    if rounds < 1:
        raise UsageError(f"rounds must be at least 1, not {rounds}")
    if not path.is_file():
        raise UsageError(f"no file at '{path}'", "give the path of a .tflite file")
    model = read_parts(path.read_bytes())
    graph = model.subgraphs[0]
    found: dict[Any, dict[str, Any]] = {}
    for operator in graph.operators:
        row = _row(model, graph, operator)
        key = signature(model, operator)
        if key not in found:
            found[key] = {
                **row,
                "names": [],
                "count": 0,
                "microseconds": _time(part_of(model, [operator]), rounds, row, threads),
            }
        found[key]["names"].append(_name(graph, operator))
        found[key]["count"] += 1
    total = sum(row["microseconds"] * row["count"] for row in found.values())
    rows = sorted(found.values(), key=lambda row: -row["microseconds"] * row["count"])
    return [{**row, "share": round(row["microseconds"] * row["count"] / total, 4)} for row in rows]


def _row(model: Any, graph: Any, operator: Any) -> dict[str, Any]:
    ends = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return {
        "op": operator_name(model, operator),
        "types": f"{TYPES[ends[0].type]} -> {TYPES[ends[-1].type]}",
        "shapes": [[int(size) for size in tensor.shape] for tensor in ends],
    }


def _name(graph: Any, operator: Any) -> str:
    name = graph.tensors[operator.outputs[0]].name or b""
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _time(content: bytes, rounds: int, row: dict[str, Any], threads: int) -> float:
    """Smallest time of one run, in microseconds."""
    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            shape = tuple(int(size) for size in detail["shape"])
            interpreter.set_tensor(detail["index"], random_input(shape, np.dtype(detail["dtype"]), 0))
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise UnsupportedError(
            f"{row['op']} {row['types']} {row['shapes']} cannot be run alone: {str(error).splitlines()[0]}"
        ) from error
    start = time.perf_counter()
    interpreter.invoke()
    repeats = max(1, round(LEAST_SECONDS / max(time.perf_counter() - start, 1e-7)))
    best = np.inf
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repeats):
            interpreter.invoke()
        best = min(best, (time.perf_counter() - start) / repeats)
    return round(float(best) * 1e6, 2)


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.operator_profile",
        description="Time of every operator of a .tflite file, each run alone, as JSON.",
    )
    parser.add_argument("file", type=Path, help="a .tflite file")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples per operator")
    options = parser.parse_args(arguments)
    return as_text(profile(options.file, options.rounds))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
