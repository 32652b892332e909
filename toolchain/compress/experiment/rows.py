"""What is done for one row with one seed, by its kind; what was interrupted is gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolchain.compress.experiment.figures import network_figures, predictor
from toolchain.compress.experiment.networks import fresh, load_kept, write_kept
from toolchain.compress.experiment.points import TradeOffPoints, load_point
from toolchain.compress.experiment.recipe import (
    BASELINE,
    DENSE,
    DISTILLED,
    GROUP_NORM,
    MAGNITUDE,
    SCRATCH,
    SPARSE,
    Experiment,
    Point,
    Row,
    find_point,
)
from toolchain.compress.experiment.results import FINISHED, RESULT, Run, staged, write_json
from toolchain.compress.experiment.task import ExperimentTask, Fitted, Report, example_of
from toolchain.compress.sparsity.kernels import sparse_layers
from toolchain.compress.sparsity.settings import SparsitySettings

HISTORY = "history"
TRAINING = "training"
FINETUNE = "finetune"
# Settings of rows: whose network is pruned or teaches; begin with the weights of the followed network.
START, KEEP = "start", "keep"
# Why a point has no network.
NOT_REACHED = "not reached"


@dataclass(frozen=True)
class Bench:
    """What all runs of an experiment share.

    Attributes:
        experiment: the recipe.
        task: its data and network.
        runs: by row name and seed.
        report: takes lines about the progress.
    """

    experiment: Experiment
    task: ExperimentTask
    runs: Mapping[tuple[str, int], Run]
    report: Report

    @property
    def long(self) -> dict[str, Any]:
        """Settings of a row without removal: the epochs of training and fine-tuning together."""
        schedule, finetune = self.experiment.schedule, self.experiment.finetune
        return {**schedule, "epochs": schedule["epochs"] + finetune.get("epochs", 0)}

    @property
    def fine(self) -> dict[str, Any]:
        """Settings of the training after removal."""
        return merged(self.experiment.schedule, self.experiment.finetune)

    def start(self, row: Row) -> Row:
        """The row whose network is pruned (magnitude) or teaches (distilled): `start`, or the baseline."""
        return self.experiment.row(row.settings.get(START, self.experiment.baseline.name))

    def needed(self, run: Run) -> list[Run]:
        """Runs that must be finished before this one."""
        names = [run.row.followed[0]] if run.row.of else []
        if run.row.kind in (MAGNITUDE, DISTILLED):
            names.append(self.start(run.row).name)
        return [self.runs[name, run.seed] for name in dict.fromkeys(names)]

    def missing(self, run: Run) -> list[Run]:
        """Those of them that are not finished."""
        return [other for other in self.needed(run) if other.state != FINISHED]


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes; tables are merged key by key."""
    made = dict(settings)
    for key, value in changes.items():
        inner = made.get(key)
        made[key] = (
            merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
        )
    return made


def finish(bench: Bench, run: Run) -> dict[str, Any]:
    """Do what is left of a run, and write its result.

    Returns:
        `points`: by name the figures of a kept network, or `reason` where there is none; `cpu_seconds` of
        this process (only of its last part, where the run was interrupted).

    Raises:
        ToolchainError: the training failed.
    """
    start = time.process_time()
    points = _KINDS[run.row.kind](bench, run)
    result = {
        "row": run.row.name,
        "seed": run.seed,
        "points": points,
        "cpu_seconds": round(time.process_time() - start, 1),
        "threads": torch.get_num_threads(),
    }
    write_json(run.folder / RESULT, result)
    return result


def _dense(bench: Bench, run: Run) -> dict[str, Any]:
    network = bench.task.build(run.seed, **run.row.settings)
    fitted = _fit(bench, run, network, run.folder / TRAINING, bench.long)
    return {run.row.points[0].name: _kept(bench, run, run.row.points[0], fitted)}


