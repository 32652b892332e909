"""Our int8 files of trained networks beside another quantizer's, made and measured by one command.

    python -P -m toolchain.benchmarks.int8_trained --data DATA --folder FOLDER
        --peer-python PEER/bin/python --output benchmarks/results/int8-trained.json

Networks are a classifier that is trained here once (its weights stay in FOLDER), and the zoo's face parsers
that ship with weights. For each: 100 calibration samples in one .npz file that both sides read, float and
int8 files of both sides, ours also with --refine. Each file is then compared on LiteRT with what the float
PyTorch network answers to held-out samples. Beside the JSON file a Markdown table is written. DATA is laid
out as `int8_trained_samples.write_samples` says.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.int8_samples import for_file
from toolchain.benchmarks.int8_scores import run_on_floats
from toolchain.benchmarks.int8_trained_files import (
    ComparedFiles,
    Peer,
    peer_versions,
    write_files,
)
from toolchain.benchmarks.int8_trained_samples import (
    ANSWER,
    CALIBRATION,
    LABELS,
    MEASURED,
    SampleFiles,
    networks,
    write_samples,
)
from toolchain.benchmarks.int8_trained_scores import Gain, OutputScore
from toolchain.benchmarks.int8_trained_table import table
from toolchain.benchmarks.int8_training import LENET, trained_weights
from toolchain.benchmarks.latency import ROUNDS, WARMUP_SECONDS
from toolchain.benchmarks.latency_processes import PROCESSES, measure_processes
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import UsageError
from toolchain.models.zoo import zoo
from toolchain.runtimes import load

OURS, REFINED, PEER, PEER_FLOAT, OWN_FLOAT = "ours", "refined", "peer", "peer_float", "float"
# What ours must have more than the peer's, in dB.
WANTED = {OURS: 1.5, REFINED: 4.0}
# Two conversions of the same weights agree far better than this.
SAME_WEIGHTS_DB = 60.0


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        calibration: training samples that both quantizers see.
        measured: held-out samples.
        processes: fresh processes for the latency.
        rounds: samples per file and process.
        warmup_seconds: longest warm-up per file and process.
    """

    calibration: int = CALIBRATION
    measured: int = MEASURED
    processes: int = PROCESSES
    rounds: int = ROUNDS
    warmup_seconds: float = WARMUP_SECONDS


def compare(
    names: Sequence[str], data: Path, folder: Path, peer: Peer, settings: Settings = Settings()
) -> dict[str, Any]:
    """Make and measure the files of several networks.

    Args:
        names: of `networks()`.
        data: folder of the data sets.
        folder: where weights, samples and files are kept; weights that are there are not trained again.
        peer: the other quantizer.
        settings: how much is measured.

    Returns:
        `networks` -> per name the dict of `compare_one`; `wanted_db` and `reached` (per name and file);
        `environment`.

    Raises:
        UsageError: an unknown network, missing data, or no such environment of the peer.
        ToolchainError: a step failed.
    """
    unknown = [name for name in names if name not in networks()]
    if unknown:
        raise UsageError(
            f"'{unknown[0]}' is no network with trained weights here", f"one of {', '.join(networks())}"
        )
    peer.check()
    before = environment()
    found = {name: compare_one(name, data, folder, peer, settings) for name in names}
    return {
        "networks": found,
        "wanted_db": WANTED,
        "reached": {
            name: {key: entry["gain_db"][PEER][key]["db"] >= least for key, least in WANTED.items()}
            for name, entry in found.items()
        },
        "environment": before,
    }


def compare_one(name: str, data: Path, folder: Path, peer: Peer, settings: Settings) -> dict[str, Any]:
    """Make and measure the files of one network.

    Returns:
        `weights` (where they are from; the record of a training made here), `samples` (digests of the two
        files), `scores` (per file figures of `OutputScore.as_json`), `gain_db` (per setting of the peer and
        file of ours, as of `Gain.as_json`), `bytes`, `latency`, `steps` (command and seconds) and
        `peer_versions`.
    """
    clock = time.perf_counter()
    weights, record = _weights(name, data, folder)
    trained = time.perf_counter()
    place = folder / name
    samples = write_samples(name, weights, data, place, settings.calibration, settings.measured)
    written = time.perf_counter()
    files = write_files(name, weights, samples.calibration, place, peer)
    made = time.perf_counter()
    scores = score_files(files, samples)
    scored = time.perf_counter()
    latency = latencies(files, settings)
    steps = {
        "weights": {"seconds": round(trained - clock, 1)},
        "samples": {"seconds": round(written - trained, 1)},
        **files.steps,
        "scores": {"seconds": round(scored - made, 1)},
        "latency": {"seconds": round(time.perf_counter() - scored, 1)},
    }
    return {
        "weights": record,
        "samples": {**samples.sha256, "calibration_count": settings.calibration},
        "scores": {key: score.as_json() for key, score in scores.items()},
        "gain_db": gains(scores),
        "bytes": sizes(files),
        "latency": latency,
        "steps": steps,
        "peer_versions": peer_versions(files),
    }


