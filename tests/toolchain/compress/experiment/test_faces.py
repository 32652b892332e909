"""Experiments with face parsers, on drawn faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from toolchain.compress.experiment.figures import predictor
from toolchain.compress.experiment.recipe import Experiment, parse_experiment
from toolchain.compress.experiment.run import ExperimentOptions, open_task, run_experiment
from toolchain.compress.experiment.task import example_of
from toolchain.errors import UsageError
from toolchain.training.datasets import open_pairs
from toolchain.training.datasets.carved import EVERY

DATA = "drawn:20"
SIZE = 32


def recipe(**more: Any) -> Experiment:
    table: dict[str, Any] = {
        "description": "drawn faces",
        "task": "face-parsing",
        "model": "mobile-hourglass",
        "weights": "shipped",
        "data": "celebamask:PATH",
        "size": SIZE,
        "labels": 10,
        "schedule": {"epochs": 1, "batch_size": 8, "precision": "32"},
        "rows": [{"name": "baseline", "kind": "baseline"}],
    }
    return parse_experiment("faces", table | more)


def test_validation_pairs_are_carved_out_of_the_training_pairs() -> None:
    whole = open_pairs(DATA, "train", SIZE)
    parts = {split: open_pairs(f"carved:{DATA}", split, SIZE) for split in ("train", "val", "test")}
    assert parts["val"].names == whole.names[EVERY - 1 :: EVERY]
    assert sorted(parts["train"].names + parts["val"].names) == whole.names
    test = open_pairs(DATA, "val", SIZE)
    assert parts["test"].names == test.names
    for name, index in (("val", 0), ("test", 1)):
        source = {"val": whole, "test": test}[name]
        place = source.names.index(parts[name].names[index])
        assert torch.equal(parts[name][index][0], source[place][0])


def test_whole_network_is_judged_by_the_classes_of_the_recipe() -> None:
    task = open_task(recipe(classes=["lips"]), DATA)
    assert task.spec.labels == ("background", "upper lip", "lower lip")
    whole, lips = task.build(0, whole=True), task.build(0)
    assert [len(task.spec_of(network).labels) for network in (whole, lips)] == [10, 3]
    assert task.spec.inputs[0].shape == (1, 3, SIZE, SIZE)
    for network in (whole, lips):
        spec = task.spec_of(network)
        example = example_of(spec)
        assert network.eval()(*example).shape == (1, len(spec.labels), SIZE, SIZE)
        figures = task.test_figures(predictor(network, spec))
        assert 0 <= figures["error"] <= 100
        assert figures["error"] == pytest.approx(100 - figures["overall_f1"])


def test_perfect_and_empty_answers() -> None:
    task = open_task(recipe(), DATA)
    pairs = open_pairs(DATA, "val", SIZE)
    truth = iter(torch.stack([pairs[index][1] for index in range(len(pairs))]).long())

    def perfect(image: torch.Tensor) -> torch.Tensor:
        labels = torch.stack([next(truth) for _ in image])
        return torch.nn.functional.one_hot(labels.clamp(max=9), 10).movedim(3, 1).float()

    assert task.test_figures(perfect)["error"] == pytest.approx(0.0, abs=1e-6)
    nothing = task.test_figures(
        lambda image: torch.eye(10)[0].view(1, 10, 1, 1).expand(len(image), 10, SIZE, SIZE)
    )
    assert nothing["error"] == pytest.approx(100.0)


def test_rows_of_a_specialised_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The card's ranges for int8 export the network for every training; no row needs them.
    monkeypatch.setattr("toolchain.compress.specialise.fit.calibration", lambda *_: {})
    rows = [
        {"name": "baseline", "kind": "baseline", "settings": {"whole": True}},
        {"name": "specialised", "kind": "dense"},
        {
            "name": "sparse",
            "kind": "sparse",
            "points": [{"name": "some", "gone": 0.1}],
            "settings": {
                "strength": 1.0,
                "threshold": 0.2,
                "exempt": ["*body.2", "stem.0", "previous", "lift"],
            },
        },
        {"name": "magnitude", "kind": "magnitude", "of": "sparse", "settings": {"start": "specialised"}},
    ]
    made = recipe(classes=["lips"], rows=rows)
    options = ExperimentOptions(tmp_path / "run", seeds=(0,), pictures=False)
    report = run_experiment(made, open_task(made, DATA), options)
    entries = {entry["label"]: entry for entry in report["rows"]}
    macs = {label: entry["multiply_adds"]["mean"] for label, entry in entries.items()}
    assert macs["magnitude"] <= macs["sparse"] < macs["specialised"] < macs["baseline"]
    assert entries["sparse"]["gone"]["mean"] >= 0.1
    assert (entries["baseline"]["gone"]["mean"], entries["specialised"]["gone"]["mean"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "lenet"}, "'lenet' with 10 classes is no face parser"),
        ({"labels": 19}, "with 19 classes is no face parser"),
        ({"classes": ["lip"]}, "lip"),
        ({"schedule": {"epochs": 1, "batchsize": 8}}, "unknown key 'batchsize'"),
    ],
)
def test_recipe_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_task(recipe(**changes), DATA)
