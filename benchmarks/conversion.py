"""Time and memory of ONNX graph -> bytes of a .tflite file, or saved .mlpackage.

    python -P -m toolchain.benchmarks.conversion mobile-hourglass --output benchmarks/results/conversion.json
    python -P -m toolchain.benchmarks.conversion mobile-hourglass --format coreml

The network goes to ONNX once. Then each repetition is a fresh process that loads the ONNX file and converts
it, because a first conversion and its memory are what a user meets; the same conversion is also repeated
within one process, where everything is imported and warm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.memory import peak_megabytes, resident_megabytes
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.benchmarks.statistics import summarize
from toolchain.errors import ToolchainError, UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

NAME = "mobile-hourglass-video-f32-t6"
PRECISIONS = {"tflite": "fp32", "coreml": "fp16"}
REPEATS = 5
SEED = 0
MEGA = 1e6


@dataclass(frozen=True)
class Conversion:
    """One conversion in this process.

    Attributes:
        import_seconds: importing the converter, which is not part of the time.
        clean_seconds: the passes over the graph.
        convert_seconds: lowering, layout and serialization; for a package also saving it.
        cpu_seconds: processor time of both, which other work on the computer disturbs less.
        baseline_megabytes: memory of the process with the graph loaded, before; None where unknown.
        peak_megabytes: largest memory of the process until the bytes were there.
        bytes: length of the file.
    """

    import_seconds: float
    clean_seconds: float
    convert_seconds: float
    cpu_seconds: float
    baseline_megabytes: float | None
    peak_megabytes: float
    bytes: int

    @property
    def seconds(self) -> float:
        """Graph to bytes."""
        return self.clean_seconds + self.convert_seconds


def convert_file(onnx_path: Path | str, precision: str | None = None, format_: str = "tflite") -> Conversion:
    """Load an ONNX file and convert it; loading is not part of the time.

    Raises:
        UnsupportedError: the graph cannot be converted.
    """
    import onnx_ir as ir

    from toolchain.converters.graph import clean

    started = time.perf_counter()
    convert = _converter(format_, precision or PRECISIONS[format_])
    imported = time.perf_counter() - started
    model = ir.load(onnx_path)
    baseline = resident_megabytes()
    start, used = time.perf_counter(), time.process_time()
    clean(model)
    cleaned = time.perf_counter()
    size = convert(model)
    done, used = time.perf_counter(), time.process_time() - used
    return Conversion(imported, cleaned - start, done - cleaned, used, baseline, peak_megabytes(), size)


def _converter(format_: str, precision: str) -> Callable[[ir.Model], int]:
    """A function from a cleaned graph to the size of the file, its imports done."""
    if format_ == "coreml":
        return _coreml_converter(precision)
    from toolchain.converters.tflite import convert

    return lambda graph: len(convert(graph, precision=precision).data)


def _coreml_converter(precision: str) -> Callable[[ir.Model], int]:
    from toolchain.converters.coreml.convert import convert
    from toolchain.converters.coreml.lowering import handlers

    handlers()

    def save(graph: ir.Model) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.mlpackage"
            convert(graph, precision).model.save(str(path))
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    return save


def measure(
    name: str = NAME, precision: str | None = None, repeats: int = REPEATS, format_: str = "tflite"
) -> dict[str, Any]:
    """Measure the conversion of a network of the zoo.

    Args:
        name: zoo name.
        precision: precision of the file; None for the default of the format.
        repeats: fresh processes, and conversions within this one.
        format_: "tflite" or "coreml".

    Returns:
        A dict that JSON can express. `seconds` (median and all) are those of fresh processes,
        `peak_megabytes` and `baseline_megabytes` the largest of them; `warm_seconds` are those within
        this process, `import_seconds` those of importing the converter; `export_seconds` is the way from
        torch to ONNX, once. Megabytes are 10^6 bytes.

    Raises:
        UsageError: unknown name or a number out of range.
        UnsupportedError: the network cannot be converted.
    """
    if format_ not in PRECISIONS:
        raise UsageError(f"unknown format '{format_}'", f"use {' or '.join(PRECISIONS)}")
    if repeats < 1:
        raise UsageError(f"repeats must be at least 1, not {repeats}")
    before = environment()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        start = time.perf_counter()
        _export_onnx(name, path)
        exported = time.perf_counter() - start
        fresh = [_in_fresh_process(path, precision, format_) for _ in range(repeats)]
        warm = [convert_file(path, precision, format_) for _ in range(repeats)]
        onnx_bytes = path.stat().st_size
    baselines = [run.baseline_megabytes for run in fresh if run.baseline_megabytes is not None]
    return {
        "name": name,
        "format": format_,
        "precision": precision or PRECISIONS[format_],
        "import_seconds": _times(run.import_seconds for run in fresh),
        "seconds": _times(run.seconds for run in fresh),
        "clean_seconds": _times(run.clean_seconds for run in fresh),
        "convert_seconds": _times(run.convert_seconds for run in fresh),
        "cpu_seconds": _times(run.cpu_seconds for run in fresh),
        "warm_seconds": _times(run.seconds for run in warm),
        "export_seconds": round(exported, 4),
        "baseline_megabytes": round(max(baselines), 1) if baselines else None,
        "peak_megabytes": round(max(run.peak_megabytes for run in fresh), 1),
        "model_megabytes": round(fresh[0].bytes / MEGA, 3),
        "onnx_megabytes": round(onnx_bytes / MEGA, 3),
        "environment": before,
    }


def _export_onnx(name: str, path: Path) -> None:
    """Write a network of the zoo as ONNX, with its shipped weights or else seeded ones."""
    import onnx_ir as ir
    import torch

    from toolchain.converters.torch_to_onnx import torch_to_onnx
    from toolchain.models import zoo
    from toolchain.models.weights_file import load_weights

    entry = zoo().get(name)
    torch.manual_seed(SEED)
    network = entry.build().eval()
    if entry.weights is not None:
        load_weights(network, entry.weights)
    ir.save(torch_to_onnx(network, entry.spec.inputs, [tensor.name for tensor in entry.spec.outputs]), path)


def _in_fresh_process(path: Path, precision: str | None, format_: str) -> Conversion:
    command = [sys.executable, "-P", "-m", "toolchain.benchmarks.conversion", "--once", os.fspath(path)]
    command += ["--format", format_, *(("--precision", precision) if precision else ())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        known = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise ToolchainError(
            f"conversion in a fresh process failed: {(known or lines)[-1]}",
            "`toolchain export` of this network shows the whole message",
            exit_code=done.returncode if known else None,
        )
    return Conversion(**json.loads(done.stdout))


def _times(seconds: Any) -> dict[str, Any]:
    values = list(seconds)
    return {"median": round(summarize(values).median, 4), "all": [round(value, 4) for value in values]}


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.conversion",
        description="Time and memory of ONNX graph -> file, as JSON.",
    )
    parser.add_argument("name", nargs="?", default=NAME, help="a network of the zoo")
    parser.add_argument("--format", choices=list(PRECISIONS), default="tflite", help="format of the file")
    parser.add_argument("--precision", help="precision of the file; default: that of the format")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="conversions")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    parser.add_argument(
        "--once", action="store_true", help="NAME is an .onnx file: convert it in this process"
    )
    options = parser.parse_args(arguments)
    if options.once:
        return as_text(asdict(convert_file(options.name, options.precision, options.format)))
    report = measure(options.name, options.precision, options.repeats, options.format)
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
