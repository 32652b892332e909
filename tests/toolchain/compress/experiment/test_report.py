"""Report and table of an experiment, from results that are written by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolchain.compress.experiment.recipe import Experiment, parse_experiment
from toolchain.compress.experiment.report import make_report, spread
from toolchain.compress.experiment.results import RESULT, runs_of, write_json
from toolchain.compress.experiment.table import table

TASK: Any = SimpleNamespace(description="drawn digits", error_name="error, %", terms="research only")


def experiment(**target: Any) -> Experiment:
    return parse_experiment(
        "small",
        {
            "description": "by hand",
            "caveat": "lossy pictures",
            "task": "classification",
            "model": "lenet",
            "data": "mnist:FOLDER",
            "size": 28,
            "labels": 10,
            "schedule": {"epochs": 8, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.05}},
            "finetune": {"epochs": 4},
            "rows": [
                {"name": "baseline", "kind": "baseline"},
                {
                    "name": "sparse",
                    "kind": "sparse",
                    "points": [{"name": "few", "gone": 0.2}, {"name": "many", "gone": 0.9}],
                    "settings": {"strength": 0.5},
                },
            ],
            "targets": [{"text": "as good", "of": "sparse:few", "error": 0.1, "gone": 0.5, **target}],
            "published": ["0.9 %"],
        },
    )


def entry(error: float, gone: float, macs: int) -> dict[str, Any]:
    filters = {"a": round(20 * (1 - gone)), "b": round(50 * (1 - gone))}
    return {
        "epoch": 1, "validation_error": error + 1, "test": {"error": error}, "filters": filters, "gone": gone,
        "parameters": 1000, "multiply_adds": macs, "weights": "w",
    }  # fmt: skip


def results(folder: Path, made: Experiment, errors: dict[str, tuple[float, ...]]) -> list[Any]:
    """Two seeds of baseline and sparse; the point "many" was not reached."""
    runs = runs_of(made, folder, (0, 1))
    for run in runs:
        if run.row.name not in errors:
            continue
        error = errors[run.row.name][run.seed]
        points = {"all": entry(error, 0.0, 4000)}
        if run.row.name == "sparse":
            points = {"few": entry(error, 0.6, 1000), "many": {"reason": "not reached: at most 60.0 %"}}
        write_json(run.folder / RESULT, {"points": points})
    return runs


def test_spread_is_that_of_a_sample() -> None:
    assert spread([1.0, 2.0, 3.0]) == {
        "mean": 2.0,
        "deviation": 1.0,
        "lowest": 1.0,
        "highest": 3.0,
        "count": 3,
    }
    assert spread([4.0])["deviation"] is None


@pytest.mark.parametrize(
    ("target", "sparse", "reached"),
    [
        ({}, (1.1, 1.3), True),
        ({}, (1.1, 1.32), False),
        ({"gone": 0.61}, (1.0, 1.0), False),
        ({"fewer": 4.0}, (1.0, 1.0), True),
        ({"fewer": 4.1}, (1.0, 1.0), False),
        ({"faster": 1.5}, (1.0, 1.0), None),
        ({"faster": 1.5}, (9.0, 9.0), False),
    ],
)
def test_verdict_on_a_target(
    tmp_path: Path, target: dict[str, float], sparse: Any, reached: bool | None
) -> None:
    made = experiment(**target)
    runs = results(tmp_path, made, {"baseline": (1.0, 1.2), "sparse": sparse})
    [found] = make_report(made, TASK, runs, {}, None)["targets"]
    assert found["reached"] is reached
    assert found["found"]["error"] == pytest.approx(sum(sparse) / 2 - 1.1)
    assert found["found"]["fewer"] == 4.0


def test_latency_decides_where_it_is_required(tmp_path: Path) -> None:
    made = experiment(faster=1.5)
    runs = results(tmp_path, made, {"baseline": (1.0, 1.2), "sparse": (1.0, 1.2)})
    files = {
        label: {
            "seed": 0,
            **{p: {"file": f"{label}-{p}", "bytes": 2500, "error": 1.5} for p in ("fp32", "int8")},
            "packed": {"file": "x", "bytes": 800, "error": 1.25},
        }
        for label in ("baseline", "sparse:few")
    }
    measured = {
        f"{label}-{precision}": {"ms": ms, "faster": 1.0 if label == "baseline" else faster}
        for label, ms in (("baseline", 3.0), ("sparse:few", 1.0))
        for precision, faster in (("fp32", 1.49), ("int8", 3.0))
    }
    latency = {"files": measured, "runtime": "LiteRT 2", "threads": 1}
    report = make_report(made, TASK, runs, files, latency)
    assert report["targets"][0]["reached"] is False
    measured["sparse:few-fp32"]["faster"] = 1.51
    report = make_report(made, TASK, runs, files, latency)
    assert report["targets"][0]["reached"] is True
    [line] = [line for line in table(report).splitlines() if line.startswith("| sparse:few |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "sparse:few", "1.10 ± 0.14", "2.10 ± 0.14", "8 + 20", "60.0", "1,000", "0.00", "2.5 / 2.5 / 0.8",
        "1.50 / 1.25", "1.000 / 1.000", "1.51 / 3.00", "-",
    ]  # fmt: skip
    [base] = [line for line in table(report).splitlines() if line.startswith("| baseline |")]
    assert "| 1.00 / 1.00 |" in base


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    made = experiment()
    report = make_report(made, TASK, results(tmp_path, made, {"sparse": (1.0, 1.2)}), {}, None)
    text = table(report)
    rows = {entry["label"]: entry for entry in report["rows"]}
    assert rows["baseline"]["remarks"] == ["seed 0, 1 not finished"]
    assert rows["sparse:many"]["remarks"][0] == "seed 0: not reached: at most 60.0 %"
    assert report["targets"][0]["reached"] is None
    for words in (
        "8 epochs, batch 64, sgd at 0.05",
        "**lossy pictures**",
        "**research only**",
        "not measured",
        "lowest validation error of the epochs with at least 20 % of filters gone",
        "- 0.9 %",
    ):
        assert words in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    counts = {line.count("|") for line in lines[:5]}
    assert counts == {13}
