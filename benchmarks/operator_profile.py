"""Time of every operator of a .tflite file, each run alone on LiteRT.

    python -P -m toolchain.benchmarks.operator_profile FILE.tflite

Every operator becomes a file of its own, with its constants, whose inputs are random; equal ones are measured
once. What runtimes save by keeping tensors between operators is not seen, so the sum is more than the time
of the whole file; it says which operators are slow, not how slow the file is.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from toolchain.benchmarks.latency import random_input
from toolchain.benchmarks.report import as_text, run_benchmark
from toolchain.errors import UnsupportedError, UsageError

ROUNDS = 15
LEAST_SECONDS = 0.002
IDENTIFIER = b"TFL3"
NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}


def profile(path: Path, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Operators of the first subgraph, slowest first.

    Returns:
        For each kind (operator, types and shapes): `op`, `types`, `shapes` (of its first input and output),
        `count`, `microseconds` (smallest of `rounds`, of one), and `share` of the sum over the file.

    Raises:
        UsageError: the file is not there, or `rounds` is below 1.
        UnsupportedError: an operator cannot be run alone.
    """
    if rounds < 1:
        raise UsageError(f"rounds must be at least 1, not {rounds}")
    if not path.is_file():
        raise UsageError(f"no file at '{path}'", "give the path of a .tflite file")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    found: dict[Any, dict[str, Any]] = {}
    for operator in graph.operators:
        row = _row(model, graph, operator)
        key = (row["op"], row["types"], str(row["shapes"]), _options(operator))
        if key not in found:
            found[key] = {
                **row,
                "count": 0,
                "microseconds": _time(_alone(model, graph, operator), rounds, row),
            }
        found[key]["count"] += 1
    total = sum(row["microseconds"] * row["count"] for row in found.values())
    rows = sorted(found.values(), key=lambda row: -row["microseconds"] * row["count"])
    return [{**row, "share": round(row["microseconds"] * row["count"] / total, 4)} for row in rows]


def _row(model: Any, graph: Any, operator: Any) -> dict[str, Any]:
    code = model.operatorCodes[operator.opcodeIndex]
    ends = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return {
        "op": NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)],
        "types": f"{TYPES[ends[0].type]} -> {TYPES[ends[-1].type]}",
        "shapes": [[int(size) for size in tensor.shape] for tensor in ends],
    }


def _options(operator: Any) -> str:
    options = operator.builtinOptions
    return str(sorted((name, str(value)) for name, value in vars(options).items())) if options else ""


def _alone(model: Any, graph: Any, operator: Any) -> bytes:
    """A file with this operator only."""
    single = schema.ModelT()
    single.version, single.operatorCodes = model.version, [model.operatorCodes[operator.opcodeIndex]]
    used = sorted({int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0})
    place = {index: number for number, index in enumerate(used)}
    single.buffers = [schema.BufferT()]
    part = schema.SubGraphT()
    part.tensors = []
    part.inputs = []
    for index in used:
        tensor = copy.copy(graph.tensors[index])
        constant = _has_data(model, tensor)
        if constant:
            single.buffers.append(model.buffers[tensor.buffer])
        elif index in operator.inputs:
            part.inputs.append(place[index])
        tensor.buffer = len(single.buffers) - 1 if constant else 0
        part.tensors.append(tensor)
    part.outputs = [place[int(index)] for index in operator.outputs]
    alone = copy.copy(operator)
    alone.opcodeIndex = 0
    alone.inputs = [place[int(index)] if index >= 0 else -1 for index in operator.inputs]
    alone.outputs = part.outputs
    part.operators = [alone]
    single.subgraphs = [part]
    builder = flatbuffers.Builder(1024)
    builder.Finish(single.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _has_data(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _time(content: bytes, rounds: int, row: dict[str, Any]) -> float:
    """Smallest time of one run, in microseconds."""
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
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
