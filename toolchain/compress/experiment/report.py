"""The report of an experiment: every row with mean and spread over its seeds, as JSON can express it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from toolchain.benchmarks.environment import environment
from toolchain.compress.experiment.recipe import SPARSE, Experiment, Point, Row, Target, find_point
from toolchain.compress.experiment.results import FINISHED, Run
from toolchain.compress.experiment.task import ExperimentTask

REPORT, TABLE = "table.json", "table.md"
PACKAGES = ("mobile-toolchain", "torch", "lightning", "torch-pruning", "ai-edge-litert", "numpy")
# Rounding of figures, so that a reached target does not hang on the last bit.
EPSILON = 1e-9


def make_report(
    experiment: Experiment,
    task: ExperimentTask,
    runs: Sequence[Run],
    files: Mapping[str, Mapping[str, Any]],
    latency: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Gather what is finished.

    Args:
        experiment: the recipe.
        task: its data.
        runs: all, finished or not.
        files: of `make_files`; {} without.
        latency: of `measure_latency`; None without.

    Returns:
        `experiment`, `settings` (schedule, rules, data), `rows` (see `_entry`), `targets` (with `reached`:
        True, False, or None where figures are missing) and `environment`.
    """
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.row.name, []).append(run)
    rows = [
        _entry(row, point, by_name[row.name], files, latency)
        for row in experiment.rows
        for point in row.points
    ]
    return {
        "experiment": experiment.name,
        "description": experiment.description,
        "settings": {
            "model": experiment.model,
            "data": task.description,
            "error": task.error_name,
            "seeds": sorted({run.seed for run in runs}),
            "schedule": experiment.schedule,
            "finetune": experiment.finetune,
            "bits": experiment.bits,
            "caveat": experiment.caveat,
            "terms": task.terms,
            "threads": None if latency is None else latency["threads"],
            "runtime": None if latency is None else latency["runtime"],
        },
        "rows": rows,
        "targets": [_target(target, experiment, rows) for target in experiment.targets],
        "published": list(experiment.published),
        "environment": environment(PACKAGES),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """`mean`, `deviation` (of the sample, n - 1; None for one value), `lowest`, `highest`, `count`."""
    return {
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "lowest": min(values),
        "highest": max(values),
        "count": len(values),
    }


def _entry(
    row: Row,
    point: Point,
    runs: Sequence[Run],
    files: Mapping[str, Mapping[str, Any]],
    latency: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """One row of the table.

    Returns:
        `label`, `row`, `point`, `kind`, `rule`, `settings`, `of`; `seeds` (figures by seed), `remarks`, and
        where a seed is finished `error`, `validation_error`, `gone`, `parameters`, `multiply_adds` (see
        `spread`), `filters` (mean by layer); `files` and `latency` of one seed, where they were made.
    """
    label = row.name if len(row.points) == 1 else f"{row.name}:{point.name}"
    seeds = {run.seed: run.result()["points"][point.name] for run in runs if run.state == FINISHED}
    found = {seed: entry for seed, entry in seeds.items() if "reason" not in entry}
    made: dict[str, Any] = {
        "label": label,
        "row": row.name,
        "point": point.name,
        "kind": row.kind,
        "rule": point.rule if row.kind == SPARSE else "lowest validation error of all epochs",
        "settings": row.settings,
        "of": row.of,
        "seeds": {str(seed): entry for seed, entry in seeds.items()},
        "remarks": _remarks(runs, seeds),
    }
    if found:
        made["error"] = spread([entry["test"]["error"] for entry in found.values()])
        for key in ("validation_error", "gone", "parameters", "multiply_adds"):
            made[key] = spread([entry[key] for entry in found.values()])
        layers = next(iter(found.values()))["filters"]
        made["filters"] = {
            name: statistics.fmean([entry["filters"][name] for entry in found.values()]) for name in layers
        }
    if label in files:
        made["files"] = dict(files[label])
    if label in files and latency is not None:
        made["latency"] = {
            precision: latency["files"][entry["file"]]
            for precision, entry in files[label].items()
            if isinstance(entry, dict) and entry.get("file") in latency["files"]
        }
    return made


def _remarks(runs: Sequence[Run], seeds: Mapping[int, Mapping[str, Any]]) -> list[str]:
    unfinished = [str(run.seed) for run in runs if run.state != FINISHED]
    remarks = [f"seed {', '.join(unfinished)} not finished"] if unfinished else []
    return remarks + [f"seed {seed}: {entry['reason']}" for seed, entry in seeds.items() if "reason" in entry]


def _target(target: Target, experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is required, what was found, and whether that is enough."""
    row, point = find_point(experiment.rows, target.of, "target")
    entry = next(e for e in rows if (e["row"], e["point"]) == (row.name, point.name))
    base = next(e for e in rows if e["row"] == experiment.baseline.name)
    made: dict[str, Any] = {**asdict(target), "found": {}, "reached": None}
    if "error" not in entry or "error" not in base:
        return made
    found = {
        "error": entry["error"]["mean"] - base["error"]["mean"],
        "gone": entry["gone"]["mean"],
        "fewer": base["multiply_adds"]["mean"] / entry["multiply_adds"]["mean"],
        "faster": (entry.get("latency", {}).get("fp32") or {}).get("faster"),
        "seeds": entry["error"]["count"],
    }
    checks = [
        found["error"] <= target.error + EPSILON,
        found["gone"] >= target.gone - EPSILON,
        found["fewer"] >= target.fewer - EPSILON,
    ]
    if target.faster:
        checks.append(None if found["faster"] is None else found["faster"] >= target.faster)
    reached = False if False in checks else None if None in checks else True
    return {**made, "found": found, "reached": reached}
