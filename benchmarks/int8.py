"""Our int8 file of a face parser beside those of another quantizer: accuracy, latency and size.

    python -P -m toolchain.benchmarks.int8 NAME --float OURS-FP32.tflite --ours OURS-INT8.tflite
        --peer-float PEER-FP32.tflite --peer PEER-INT8.tflite --graph OURS-INT8.onnx --data FACES.zip

All files have the same weights, and all int8 files were calibrated on the same pictures
(`toolchain.benchmarks.int8_samples`). Our float file, on LiteRT, says what the network computes. Every file
is loaded from disk and runs on the same validation pictures. `--peer` may name several files, made with
other settings of the same quantizer: a gain that only one setting shows says little about quantizers, so
`least_gain_db` is the smallest over all of them and over pictures with and without a previous mask.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.int8_samples import (
    MEASURED_SPLIT,
    FaceSample,
    contract_of,
    face_samples,
    first_output,
    for_file,
)
from toolchain.benchmarks.int8_scores import Score, StepScore, output_step, run_on_floats
from toolchain.benchmarks.latency import ROUNDS, WARMUP_SECONDS
from toolchain.benchmarks.latency_processes import PROCESSES, measure_processes
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import UsageError
from toolchain.runtimes import load
from toolchain.runtimes.base import Runtime
from toolchain.spec import ModelSpec

COUNT = 400
GRAPH_COUNT = 50
# Two conversions of the same weights agree far better than this.
SAME_WEIGHTS_DB = 60.0
OURS, PEER_FLOAT = "ours", "peer_float"
EVERY = "all"


@dataclass(frozen=True)
class Files:
    """The files that are compared.

    Attributes:
        own_float: our float .tflite file, whose answers count as the network's.
        ours: our int8 .tflite file.
        peers: the other quantizer's int8 files by a name for their settings.
        peer_float: the float file that they were made from.
        graph: the ONNX graph with QuantizeLinear/DequantizeLinear pairs that ours was made from; None to
            leave that comparison out.
    """

    own_float: Path
    ours: Path
    peers: dict[str, Path]
    peer_float: Path
    graph: Path | None = None

    @property
    def compared(self) -> dict[str, Path]:
        """The files that are scored against the network."""
        return {OURS: self.ours, **self.peers, PEER_FLOAT: self.peer_float}


def accuracy(
    files: Files, spec: ModelSpec, data: Path, count: int = COUNT, graph_count: int = GRAPH_COUNT
) -> dict[str, Any]:
    """Scores of all files on validation pictures.

    Args:
        files: the files.
        spec: contract of the network.
        data: zip of CelebAMask-HQ.
        count: pictures.
        graph_count: pictures on which ours is compared with its graph, run without optimizations.

    Returns:
        `float` (figures of `Score.as_json`); `scores`, the same for each file over all pictures and over
        those without and with a previous mask; `gain_db`, for each peer and kind of picture the SQNR of ours
        minus the peer's; `least_gain_db`; and `against_graph` (figures of `StepScore.as_json`).

    Raises:
        UsageError: the files are not of one network and size, or the peer's float file has other weights.
        UnsupportedError: a file that cannot be run.
    """
    preprocess = contract_of(spec)
    with ExitStack() as stack:
        network = stack.enter_context(load(files.own_float, threads=1))
        runtimes = {key: stack.enter_context(load(path, threads=1)) for key, path in files.compared.items()}
        graph = files.graph and stack.enter_context(load(files.graph, threads=1, delegate=False))
        step = output_step(files.graph) if files.graph else 1.0
        tallies = _Tallies(list(runtimes), network.outputs[0].shape[-1], step)
        for index, sample in enumerate(face_samples(data, MEASURED_SPLIT, count, preprocess, network)):
            truth = first_output(network.run(sample.arrays))
            found = {
                key: run_on_floats(runtime, for_file(sample.arrays, runtime))
                for key, runtime in runtimes.items()
            }
            tallies.add(sample, truth, found)
            if graph and index < graph_count:
                tallies.against_graph.add(found[OURS], _run_graph(graph, sample))
    return tallies.as_json(files)


class _Tallies:
    """Scores of every file over all pictures and by kind of picture."""

    def __init__(self, names: Sequence[str], classes: int, step: float) -> None:
        self.names = names
        self.classes = classes
        self.own = Score(classes)
        self.kinds: dict[str, dict[str, Score]] = {}
        self.against_graph = StepScore(step)

    def add(self, sample: FaceSample, truth: np.ndarray, found: Mapping[str, np.ndarray]) -> None:
        self.own.add(truth, truth, sample.annotation)
        for kind in (EVERY, "with_mask" if sample.masked else "without_mask"):
            scores = self.kinds.setdefault(kind, {name: Score(self.classes) for name in self.names})
            for name, array in found.items():
                scores[name].add(array, truth, sample.annotation)

    def as_json(self, files: Files) -> dict[str, Any]:
        same = self.kinds[EVERY][PEER_FLOAT].sqnr_db
        if same is not None and same < SAME_WEIGHTS_DB:
            raise UsageError(
                f"'{files.peer_float}' and '{files.own_float}' differ: {same:.1f} dB",
                "convert both from the same weights",
            )
        gains = {
            peer: {kind: _gain(scores[OURS], scores[peer]) for kind, scores in self.kinds.items()}
            for peer in files.peers
        }
        known = [gain for kinds in gains.values() for gain in kinds.values() if gain is not None]
        return {
            "float": self.own.as_json(),
            "scores": {
                name: {kind: scores[name].as_json() for kind, scores in self.kinds.items()}
                for name in self.names
            },
            "gain_db": gains,
            "least_gain_db": min(known, default=None),
            "against_graph": self.against_graph.as_json() if self.against_graph.values else None,
        }


def _gain(ours: Score, peer: Score) -> float | None:
    one, other = ours.sqnr_db, peer.sqnr_db
    return None if one is None or other is None else round(one - other, 3)


def _run_graph(graph: Runtime, sample: FaceSample) -> np.ndarray:
    """What the channel-first graph makes of a sample, channel-last."""
    planes = {name: np.moveaxis(array, -1, 1) for name, array in sample.arrays.items()}
    return np.moveaxis(first_output(graph.run(planes)), 1, -1)


def sizes(files: Files) -> dict[str, Any]:
    """Bytes of all files, int8 / float of both sides, and ours / first peer."""
    peer = next(iter(files.peers.values())).stat().st_size
    own_float, ours, peer_float = (
        path.stat().st_size for path in (files.own_float, files.ours, files.peer_float)
    )
    return {
        "float": own_float,
        OURS: ours,
        "peer": peer,
        PEER_FLOAT: peer_float,
        "ours_to_float": round(ours / own_float, 4),
        "peer_to_its_float": round(peer / peer_float, 4),
        "ours_to_peer": round(ours / peer, 4),
    }


def latencies(files: Files, processes: int, rounds: int, warmup_seconds: float) -> dict[str, Any]:
    """Our int8 file against the float one, the first peer and its float file, interleaved, one thread.

    Returns:
        `against` -> for each other file `wall` and `cpu` (see `ratio_over_processes`) and the ratio of the
        smallest times, `minimum`, which other work on the computer disturbs least; and `files`, their
        milliseconds.
    """
    first = dict(list(files.peers.items())[:1])
    named = {OURS: files.ours, "float": files.own_float, **first, PEER_FLOAT: files.peer_float}
    report = measure_processes(list(named.values()), processes, rounds=rounds, warmup_seconds=warmup_seconds)
    entries = dict(zip(named, report["files"], strict=True))
    ratios = dict(zip(list(named)[1:], report["ratios"], strict=True))
    smallest = {key: entry["wall"]["minimum"] for key, entry in entries.items()}
    return {
        "processes": processes,
        "rounds": rounds,
        "files": {key: {"wall": entry["wall"], "cpu": entry["cpu"]} for key, entry in entries.items()},
        "against": {
            key: {
                "wall": ratio["wall"],
                "cpu": ratio["cpu"],
                "minimum": round(smallest[OURS] / smallest[key], 4),
            }
            for key, ratio in ratios.items()
        },
    }


def _benchmark(arguments: Sequence[str] | None) -> str:
    from toolchain.models import zoo

    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.int8",
        description="Accuracy, latency and size of our int8 file beside another quantizer's, as JSON.",
    )
    parser.add_argument("name", help="a face parser of the zoo")
    parser.add_argument("--float", type=Path, required=True, help="our float .tflite file", dest="own_float")
    parser.add_argument("--ours", type=Path, required=True, help="our int8 .tflite file")
    parser.add_argument(
        "--peer", type=Path, required=True, action="append", help="another int8 .tflite file; repeatable"
    )
    parser.add_argument("--peer-float", type=Path, required=True, help="the float file it was made from")
    parser.add_argument("--graph", type=Path, help="the quantized .onnx that ours was made from")
    parser.add_argument("--data", type=Path, required=True, help="zip of CelebAMask-HQ")
    parser.add_argument("--count", type=int, default=COUNT, help="validation pictures")
    parser.add_argument("--graph-count", type=int, default=GRAPH_COUNT, help="pictures for the .onnx")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="fresh processes for the latency")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples per file and process")
    parser.add_argument("--warmup", type=float, default=WARMUP_SECONDS, help="longest warm-up, in seconds")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    options = parser.parse_args(arguments)
    peers = {path.stem: path for path in options.peer}
    if len(peers) < len(options.peer) or not peers.keys().isdisjoint((OURS, PEER_FLOAT, "float")):
        raise UsageError(f"the peers' names {[path.stem for path in options.peer]} clash", "rename the files")
    files = Files(options.own_float, options.ours, peers, options.peer_float, options.graph)
    spec = zoo().get(options.name).spec
    before = environment()
    report = {
        "name": options.name,
        "accuracy": accuracy(files, spec, options.data, options.count, options.graph_count),
        "bytes": sizes(files),
        "latency": latencies(files, options.processes, options.rounds, options.warmup),
        "environment": before,
    }
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
