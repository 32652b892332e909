"""A small experiment from its recipe to its table, interrupted and gone on with."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.compress.experiment.recipe import Experiment, parse_experiment, read_experiment
from toolchain.compress.experiment.report import REPORT, TABLE
from toolchain.compress.experiment.results import RESULT, held, runs_of
from toolchain.compress.experiment.run import ExperimentOptions, open_task, run_experiment
from toolchain.compress.experiment.task import ExperimentTask
from toolchain.errors import UsageError
from toolchain.source import resolve
from toolchain.training.classification import error_of

SPARSE = {"strength": 0.5, "threshold": 0.2}
TABLE_OF_RECIPE: dict[str, Any] = {
    "description": "drawn digits",
    "task": "classification",
    "model": "lenet",
    "data": "mnist:FOLDER",
    "size": 28,
    "labels": 10,
    "schedule": {"epochs": 3, "batch_size": 20, "optimizer": {"learning_rate": 0.02}},
    "finetune": {"epochs": 1, "optimizer": {"learning_rate": 0.005}},
    "rows": [
        {"name": "baseline", "kind": "baseline"},
        {
            "name": "sparse",
            "kind": "sparse",
            "points": [{"name": "some", "gone": 0.2}, {"name": "nearly-all", "gone": 0.99}],
            "settings": SPARSE,
        },
        {"name": "scratch", "kind": "scratch", "of": "sparse:some"},
        {"name": "nothing", "kind": "scratch", "of": "sparse:nearly-all"},
        {"name": "distilled", "kind": "distilled", "of": "sparse:some", "settings": {"share": 0.5}},
        {"name": "magnitude", "kind": "magnitude", "of": "sparse:some"},
        {"name": "group-norm", "kind": "group-norm", "of": "sparse:some", "settings": {"strength": 1e-3}},
    ],
    "targets": [{"text": "good", "of": "sparse:some", "error": 100.0, "gone": 0.2}],
}
EXPERIMENT = parse_experiment("digits", TABLE_OF_RECIPE)


def write_digits(folder: Path, train: int = 200, test: int = 60) -> Path:
    """Ten classes of bars at different places, in the four files of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 120, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = 2 + 4 * (label % 5), 2 + 12 * (label // 5)
            image[top : top + 5, left : left + 11] += 100
        for kind, array, magic in (("images-idx3", images, 2051), ("labels-idx1", labels, 2049)):
            head = np.array([magic, *array.shape], ">i4").tobytes()
            with gzip.open(folder / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(head + array.tobytes())
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"mnist:{write_digits(tmp_path_factory.mktemp('digits'))}"


@pytest.fixture(scope="module")
def task(data: str) -> ExperimentTask:
    return open_task(EXPERIMENT, data)


class Log:
    """Collects lines; raises at the first one that begins so."""

    def __init__(self, stop: str = "") -> None:
        self.lines: list[str] = []
        self.stop = stop

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if self.stop and line.startswith(self.stop):
            self.stop = ""
            raise KeyboardInterrupt


def options(folder: Path, log: Log, **more: Any) -> ExperimentOptions:
    return ExperimentOptions(folder, seeds=(0,), report=log, **{"pictures": False, **more})


@pytest.fixture(scope="module")
def finished(task: ExperimentTask, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("experiment") / "run"
    return folder, run_experiment(EXPERIMENT, task, options(folder, Log(), pictures=True))


def found(report: dict[str, Any], label: str) -> dict[str, Any]:
    return next(entry for entry in report["rows"] if entry["label"] == label)


def test_every_row_has_the_figures_of_its_kept_network(finished: Any, task: Any) -> None:
    folder, report = finished
    base, some = found(report, "baseline"), found(report, "sparse:some")
    # Figures of LeNet that are known.
    assert (base["parameters"]["mean"], base["multiply_adds"]["mean"]) == (431_080, 2_293_000)
    assert (base["gone"]["mean"], base["filters"]) == (0.0, {"features.0": 20.0, "features.2": 50.0})
    assert some["gone"]["mean"] >= 0.2
    assert some["gone"]["mean"] == pytest.approx(1 - sum(some["filters"].values()) / 70)
    for label in ("scratch", "distilled"):
        same = found(report, label)
        for key in ("filters", "parameters", "multiply_adds"):
            assert same[key] == some[key]
    for label in ("magnitude", "group-norm"):
        other = found(report, label)
        assert (
            0.8 * some["multiply_adds"]["mean"]
            < other["multiply_adds"]["mean"]
            <= some["multiply_adds"]["mean"]
        )
    for entry in report["rows"]:
        for figures in (one for one in entry["seeds"].values() if "weights" in one):
            place = folder / f"{entry['row']}-seed0" / figures["weights"]
            network = resolve("lenet", place).module
            assert network is not None
            assert error_of(network, task.data.test, task.spec) == pytest.approx(figures["test"]["error"])
            assert error_of(network, task.data.validation, task.spec) == pytest.approx(
                figures["validation_error"], abs=1e-3
            )


def test_a_point_that_is_not_reached_is_said_and_followed_by_nothing(finished: Any) -> None:
    _, report = finished
    entry = found(report, "sparse:nearly-all")
    assert "error" not in entry
    assert entry["remarks"][0].startswith("seed 0: not reached: at most ")
    assert found(report, "nothing")["remarks"] == ["seed 0: sparse:nearly-all was not reached"]
    assert report["targets"][0]["reached"] is True


def test_pictures_and_table_lie_beside_the_results(finished: Any) -> None:
    folder, report = finished
    assert json.loads((folder / REPORT).read_text()) == report
    lines = (folder / TABLE).read_text().splitlines()
    labels = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][2:10]
    assert labels == [entry["label"] for entry in report["rows"]]
    drawn = {path.suffix for path in (folder / "pictures" / "sparse-seed0").iterdir()}
    assert drawn == {".png", ".svg"}


def test_what_is_finished_is_not_done_again(finished: Any, task: Any) -> None:
    folder, report = finished
    log = Log()
    again = run_experiment(EXPERIMENT, task, options(folder, log))
    assert log.lines == []
    assert {**again, "environment": None} == {**report, "environment": None}


@pytest.mark.parametrize(
    "stop",
    ["epoch 2/3", "epoch 3/3: loss", "sparse, seed 0: some/finetune", "epoch 1/1", "finished sparse"],
)
def test_interrupted_run_ends_as_if_it_had_not_been(
    finished: Any, task: Any, tmp_path: Path, stop: str
) -> None:
    folder, only = tmp_path / "run", replace(EXPERIMENT, rows=EXPERIMENT.rows[:2])
    log = Log()
    run_experiment(only, task, options(folder, log, only=("baseline",)))
    log.stop = stop
    with pytest.raises(KeyboardInterrupt):
        run_experiment(only, task, options(folder, log))
    run_experiment(only, task, options(folder, log))
    whole, resumed = (
        json.loads((place / "sparse-seed0" / RESULT).read_text())["points"] for place in (finished[0], folder)
    )
    assert resumed == whole


def test_rows_wait_for_those_that_they_follow(task: Any, tmp_path: Path) -> None:
    log = Log()
    report = run_experiment(EXPERIMENT, task, options(tmp_path / "run", log, only=("scratch", "distilled")))
    assert log.lines == [
        "left out scratch, seed 0: it needs sparse, seed 0, which is not finished",
        "left out distilled, seed 0: it needs sparse, seed 0, baseline, seed 0, which is not finished",
    ]
    assert all("seed 0 not finished" in entry["remarks"] for entry in report["rows"])


def test_run_of_another_process_is_left_alone(task: Any, tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "run"
    [baseline, *_] = runs_of(EXPERIMENT, folder, (0,))
    run_experiment(EXPERIMENT, task, options(folder, log, may_train=True, only=("nothing",)))
    with held(baseline):
        run_experiment(EXPERIMENT, task, options(folder, log, only=("baseline",)))
    assert log.lines[-1] == "left out baseline, seed 0: another process is at it"
    assert not (baseline.folder / RESULT).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ("sparce",)}, "no row 'sparce'"),
        ({"seeds": ()}, "no seeds"),
        ({"seeds": (1, 1)}, "or one twice"),
        ({"folder": Path("nowhere"), "may_train": False}, "no folder 'nowhere'"),
    ],
)
def test_options_that_cannot_be(task: Any, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_experiment(EXPERIMENT, task, replace(options(tmp_path / "run", Log()), **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": 2}, "has 10 classes, 'digits' is for 2"),
        ({"model": "vgg11"}, r"pictures of \(1, 28, 28\) \(channels, height, width\), 'vgg11' takes"),
    ],
)
def test_data_that_does_not_fit(data: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_task(replace(EXPERIMENT, **changes), data)
    assert "made for --data mnist:FOLDER" in caught.value.hint


def test_setting_that_does_not_exist_is_refused_before_training(data: str) -> None:
    schedule = {"epochs": 1, "optimiser": {}}
    with pytest.raises(UsageError, match="unknown key 'optimiser'"):
        open_task(replace(EXPERIMENT, schedule=schedule), data)


def test_shipped_recipe_refuses_other_data(data: str) -> None:
    experiment: Experiment = read_experiment("vgg11-cifar10")
    with pytest.raises(UsageError, match="takes"):
        open_task(experiment, data)