def _sparse(bench: Bench, run: Run) -> dict[str, Any]:
    from toolchain.compress.sparsity.callback import KernelSparsity

    task, folder = bench.task, run.folder / TRAINING
    settings = SparsitySettings(**run.row.settings)
    points = TradeOffPoints(
        run.row.points, folder / "points", task.figure, task.falling, exempt=settings.exempt
    )

    def train() -> dict[str, Any]:
        method = KernelSparsity(settings, run.folder / HISTORY, keep="none", report=bench.report)
        _fit(bench, run, task.build(run.seed), folder, bench.experiment.schedule, (method, points))
        return {"kept": points.kept, "most_gone": points.most_gone}

    found = staged(folder / "chosen.json", train)
    return {point.name: _sparse_point(bench, run, point, found, points) for point in run.row.points}


def _sparse_point(
    bench: Bench, run: Run, point: Point, found: dict[str, Any], points: TradeOffPoints
) -> dict[str, Any]:
    from toolchain.compress.removal.remove import remove_filters

    chosen = found["kept"].get(point.name)
    if chosen is None:
        return {"reason": f"{NOT_REACHED}: at most {100 * found['most_gone']:.1f} % of filters were gone"}
    network = load_point(bench.task.build(run.seed), points.path(point))
    removal = remove_filters(network, example_of(bench.task.spec))
    fitted = _finetuned(bench, run, point, removal.network)
    entry = _kept(bench, run, point, fitted)
    sparse = {"epoch": chosen["epoch"] + 1, "validation_error": chosen["error"], "gone": chosen["gone"]}
    return {**entry, "before_finetune": sparse}


def _scratch(bench: Bench, run: Run) -> dict[str, Any]:
    network = _followed(bench, run)
    if network is None:
        return _no_followed(run)
    fitted = _fit(bench, run, fresh(network, run.seed), run.folder / TRAINING, bench.long)
    return {run.row.points[0].name: _kept(bench, run, run.row.points[0], fitted)}


def _distilled(bench: Bench, run: Run) -> dict[str, Any]:
    from toolchain.compress.distill.teacher import Teacher

    network = _followed(bench, run)
    if network is None:
        return _no_followed(run)
    start = bench.start(run.row)
    taught = load_kept(bench.task.build(run.seed), _weights(bench, run, start, start.points[0]))
    settings = {key: value for key, value in run.row.settings.items() if key not in (START, KEEP)}
    teacher = Teacher(taught, bench.task.spec_of(taught), start.name, **settings)
    folder = run.folder / TRAINING
    begun = network if run.row.settings.get(KEEP) else fresh(network, run.seed)
    fitted = _fit(bench, run, begun, folder, bench.long, teacher=teacher)
    return {run.row.points[0].name: _kept(bench, run, run.row.points[0], fitted)}


def _magnitude(bench: Bench, run: Run) -> dict[str, Any]:
    from toolchain.compress.experiment.baselines import prune_to

    wanted = _followed_figures(bench, run)
    if wanted is None:
        return _no_followed(run)
    start = bench.start(run.row)
    network = load_kept(bench.task.build(run.seed), _weights(bench, run, start, start.points[0]))
    pruned = prune_to(network, example_of(bench.task.spec), wanted["multiply_adds"])
    return _pruned(bench, run, pruned)


def _group_norm(bench: Bench, run: Run) -> dict[str, Any]:
    from toolchain.compress.experiment.baselines import GroupNormRegularizer, prune_to

    wanted = _followed_figures(bench, run)
    if wanted is None:
        return _no_followed(run)
    folder = run.folder / TRAINING
    network = bench.task.build(run.seed)
    path = folder / "points" / "all.safetensors"

    def train() -> dict[str, Any]:
        method = GroupNormRegularizer(example_of(bench.task.spec), **run.row.settings)
        last = TradeOffPoints((Point(),), path.parent, bench.task.figure, bench.task.falling)
        _fit(bench, run, network, folder, bench.experiment.schedule, (method, last))
        return {"kept": last.kept}

    staged(folder / "chosen.json", train)
    pruned = prune_to(
        load_point(bench.task.build(run.seed), path), example_of(bench.task.spec), wanted["multiply_adds"]
    )
    return _pruned(bench, run, pruned)


