"""Recipes of experiments: those that ship, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from toolchain.compress.experiment.recipe import (
    SPARSE,
    Experiment,
    experiment_names,
    parse_experiment,
    read_experiment,
)
from toolchain.compress.sparsity.kernels import convolutions, sparse_layers
from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.errors import UsageError
from toolchain.models.zoo import zoo

TABLE: dict[str, Any] = {
    "description": "small",
    "task": "classification",
    "model": "lenet",
    "data": "mnist:FOLDER",
    "size": 28,
    "labels": 10,
    "schedule": {"epochs": 2},
    "finetune": {"epochs": 1},
    "rows": [
        {"name": "baseline", "kind": "baseline"},
        {
            "name": "sparse",
            "kind": "sparse",
            "points": [{"name": "few", "gone": 0.2}, {"name": "many", "gone": 0.5}],
            "settings": {"strength": 0.1},
        },
        {"name": "scratch", "kind": "scratch", "of": "sparse:many"},
    ],
    "targets": [{"text": "as good", "of": "sparse:few", "error": 0.1}],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """TABLE with the value at a dotted path; None takes the key away."""
    table = copy.deepcopy(TABLE)
    place: Any = table
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return table


def parsed(path: str, value: Any) -> Experiment:
    return parse_experiment("small", changed(path, value))


@pytest.mark.parametrize("name", experiment_names())
def test_recipe_that_ships_fits_its_network(name: str) -> None:
    experiment = read_experiment(name)
    entry = zoo().get(experiment.model)
    assert entry.spec.task in (experiment.task, "segmentation")
    assert entry.spec.inputs[0].shape[-1] >= experiment.size
    assert {"baseline", "sparse", "scratch", "magnitude", "group-norm"} <= {r.kind for r in experiment.rows}
    assert experiment.targets
    assert experiment.published
    network = entry.build()
    for row in experiment.rows:
        if row.kind == SPARSE:
            settings = SparsitySettings(**row.settings)
            assert set(sparse_layers(network, settings.exempt)) <= set(convolutions(network))


def test_six_recipes_ship() -> None:
    assert experiment_names() == [
        "alexnet-cats-dogs", "face-parsing", "face-parsing-lips",
        "lenet-cifar10", "lenet-mnist", "vgg11-cifar10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("task", "regression", "task is 'regression'"),
        ("size", 0, "size is 0"),
        ("size", "28", "size is '28'"),
        ("labels", None, "'labels' is missing"),
        ("weights", "mine", "weights is 'mine'"),
        ("sise", 28, "unknown key 'sise'"),
        ("name", "x", "unknown key 'name'"),
        ("schedule", {}, "schedule.epochs is None"),
        ("finetune.epochs", 0, "finetune.epochs is 0"),
        ("rows", {}, "'rows' is no list of tables"),
        ("rows", [], "there must be one row of the kind 'baseline'"),
        ("rows.0.kind", "base", "row 'baseline' has the kind 'base'"),
        ("rows.0.of", "sparse", "row 'baseline' follows no row"),
        ("rows.1.name", "Sparse Row", "row has the name 'Sparse Row'"),
        ("rows.1.name", "baseline", "two rows are called 'baseline'"),
        ("rows.1.points", [], "row 'sparse' has no points"),
        ("rows.1.points.1.name", "few", "row 'sparse' has no points, or two of one name"),
        ("rows.1.points.0.gone", 1.5, "point.gone is 1.5"),
        ("rows.1.points.0.left", 3, "unknown key 'point.left'"),
        ("rows.1.points.0.choose", "last", "point.choose is 'last'"),
        ("rows.2.of", None, "row 'scratch' needs `of`"),
        ("rows.2.of", "sparse", "row 'scratch' names 'sparse'"),
        ("rows.2.of", "later", "names the row 'later', which is not there"),
        ("rows.2.points", [{"name": "a"}], "row 'scratch' has points"),
        ("targets.0.of", "sparse:none", "target names 'sparse:none'"),
        ("targets.0.error", "low", "target.error is 'low'"),
    ],
)
def test_bad_value_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(path, value)
    assert message in caught.value.message
    assert caught.value.hint


def test_unknown_names_get_near_ones() -> None:
    with pytest.raises(UsageError, match="unknown experiment 'lenet-mnits'") as caught:
        read_experiment("lenet-mnits")
    assert "did you mean lenet-mnist" in caught.value.hint
    with pytest.raises(UsageError, match="no row 'sparce'") as caught:
        parse_experiment("small", TABLE).row("sparce")
    assert "did you mean sparse" in caught.value.hint


def test_file_errors_name_the_file(tmp_path) -> None:
    path = tmp_path / "broken.toml"
    for content, words in (
        (b"a = ", "is not TOML"),
        (b"\xff", "is not UTF-8"),
        (b"task = 'x'", "is missing"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words) as caught:
            read_experiment(str(path))
        assert str(path) in caught.value.message
    with pytest.raises(UsageError, match="cannot be read"):
        read_experiment(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("description", "other words", True),
        ("caveat", "lossy", True),
        ("targets", [], True),
        ("schedule.epochs", 3, False),
        ("rows.1.settings.strength", 0.2, False),
        ("rows.1.points.0.gone", 0.3, False),
        ("rows.1.points.0.choose", "best", True),
        ("rows.1.points.0.choose", "first", False),
    ],
)
def test_identity_is_what_decides_the_results(path: str, value: Any, same: bool) -> None:
    before = parse_experiment("small", TABLE).identity()
    assert (parsed(path, value).identity() == before) == same
