"""Which operators of a model file take the time.

ONNX Runtime's own profiler times every node inside the whole network. The Python package of LiteRT has no
profiler, so each operator of a .tflite file is run alone (`toolchain.benchmarks.operator_profile`).
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.files import suffix_of
from toolchain.benchmarks.harness.inputs import Shapes, random_inputs
from toolchain.errors import UnsupportedError
from toolchain.runtimes import load
from toolchain.runtimes.base import one_line
from toolchain.runtimes.onnx_runtime import session_options

RUNS = 20
WARMUP_RUNS = 3
ALONE = (
    "LiteRT: every operator run alone, least of {rounds} rounds; what XNNPACK fuses or keeps between"
    " operators is not seen, so the sum is not the time of the whole file"
)
INSIDE = (
    "ONNX Runtime: its own profiler inside the whole network after its graph optimizations, median of {runs}"
    " runs in a session of its own"
)
LITERT_ROUNDS = 15
KERNEL = "_kernel_time"


@dataclass(frozen=True)
class Profile:
    """Operators of one file.

    Attributes:
        operators: slowest first: `name`, `op`, `ms` of one run of the network, `share` (0-1) of the sum;
            operators of the same kind in a .tflite file are measured once and have equal times.
        note: how the times were obtained.
    """

    operators: list[dict[str, Any]]
    note: str


def profile(path: Path, threads: int = 1, seed: int = 0, shapes: Shapes = None) -> Profile:
    """Times of the operators of a .tflite or .onnx file.

    Args:
        path: the file.
        threads: of one operator.
        seed: of the random inputs.
        shapes: as for `random_inputs`; for .onnx files.

    Raises:
        UsageError: there is no such file, or `shapes` does not fit.
        UnsupportedError: another kind of file, or one that cannot be profiled.
    """
    suffix = suffix_of(path)
    if suffix == ".tflite":
        return _litert(path, threads)
    if suffix == ".onnx":
        return _onnx_runtime(path, threads, seed, shapes)
    raise UnsupportedError(
        f"the runtime of '{path}' has no profiler of operators", "profile the .tflite or .onnx file"
    )


def _litert(path: Path, threads: int) -> Profile:
    from toolchain.benchmarks.operator_profile import profile as profile_alone

    rows = [
        {"name": name, "op": kind["op"], "ms": kind["microseconds"] / 1000}
        for kind in profile_alone(path, LITERT_ROUNDS, threads)
        for name in kind["names"]
    ]
    return Profile(_shared(rows), ALONE.format(rounds=LITERT_ROUNDS))


def _onnx_runtime(path: Path, threads: int, seed: int, shapes: Shapes) -> Profile:
    with load(path, threads) as runtime:
        inputs = random_inputs(runtime.inputs, seed, f"'{path}'", shapes)
    with tempfile.TemporaryDirectory() as folder:
        events = json.loads(_recorded(path, threads, inputs, Path(folder)).read_text(encoding="utf-8"))
    return Profile(_shared(_nodes(events)), INSIDE.format(runs=RUNS))


def _recorded(path: Path, threads: int, inputs: dict[str, np.ndarray], folder: Path) -> Path:
    """ONNX Runtime's record of some runs, a list of events in Chrome's trace format."""
    import onnxruntime

    options = session_options(threads)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(WARMUP_RUNS + RUNS):
            session.run(None, inputs)
        return Path(session.end_profiling())
    except Exception as error:
        # ONNX Runtime's exceptions have no common base class below Exception.
        raise UnsupportedError(f"ONNX Runtime cannot profile '{path}': {one_line(error)}") from error


def _nodes(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median time of each node over the runs after the warm-up."""
    runs = sorted(
        (event["ts"], event["ts"] + event["dur"]) for event in events if event.get("name") == "model_run"
    )[WARMUP_RUNS:]
    begins = [begin for begin, _ in runs]
    spent: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(len(runs)))
    for event in events:
        name = event.get("name", "")
        if event.get("cat") != "Node" or not name.endswith(KERNEL) or event["ts"] < begins[0]:
            continue
        run = int(np.searchsorted(begins, event["ts"], side="right")) - 1
        spent[name.removesuffix(KERNEL), event["args"]["op_name"]][run] += event["dur"]
    return [
        {"name": name, "op": op, "ms": float(np.median(times)) / 1000} for (name, op), times in spent.items()
    ]


def _shared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    total = sum(row["ms"] for row in rows) or 1.0
    return [
        {**row, "ms": round(row["ms"], 6), "share": round(row["ms"] / total, 6)}
        for row in sorted(rows, key=lambda row: -row["ms"])
    ]
