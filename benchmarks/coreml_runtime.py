"""Speed of the Core ML reference runtime against the network in torch eager mode.

    python -P -m toolchain.benchmarks.coreml_runtime mobile-hourglass-video-f32-t6 --output F.json

Both run interleaved in this process on the same inputs and threads, so that the ratio of paired rounds does
not depend on what else the computer does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.benchmarks.statistics import summarize

if TYPE_CHECKING:
    from toolchain.models.zoo import ModelEntry

NAME = "mobile-hourglass-video-f32-t6"
PRECISIONS = ("fp32", "fp16")
ROUNDS = 15
WARM_UP = 2
SEED = 0
MILLI = 1e3

Run = Callable[[], object]


def measure(name: str = NAME, rounds: int = ROUNDS, threads: int = 1) -> dict[str, Any]:
    """Median milliseconds of torch and of the saved packages, and their ratios to torch.

    Args:
        name: zoo name.
        rounds: runs of each, interleaved.
        threads: torch's threads, for both.

    Returns:
        A dict that JSON can express; `samples` holds every run in milliseconds.

    Raises:
        UsageError: unknown name.
    """
    import torch

    from toolchain.models import zoo

    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    entry = zoo().get(name)
    with tempfile.TemporaryDirectory() as folder:
        runs = {"torch": _eager(entry), **_packages(entry, Path(folder))}
        samples = _interleaved(runs, rounds)
    base = np.array(samples["torch"])
    return {
        "name": name,
        "threads": threads,
        "milliseconds": {key: round(summarize(values).median, 3) for key, values in samples.items()},
        "ratio_to_torch": {
            key: round(float(np.median(np.array(values) / base)), 3)
            for key, values in samples.items()
            if key != "torch"
        },
        "samples": {key: [round(value, 3) for value in values] for key, values in samples.items()},
        "environment": environment(),
    }


def _network(entry: ModelEntry) -> Any:
    import torch

    from toolchain.models.weights_file import load_weights

    network = entry.build().eval()
    if entry.weights is not None:
        load_weights(network, entry.weights)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _eager(entry: ModelEntry) -> Run:
    import torch

    network = _network(entry)
    inputs = [
        torch.zeros(tensor.shape).contiguous(memory_format=torch.channels_last)
        for tensor in entry.spec.inputs
    ]

    def run() -> object:
        with torch.inference_mode():
            return network(*inputs)

    return run


def _packages(entry: ModelEntry, folder: Path) -> dict[str, Run]:
    """Saved packages of every precision, loaded from disk."""
    from toolchain.converters.coreml.convert import convert
    from toolchain.converters.graph import clean
    from toolchain.converters.torch_to_onnx import torch_to_onnx
    from toolchain.runtimes import load

    outputs = [tensor.name for tensor in entry.spec.outputs]
    graph = torch_to_onnx(_network(entry), entry.spec.inputs, outputs)
    clean(graph)
    made: dict[str, Run] = {}
    for precision in PRECISIONS:
        path = folder / f"{precision}.mlpackage"
        convert(graph.clone(), precision, spec=entry.spec).model.save(str(path))
        runtime = load(path)
        feeds = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in runtime.inputs}
        made[precision] = partial(runtime.run, feeds)
    return made


def _interleaved(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(rounds + WARM_UP):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if index >= WARM_UP:
                samples[name].append((time.perf_counter() - start) * MILLI)
    return samples


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.coreml_runtime",
        description="Speed of the Core ML reference runtime against torch eager, as JSON.",
    )
    parser.add_argument("name", nargs="?", default=NAME, help="a network of the zoo")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    options = parser.parse_args(arguments)
    report = measure(options.name, options.rounds, options.threads)
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
