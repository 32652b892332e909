"""Files of kept networks: fp32 and int8 for LiteRT, packed weights; their bytes, errors and latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.harness.figures import ratio, waited
from toolchain.benchmarks.harness.measure import Options
from toolchain.benchmarks.harness.models import measure_models
from toolchain.benchmarks.harness.results import Entry
from toolchain.compress.experiment.figures import file_predictor, predictor
from toolchain.compress.experiment.networks import load_kept
from toolchain.compress.experiment.recipe import Experiment
from toolchain.compress.experiment.results import read_json, staged, write_json
from toolchain.compress.experiment.task import ExperimentTask, Report
from toolchain.compress.storage.pack import pack, parse_bits
from toolchain.models.zoo import zoo
from toolchain.runtimes import load
from toolchain.spec import ModelSpec, load_sidecar

FLOAT, INTEGER, PACKED = "fp32", "int8", "packed"
PRECISIONS = (FLOAT, INTEGER)
FILES = "files"
LATENCY = "latency.json"
THREADS = 1


@dataclass(frozen=True)
class ExportedFile:
    """What an export made of a network in one precision.

    Attributes:
        path: the file; None where there is none.
        reason: why there is none.
    """

    path: Path | None
    reason: str = ""


@dataclass(frozen=True)
class Kept:
    """A kept network.

    Attributes:
        label: of its row in the table.
        weights: its weights file.
        seed: it was trained with.
    """

    label: str
    weights: Path
    seed: int

    @property
    def folder_name(self) -> str:
        """Of its files."""
        return self.label.replace(":", "-")


Shapes = Mapping[str, tuple[int, ...]]
# (zoo name, weights, folder, calibration data, shapes of the inputs where they are others than the zoo's) ->
# a .tflite file for each of PRECISIONS.
Export = Callable[[str, Path, Path, str, "Shapes | None"], Mapping[str, ExportedFile]]


def make_files(
    experiment: Experiment,
    task: ExperimentTask,
    kept: Sequence[Kept],
    folder: Path,
    export: Export,
    report: Report,
) -> dict[str, dict[str, Any]]:
    """Write what is not written yet.

    Returns:
        By label: for each precision, and "packed": `file` (below `folder`), `bytes` and `error` on the test
        split in percent, or `reason`; and `seed`.
    """
    found = {}
    for one in kept:
        place = folder / FILES / f"{one.folder_name}-seed{one.seed}"
        report(f"files of {one.label}")
        found[one.label] = staged(
            place / "files.json",
            partial(_files, experiment, task, one, folder, place, export),
        )
    return found


def measure_latency(
    files: Mapping[str, Mapping[str, Any]], baseline: str, folder: Path, options: Options, report: Report
) -> dict[str, Any]:
    """Measure all files in the same rounds; again when they are others than last time.

    Args:
        files: of `make_files`.
        baseline: label that the others are compared with.
        folder: that the files lie below.
        options: of the harness.
        report: takes a line.

    Returns:
        `files` by path: `ms` (median of processor time, what other programs took is taken off), `faster`
        (baseline of the same precision over this one, paired by round; None without a baseline), `waited`;
        `environment`, `runtime`, `threads`.
    """
    # The baseline comes first, so that a table of the harness would have the same ratios.
    ordered = [baseline, *(label for label in files if label != baseline)]
    paths = [
        files[label][precision]["file"]
        for precision in PRECISIONS
        for label in ordered
        if "file" in files[label][precision]
    ]
    bases = {p: files[baseline][p].get("file") for p in PRECISIONS}
    precision_of = {
        files[label][precision].get("file"): precision for label in files for precision in PRECISIONS
    }
    cache = folder / LATENCY
    if cache.is_file():
        before = read_json(cache)
        if list(before["files"]) == paths:
            return before
    report(f"latency of {len(paths)} files")
    machine = environment()
    results = measure_models(
        [str(folder / path) for path in paths], options, ["toolchain", "compress", "experiment"]
    )
    entries = dict(zip(paths, results.entries, strict=True))
    found = {
        "files": {
            path: _latency(entry, entries.get(bases[precision_of[path]] or ""))
            for path, entry in entries.items()
        },
        "runtime": results.entries[0].runtime if results.entries else "",
        "threads": options.threads,
        "environment": machine,
    }
    write_json(cache, found)
    return found


def _files(
    experiment: Experiment,
    task: ExperimentTask,
    one: Kept,
    folder: Path,
    place: Path,
    export: Export,
) -> dict[str, Any]:
    spec = task.spec_of(load_kept(task.build(one.seed), one.weights))
    calibration = task.calibration(folder / FILES, spec)
    made = export(experiment.model, one.weights, place, calibration, _other_shapes(spec))
    entries = {precision: _file(made[precision], task, folder) for precision in PRECISIONS}
    return {"seed": one.seed, **entries, PACKED: _packed(experiment, task, one, folder, place)}


def _file(made: ExportedFile, task: ExperimentTask, folder: Path) -> dict[str, Any]:
    if made.path is None:
        return {"reason": made.reason}
    with load(made.path, THREADS) as runtime:
        error = task.test_figures(file_predictor(runtime, load_sidecar(made.path)))["error"]
    return {
        "file": made.path.relative_to(folder).as_posix(),
        "bytes": made.path.stat().st_size,
        "error": error,
    }


def _packed(
    experiment: Experiment, task: ExperimentTask, one: Kept, folder: Path, place: Path
) -> dict[str, Any]:
    path = place / f"{experiment.model}.{PACKED}"
    pressed = pack(one.weights, path, parse_bits(experiment.bits), network=experiment.model)
    network = load_kept(task.build(one.seed), one.weights)
    network.load_state_dict(pressed.state)
    error = task.test_figures(predictor(network, task.spec_of(network)))["error"]
    return {"file": path.relative_to(folder).as_posix(), "bytes": pressed.bytes_after, "error": error}


def _other_shapes(spec: ModelSpec) -> Shapes | None:
    """Shapes of the inputs, None where the pictures have the size of the zoo's network."""
    usual = zoo().get(spec.name).spec.inputs[0].shape
    return None if spec.inputs[0].shape == usual else {tensor.name: tensor.shape for tensor in spec.inputs}


def _latency(entry: Entry, base: Entry | None) -> dict[str, Any]:
    own = [total - wait for total, wait in zip(entry.samples["total"], _waits(entry), strict=True)]
    ordered = sorted(own)
    paired = ratio(entry, base) if base is not None and base is not entry else None
    return {
        "ms": ordered[len(ordered) // 2],
        "faster": 1.0 if entry is base else None if paired is None else 1 / paired.median,
        "waited": waited(entry),
        "samples": len(ordered),
        "steady": entry.steady,
    }


def _waits(entry: Entry) -> Sequence[float]:
    return entry.waited_ms or [0.0] * len(entry.samples["total"])
