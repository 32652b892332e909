"""The folder of an experiment: whose it is, what is finished, who is at it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain.compress.experiment.recipe import parse_experiment
from toolchain.compress.experiment.results import (
    FINISHED,
    IDENTITY,
    NEW,
    RESULT,
    STARTED,
    claim,
    held,
    runs_of,
    staged,
    write_json,
)
from toolchain.errors import UnsupportedError, UsageError

ROWS = [{"name": "baseline", "kind": "baseline"}]
TABLE = {
    "description": "", "task": "classification", "model": "lenet", "data": "mnist:FOLDER", "size": 28,
    "labels": 10, "schedule": {"epochs": 2, "optimizer": {"learning_rate": 0.1}}, "rows": ROWS,
}  # fmt: skip
EXPERIMENT = parse_experiment("small", TABLE)


def test_folder_is_claimed_once_and_then_recognized(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    claim(folder, EXPERIMENT, "MNIST")
    written = (folder / IDENTITY).read_bytes()
    claim(folder, EXPERIMENT, "MNIST")
    assert (folder / IDENTITY).read_bytes() == written


def test_other_recipe_version_or_data_is_refused_and_named(tmp_path: Path) -> None:
    claim(tmp_path, EXPERIMENT, "MNIST")
    schedule = {"epochs": 3, "optimizer": {"learning_rate": 0.2}}
    other = parse_experiment("small", {**TABLE, "schedule": schedule})
    with pytest.raises(UsageError) as caught:
        claim(tmp_path, other, "CIFAR")
    for words in (
        "schedule.epochs was 2, not 3",
        "schedule.optimizer.learning_rate was 0.1, not 0.2",
        "data_description was 'MNIST', not 'CIFAR'",
    ):
        assert words in caught.value.message
    with pytest.raises(UsageError, match="name was 'small', not 'renamed'"):
        claim(tmp_path, parse_experiment("renamed", TABLE), "MNIST")


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="no results of an experiment"):
        claim(tmp_path, EXPERIMENT, "MNIST")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_damaged_identity_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / IDENTITY).write_text(content, encoding="latin-1")
    with pytest.raises(UnsupportedError, match=IDENTITY):
        claim(tmp_path, EXPERIMENT, "MNIST")


def test_states_and_results_of_a_run(tmp_path: Path) -> None:
    [run, other] = runs_of(EXPERIMENT, tmp_path, (0, 7))
    assert (run.label, other.folder.name, run.state) == ("baseline, seed 0", "baseline-seed7", NEW)
    run.folder.mkdir()
    assert run.state == STARTED
    write_json(run.folder / RESULT, {"points": {"all": {"gone": 0.5}}})
    assert (run.state, run.result()["points"]["all"]["gone"]) == (FINISHED, 0.5)
    (run.folder / RESULT).write_text('{"points": 3}')
    with pytest.raises(UnsupportedError, match="no result of a run"):
        run.result()


def test_stage_is_done_once_and_not_at_all_when_it_fails(tmp_path: Path) -> None:
    path, calls = tmp_path / "deep" / "stage.json", []

    def fail() -> dict[str, int]:
        raise KeyboardInterrupt

    def make() -> dict[str, int]:
        calls.append(1)
        return {"value": 7}

    with pytest.raises(KeyboardInterrupt):
        staged(path, fail)
    assert not path.exists()
    assert staged(path, make) == staged(path, make) == json.loads(path.read_text()) == {"value": 7}
    assert len(calls) == 1


def test_run_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    [run] = runs_of(EXPERIMENT, tmp_path, (0,))
    with held(run) as first, held(run) as second:
        assert (first, second) == (True, False)
    with held(run) as again:
        assert again