_KINDS: dict[str, Callable[[Bench, Run], dict[str, Any]]] = {
    BASELINE: _dense,
    DENSE: _dense,
    SPARSE: _sparse,
    SCRATCH: _scratch,
    GROUP_NORM: _group_norm,
    MAGNITUDE: _magnitude,
    DISTILLED: _distilled,
}


def _fit(
    bench: Bench,
    run: Run,
    network: nn.Module,
    folder: Path,
    settings: Mapping[str, Any],
    callbacks: tuple[Any, ...] = (),
    **more: Any,
) -> Fitted:
    bench.report(f"{run.label}: {folder.relative_to(run.folder)}, {settings['epochs']} epochs")
    return bench.task.fit(network, folder, settings, run.seed, callbacks, report=bench.report, **more)


def _pruned(bench: Bench, run: Run, network: nn.Module) -> dict[str, Any]:
    point = run.row.points[0]
    return {point.name: _kept(bench, run, point, _finetuned(bench, run, point, network))}


def _finetuned(bench: Bench, run: Run, point: Point, network: nn.Module) -> Fitted:
    """Trained on without any term; the network as it was counts as well, if it is better on validation."""
    task = bench.task
    before = task.validation_error(network)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if not bench.experiment.finetune:
        return Fitted(network.eval(), before, -1)
    fitted = _fit(bench, run, network, run.folder / point.name / FINETUNE, bench.fine)
    if fitted.error <= before:
        return fitted
    fitted.network.load_state_dict(state)
    return replace(fitted, error=before, epoch=-1)


def _kept(bench: Bench, run: Run, point: Point, fitted: Fitted) -> dict[str, Any]:
    """Figures of a kept network; nothing is chosen by those on the test split."""
    task = bench.task
    exempt = tuple(run.row.settings.get("exempt", ())) if run.row.kind == SPARSE else ()
    network = fitted.network.float().eval()
    spec = task.spec_of(network)
    full = sum(conv.out_channels for conv in sparse_layers(task.build(run.seed), exempt).values())
    figures = {
        "epoch": fitted.epoch + 1,
        "validation_error": fitted.error,
        "test": task.test_figures(predictor(network, spec)),
        **network_figures(network, example_of(spec), full, exempt),
    }
    path = run.folder / point.name / f"{bench.experiment.model}.safetensors"
    write_kept(path, network, task, {"seed": run.seed, "row": run.row.name, "figures": figures})
    return {**figures, "weights": path.relative_to(run.folder).as_posix()}


def _weights(bench: Bench, run: Run, row: Row, point: Point) -> Path:
    return bench.runs[row.name, run.seed].folder / point.name / f"{bench.experiment.model}.safetensors"


def _followed_figures(bench: Bench, run: Run) -> dict[str, Any] | None:
    """Figures of the kept network that the row follows; None where its point was not reached."""
    row, point = find_point(bench.experiment.rows, run.row.of, f"row '{run.row.name}'")
    entry = bench.runs[row.name, run.seed].result()["points"][point.name]
    return None if "reason" in entry else entry


def _followed(bench: Bench, run: Run) -> nn.Module | None:
    """The kept network that the row follows."""
    if _followed_figures(bench, run) is None:
        return None
    row, point = find_point(bench.experiment.rows, run.row.of, f"row '{run.row.name}'")
    return load_kept(bench.task.build(run.seed), _weights(bench, run, row, point))


def _no_followed(run: Run) -> dict[str, Any]:
    return {run.row.points[0].name: {"reason": f"{run.row.of} was {NOT_REACHED}"}}
