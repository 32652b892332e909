"""An experiment: every row and seed of a recipe, the files of the kept networks, and one table.

    rows x seeds (each in its folder) -> files and latency of one seed's kept networks -> report and table

Whatever is finished is kept: the same call goes on where an earlier one was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.benchmarks.harness.measure import Options
from toolchain.compress.experiment.files import Export, Kept, make_files, measure_latency
from toolchain.compress.experiment.recipe import CLASSIFICATION, SPARSE, Experiment
from toolchain.compress.experiment.report import REPORT, TABLE, make_report
from toolchain.compress.experiment.results import FINISHED, Run, claim, held, runs_of, write_json
from toolchain.compress.experiment.rows import HISTORY, Bench, finish
from toolchain.compress.experiment.table import table
from toolchain.compress.experiment.task import ExperimentTask, Report
from toolchain.errors import UsageError
from toolchain.training.checkpoints import write_atomically

PICTURES = "pictures"


@dataclass(frozen=True)
class ExperimentOptions:
    """How an experiment is run.

    Attributes:
        folder: of the results.
        seeds: each row is trained once with each of them.
        only: names of rows; () for all.
        may_train: False tabulates what is finished.
        export: makes model files of weights; None leaves files and latency out.
        pictures: draw the history of every sparse run.
        latency: of the harness.
        report: takes lines about the progress.
    """

    folder: Path
    seeds: Sequence[int] = (0, 1, 2)
    only: Sequence[str] = ()
    may_train: bool = True
    export: Export | None = None
    pictures: bool = True
    latency: Options = field(default_factory=Options)
    report: Report = field(default=lambda _line: None)


def open_task(experiment: Experiment, data: str) -> ExperimentTask:
    """The data and network of a recipe.

    Raises:
        UsageError: there is no such data, or it does not fit the recipe.
    """
    if experiment.task == CLASSIFICATION:
        from toolchain.compress.experiment.classification import ClassificationTask

        return ClassificationTask(experiment, data)
    from toolchain.compress.experiment.faces import FaceTask

    return FaceTask(experiment, data)


def run_experiment(
    experiment: Experiment, task: ExperimentTask, options: ExperimentOptions
) -> dict[str, Any]:
    """Do what is left of an experiment, and write its table to the folder.

    A row whose needed rows are not finished, or that another process is at, is left out with a line about it.

    Returns:
        The report, as JSON can express it; see `make_report`.

    Raises:
        UsageError: an unknown row, no seeds, or a folder with other results.
        ToolchainError: a training or export failed.
    """
    rows = [experiment.row(name) for name in options.only] or list(experiment.rows)
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise UsageError("no seeds, or one twice", "give each once: --seeds 0,1,2")
    if not options.may_train and not options.folder.is_dir():
        raise UsageError(f"no folder '{options.folder}'", "give that of the results, or train")
    claim(options.folder, experiment, task.description)
    runs = runs_of(experiment, options.folder, options.seeds)
    bench = Bench(experiment, task, {(run.row.name, run.seed): run for run in runs}, options.report)
    if options.may_train:
        for run in (run for run in runs if run.row in rows):
            _do(bench, run)
    _draw(runs, options)
    files, latency = _measured(experiment, task, runs, options)
    report = make_report(experiment, task, runs, files, latency)
    write_json(options.folder / REPORT, report)
    text = table(report)
    write_atomically(options.folder / TABLE, lambda file: file.write(text.encode()))
    return report


def _do(bench: Bench, run: Run) -> None:
    if run.state == FINISHED:
        return
    missing = bench.missing(run)
    if missing:
        names = ", ".join(other.label for other in missing)
        bench.report(f"left out {run.label}: it needs {names}, which is not finished")
        return
    with held(run) as mine:
        if not mine:
            bench.report(f"left out {run.label}: another process is at it")
        elif run.state != FINISHED:
            # Another process may have finished it before it was held.
            finish(bench, run)
            bench.report(f"finished {run.label}")


def _measured(
    experiment: Experiment, task: ExperimentTask, runs: Sequence[Run], options: ExperimentOptions
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Files and latency of the first seed's kept networks; nothing while a row of that seed is missing."""
    first = [run for run in runs if run.seed == options.seeds[0]]
    if options.export is None:
        return {}, None
    if any(run.state != FINISHED for run in first):
        options.report(f"no files and latency before all rows of seed {options.seeds[0]} are finished")
        return {}, None
    kept = [kept for run in first for kept in kept_networks(run)]
    files = make_files(experiment, task, kept, options.folder, options.export, options.report)
    baseline = experiment.baseline.name
    return files, measure_latency(files, baseline, options.folder, options.latency, options.report)


def kept_networks(run: Run) -> list[Kept]:
    """The kept networks of a finished run."""
    return [
        Kept(label_of(run, name), run.folder / entry["weights"], run.seed)
        for name, entry in run.result()["points"].items()
        if "reason" not in entry
    ]


def label_of(run: Run, point: str) -> str:
    """What a point is called in the table: its row, with the point where the row has several."""
    return run.row.name if len(run.row.points) == 1 else f"{run.row.name}:{point}"


def _draw(runs: Sequence[Run], options: ExperimentOptions) -> None:
    if not options.pictures:
        return
    from toolchain.compress.sparsity.history import History
    from toolchain.compress.sparsity.pictures import draw_history

    for run in runs:
        place = options.folder / PICTURES / run.folder.name
        if run.row.kind == SPARSE and run.state == FINISHED and not place.is_dir():
            options.report(f"pictures of {run.label}")
            draw_history(History(run.folder / HISTORY), place)
