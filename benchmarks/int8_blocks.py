"""Latency of int8 files against float files for blocks whose integer kernels are often slow.

    python -P -m toolchain.benchmarks.int8_blocks --output blocks.json

Each network of `toolchain.benchmarks.int8_networks` is written as a float file, as an int8 file in which
operators stay float that must or that are faster so (`toolchain.float_islands`), and, where that is another
file, as one of integers only. Ranges are those of random
inputs. All are measured interleaved in fresh processes, one thread.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.int8_networks import NETWORKS, network
from toolchain.benchmarks.latency import ROUNDS, WARMUP_SECONDS
from toolchain.benchmarks.latency_processes import PROCESSES, measure_processes
from toolchain.benchmarks.operator_profile import profile
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import UnsupportedOpsError, UsageError
from toolchain.spec import TensorSpec

if TYPE_CHECKING:
    from toolchain.converters.tflite import TFLiteModel
    from toolchain.float_islands import Mixture

SAMPLES = 4
SEED = 0
SHOWN = 6
INPUT, OUTPUT = "x", "y"


@dataclass(frozen=True)
class Written:
    """The files of one network.

    Attributes:
        single: the float file.
        auto: the int8 file with the islands of floats that were chosen by measurement.
        strict: the file of integers only; None where it is refused or the same as `auto`.
        contents: what `auto` is made of, in `refused` why there is no file of integers only, and in `islands`
            what was measured for `auto`.
    """

    single: Path
    auto: Path
    strict: Path | None
    contents: dict[str, Any]


def write_files(name: str, folder: Path) -> Written:
    """Write the .tflite files of a network."""
    from toolchain.converters.graph import clean
    from toolchain.converters.quantize.calibrate import calibrate
    from toolchain.converters.quantize.integer_forms import write_integer_forms
    from toolchain.converters.quantize.place import place_pairs, stored_values
    from toolchain.converters.tflite import convert
    from toolchain.converters.torch_to_onnx import torch_to_onnx
    from toolchain.float_islands import choose_islands

    module, shape = network(name)
    graph = torch_to_onnx(module, [TensorSpec(INPUT, shape)], [OUTPUT])
    clean(graph)
    single, auto, strict = (folder / f"{name}-{kind}.tflite" for kind in ("fp32", "auto", "strict"))
    plain = graph.clone()
    single.write_bytes(convert(plain.clone(), "fp32").data)
    write_integer_forms(graph)
    random = np.random.default_rng(SEED)
    samples = [{INPUT: random.standard_normal(shape).astype(np.float32)} for _ in range(SAMPLES)]
    place_pairs(graph, calibrate(graph, samples, names=stored_values(graph), threads=1).ranges)
    mixture = choose_islands(graph, plain)
    accepted, kept = mixture.accepted, mixture.kept_float
    made = convert(graph.clone(), "int8", allow_float=accepted, kept_float=kept)
    auto.write_bytes(made.data)
    refused: list[str] = []
    try:
        strict.write_bytes(convert(graph, "int8").data)
    except UnsupportedOpsError as error:
        refused = [f"{op} ({count}): {reason}" for op, count, _node, reason, _hint in error.rows()]
    other = strict.is_file() and strict.read_bytes() != made.data
    return Written(single, auto, strict if other else None, _contents(made, mixture, refused))


def _contents(made: TFLiteModel, mixture: Mixture, refused: list[str]) -> dict[str, Any]:
    assert made.report is not None
    return {
        "refused": refused,
        "integer": made.report.integer,
        "conversions": made.report.conversions,
        "floats": sorted({operator.op for operator in made.report.floats}),
        "islands": [
            {**asdict(island), "nodes": len(island.nodes), "chosen": mixture.taken and island.faster}
            for island in mixture.islands
        ],
    }


def measure(
    names: Sequence[str] = NETWORKS,
    processes: int = PROCESSES,
    rounds: int = ROUNDS,
    warmup_seconds: float = WARMUP_SECONDS,
) -> dict[str, Any]:
    """Measure the networks.

    Returns:
        A dict that JSON can express: `networks` (per name `wall` and `cpu` ratio int8 / float, `minimum`, the
        ratio of the smallest times, `strict_minimum`, the same for integers only where that is another file,
        what the int8 file is made of, and the `slowest` operators of both files), and `geometric_mean` and
        `largest` of the ratios of the processor times.

    Raises:
        UsageError: an unknown name, or a number out of range.
    """
    unknown = [name for name in names if name not in NETWORKS]
    if unknown or not names:
        raise UsageError(
            f"unknown network '{unknown[0] if unknown else ''}'", f"one of {', '.join(NETWORKS)}"
        )
    before = environment()
    with tempfile.TemporaryDirectory() as folder:
        found = {name: _measured(name, Path(folder), processes, rounds, warmup_seconds) for name in names}
    ratios = [entry["cpu"]["mean"] for entry in found.values()]
    return {
        "networks": found,
        "geometric_mean": round(math.exp(float(np.mean(np.log(ratios)))), 4),
        "largest": round(max(ratios), 4),
        "environment": before,
    }


def _measured(name: str, folder: Path, processes: int, rounds: int, warmup: float) -> dict[str, Any]:
    written = write_files(name, folder)
    paths = [path for path in (written.auto, written.single, written.strict) if path is not None]
    report = measure_processes(paths, processes, rounds=rounds, warmup_seconds=warmup)
    smallest = [entry["cpu"]["minimum"] for entry in report["files"]]
    ratio = report["ratios"][0]
    return {
        "int8_ms": smallest[0],
        "float_ms": smallest[1],
        "minimum": round(smallest[0] / smallest[1], 4),
        "strict_minimum": round(smallest[2] / smallest[1], 4) if written.strict else None,
        "wall": ratio["wall"],
        "cpu": ratio["cpu"],
        **written.contents,
        "slowest": {"int8": profile(written.auto)[:SHOWN], "float": profile(written.single)[:SHOWN]},
    }


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.int8_blocks",
        description="Latency of int8 against float files for blocks that are often slow, as JSON.",
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NETWORKS)}; default: all")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="fresh processes")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples per file and process")
    parser.add_argument("--warmup", type=float, default=WARMUP_SECONDS, help="longest warm-up, in seconds")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    options = parser.parse_args(arguments)
    report = measure(options.names or NETWORKS, options.processes, options.rounds, options.warmup)
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