def _weights(name: str, data: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    if name == LENET:
        return trained_weights(data, folder / "weights", partial(print, file=sys.stderr))
    weights = zoo().get(name).weights
    assert weights is not None
    return weights, {"name": name, "data": "shipped with the zoo, see its card"}


def named_files(files: ComparedFiles) -> dict[str, Path]:
    """The files that are scored, by the names used in the report; the peer's default is "peer"."""
    default, *others = files.peers
    return {
        OWN_FLOAT: files.own_float,
        OURS: files.ours,
        REFINED: files.refined,
        PEER_FLOAT: files.peer_float,
        PEER: files.peers[default],
        **{f"{PEER}-{ranges}": files.peers[ranges] for ranges in others},
    }


def score_files(files: ComparedFiles, samples: SampleFiles) -> dict[str, OutputScore]:
    """Scores of all files by name against the float PyTorch network's answers.

    Raises:
        UsageError: a float file has other weights than the network.
    """
    with np.load(samples.measured) as loaded:
        arrays = {name: _channel_last(loaded[name]) for name in loaded.files if name != LABELS}
        labels = loaded[LABELS]
    answers = arrays.pop(ANSWER)
    scores = {}
    for name, path in named_files(files).items():
        score = scores[name] = OutputScore()
        with load(path, threads=1) as runtime:
            for index in range(len(answers)):
                sample = {key: array[index : index + 1] for key, array in arrays.items()}
                found = run_on_floats(runtime, for_file(sample, runtime))
                score.add(found, answers[index : index + 1], labels[index : index + 1])
        if name in (OWN_FLOAT, PEER_FLOAT) and score.sqnr_db < SAME_WEIGHTS_DB:
            raise UsageError(f"'{path}' has other weights: {score.sqnr_db:.1f} dB", "remove the folder")
    return scores


def _channel_last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if array.ndim == 4 else array


def gains(scores: dict[str, OutputScore]) -> dict[str, dict[str, Any]]:
    """What our files have more than each of the peer's, in dB."""
    peers = [name for name in scores if name.startswith(PEER) and name != PEER_FLOAT]
    return {
        peer: {ours: Gain(scores[ours], scores[peer]).as_json() for ours in (OURS, REFINED)} for peer in peers
    }


def sizes(files: ComparedFiles) -> dict[str, Any]:
    """Bytes of all files, int8 / float of both sides, and ours / the peer's."""
    found = {name: path.stat().st_size for name, path in named_files(files).items()}
    return {
        **found,
        "ours_to_float": round(found[OURS] / found[OWN_FLOAT], 4),
        "peer_to_its_float": round(found[PEER] / found[PEER_FLOAT], 4),
        "ours_to_peer": round(found[OURS] / found[PEER], 4),
    }


def latencies(files: ComparedFiles, settings: Settings) -> dict[str, Any]:
    """Our int8 file against the float one, the peer's default and its float file, interleaved, one thread.

    Returns:
        `files` -> `wall` and `cpu` order statistics in ms; `against` -> per other file `wall` and `cpu`
        (see `ratio_over_processes`), and `minimum` and `median`, the ratios of those times of the processor
        clock over all rounds, which other work on the computer disturbs least.
    """
    every = named_files(files)
    named = {key: every[key] for key in (OURS, OWN_FLOAT, PEER, PEER_FLOAT)}
    report = measure_processes(
        list(named.values()),
        settings.processes,
        rounds=settings.rounds,
        warmup_seconds=settings.warmup_seconds,
    )
    entries = dict(zip(named, report["files"], strict=True))
    ratios = dict(zip(list(named)[1:], report["ratios"], strict=True))
    cpu = {key: entry["cpu"] for key, entry in entries.items()}
    return {
        "processes": settings.processes,
        "rounds": settings.rounds,
        "files": {key: {"wall": entry["wall"], "cpu": entry["cpu"]} for key, entry in entries.items()},
        "against": {
            key: {
                "wall": ratio["wall"],
                "cpu": ratio["cpu"],
                "minimum": round(cpu[OURS]["minimum"] / cpu[key]["minimum"], 4),
                "median": round(cpu[OURS]["median"] / cpu[key]["median"], 4),
            }
            for key, ratio in ratios.items()
        },
    }


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.int8_trained",
        description="int8 files of trained networks beside another quantizer's, as JSON and a table.",
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(networks())}; default: all")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--folder", type=Path, required=True, help="where weights and files are kept")
    parser.add_argument("--peer-python", type=Path, required=True, help="interpreter with ai-edge-quantizer")
    parser.add_argument("--peer-scripts", type=Path, default=Path("benchmarks/peers"))
    parser.add_argument("--calibration", type=int, default=CALIBRATION, help="samples to calibrate with")
    parser.add_argument("--count", type=int, default=MEASURED, help="held-out samples")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="fresh processes for the latency")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples per file and process")
    parser.add_argument("--warmup", type=float, default=WARMUP_SECONDS, help="longest warm-up, in seconds")
    parser.add_argument("--output", type=Path, help="write the JSON there and a table beside it, as .md")
    options = parser.parse_args(arguments)
    settings = Settings(options.calibration, options.count, options.processes, options.rounds, options.warmup)
    peer = Peer(options.peer_python, options.peer_scripts)
    report = compare(options.names or networks(), options.data, options.folder, peer, settings)
    if options.output is not None:
        save_json(report, options.output)
        options.output.with_suffix(".md").write_text(table(report), encoding="utf-8")
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
