"""Size and speed of face parsers as fp32 .tflite files: parameters, multiply-adds, latency on LiteRT."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toolchain.benchmarks.latency import ROUNDS, WARMUP_SECONDS
from toolchain.benchmarks.latency_processes import CLOCKS, PROCESSES, measure_processes
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo

THREADS = 1
SEED = 0


@dataclass(frozen=True)
class LatencySettings:
    """How long is measured.

    Attributes:
        processes: fresh processes.
        rounds: samples per file and process.
        warmup_seconds: longest warm-up per file and process.
    """

    processes: int = PROCESSES
    rounds: int = ROUNDS
    warmup_seconds: float = WARMUP_SECONDS


LATENCY = LatencySettings()


def write_float_file(name: str, weights: Path | None, path: Path) -> dict[str, int]:
    """Convert a network of the zoo to an fp32 .tflite file with channel-last borders.

    Args:
        name: of the network.
        weights: its trained weights; None for seeded random ones.
        path: the file.

    Returns:
        `parameters` of the network, `multiply_adds` of convolutions and matrix products for one run of the
        file, at the input size of the contract, and `bytes` of the file.

    Raises:
        UnsupportedError: the weights do not fit, or the network cannot be converted.
    """
    from toolchain.converters.graph import clean
    from toolchain.converters.tflite import convert
    from toolchain.converters.tflite.reader import read_tflite
    from toolchain.converters.torch_to_onnx import torch_to_onnx

    entry = zoo().get(name)
    torch.manual_seed(SEED)
    network = entry.build().eval()
    if weights is not None:
        load_weights(network, weights)
    graph = torch_to_onnx(network, entry.spec.inputs, [tensor.name for tensor in entry.spec.outputs])
    clean(graph)
    content = convert(graph, precision="fp32").data
    path.write_bytes(content)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": read_tflite(content, path.name).macs(),
        "bytes": len(content),
    }


def measure_files(
    networks: dict[str, Path | None], reference: str, settings: LatencySettings
) -> dict[str, dict[str, Any]]:
    """Convert networks and measure all of them, interleaved, in the same processes.

    Args:
        networks: trained weights by name; None for random ones.
        reference: name of the network that the latencies are divided by, measured in any case.
        settings: how long is measured.

    Returns:
        Per name, the reference included: the figures of `write_float_file`, and `latency`: `wall` and `cpu`
        order statistics in ms, `ratio` -> `wall` and `cpu` over the reference, as of
        `statistics.ratio_over_processes`, and `steady`.
    """
    # The first file is what `measure_processes` makes ratios of.
    ordered = {reference: networks.get(reference), **networks}
    with tempfile.TemporaryDirectory() as place:
        paths = {name: Path(place) / f"{name}-fp32.tflite" for name in ordered}
        found: dict[str, dict[str, Any]] = {
            name: dict(write_float_file(name, weights, paths[name])) for name, weights in ordered.items()
        }
        report = measure_processes(
            list(paths.values()),
            settings.processes,
            THREADS,
            settings.rounds,
            settings.warmup_seconds,
        )
    ratios = [None, *report["ratios"]]
    for name, entry, ratio in zip(ordered, report["files"], ratios, strict=True):
        times = {key: entry[key] for key in (*CLOCKS, "steady")}
        found[name]["latency"] = {
            **times,
            "ratio": {clock: _inverse(ratio[clock]) if ratio else None for clock in CLOCKS},
        }
    return found


def _inverse(ratio: dict[str, Any]) -> dict[str, Any]:
    """Reference / network -> network / reference; the mean is geometric, so that nothing else changes."""
    return {
        "mean": 1 / ratio["mean"],
        "low": None if ratio["high"] is None else 1 / ratio["high"],
        "high": None if ratio["low"] is None else 1 / ratio["low"],
        "each": [1 / value for value in ratio["each"]],
    }
