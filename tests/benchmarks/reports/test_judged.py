"""Accuracy in a report is that of an evaluation of the very files that were measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from toolchain import evaluate as evaluation
from toolchain import export
from toolchain.benchmarks.harness.files import measured_file
from toolchain.benchmarks.harness.results import Results
from toolchain.benchmarks.reports import charts, judged
from toolchain.benchmarks.reports.fact_tables import file_table
from toolchain.benchmarks.reports.judged import with_judgements
from toolchain.benchmarks.reports.measured import Measured, gather
from toolchain.cli.benchmark_report import benchmark_report
from toolchain.errors import UsageError

Save = Callable[[Results, str], Path]
DATA = {"pictures": 20, "description": "drawn faces", "split": "val"}


def written(folder: Path, figures: dict[str | None, Any], name: str = "faces.json", **changes: Any) -> Path:
    """An evaluation with overall F1 by hash."""
    content: dict[str, Any] = {
        "version": evaluation.VERSION,
        "data": DATA,
        "previous": "none",
        "artifacts": [{"sha256": sha256, "overall_f1": f1} for sha256, f1 in figures.items()],
    }
    path = folder / name
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def test_the_version_is_that_of_the_evaluation() -> None:
    assert judged.VERSION == evaluation.VERSION


def test_figures_go_to_the_files_with_the_same_hash(measured: list[Measured], tmp_path: Path) -> None:
    path = written(tmp_path, {"a" * 64: 91.69, None: 80.0, "0" * 64: 1.0})
    found = {one.label: one.judged for one in with_judgements(measured, [path])}
    known = {label: entry for label, entry in found.items() if entry is not None}
    assert set(known) == {one.label for one in measured if one.entry.file and one.entry.file.sha256[0] == "a"}
    text = "20 pictures of drawn faces, val, previous mask: none (faces.json)"
    assert {(entry.overall_f1, entry.text) for entry in known.values()} == {(91.69, text)}


def test_a_report_shows_them_first(models: Results, tmp_path: Path) -> None:
    path = written(tmp_path, {"a" * 64: 91.69, "b" * 64: 91.5})
    measured = with_judgements(gather([("m.json", models)]), [path])
    table = file_table(measured)
    column = list(table.columns).index("overall F1, %")
    assert {row[0]: row[column] for row in table.rows} == {"a.tflite": "91.69", "b.tflite": "91.50"}
    assert any("Overall F1 is that of 20 pictures of drawn faces" in note for note in table.notes)
    shown = charts.scatter(measured)
    assert shown is not None
    assert shown.name == "overall F1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "of version 99"),
        ({"artifacts": [{"sha256": "a" * 64, "overall_f1": "high"}]}, "overall F1 of 'high'"),
        ({"artifacts": [{"sha256": "a" * 64, "overall_f1": float("nan")}]}, "overall F1 of nan"),
        ({"artifacts": [{"overall_f1": 91.0}]}, "no evaluation"),
        ({"artifacts": 3}, "no evaluation"),
        ({"data": []}, "no evaluation"),
    ],
)
def test_what_is_no_evaluation_is_refused(
    measured: list[Measured], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        with_judgements(measured, [written(tmp_path, {}, **changes)])


@pytest.mark.parametrize(("content", "message"), [("{", "no JSON"), ("[]", "no evaluation")])
def test_damaged_files_are_refused(
    measured: list[Measured], tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "faces.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        with_judgements(measured, [path])
    with pytest.raises(UsageError, match="cannot be read"):
        with_judgements(measured, [tmp_path / "absent.json"])


def test_an_evaluation_of_other_files_is_refused(measured: list[Measured], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="judges none of the measured files"):
        with_judgements(measured, [written(tmp_path, {"0" * 64: 90.0})])


def test_evaluations_that_contradict_each_other_are_refused(measured: list[Measured], tmp_path: Path) -> None:
    paths = [written(tmp_path, {"a" * 64: f1}, f"{f1}.json") for f1 in (90.0, 91.0)]
    with pytest.raises(UsageError, match=r"90\.0 on .* of 91\.0 on"):
        with_judgements(measured, paths)


def test_from_the_evaluation_of_a_real_file(models: Results, saved: Save, tmp_path: Path) -> None:
    artifact = export("mobile-hourglass-light", formats=["tflite"], precisions=["fp32"], output=tmp_path)[0]
    made = evaluation.evaluate([artifact.path], "drawn:2", baseline="mobile-hourglass-light").as_json()
    assert [entry["sha256"] for entry in made["artifacts"]] == [None, artifact.sha256]
    (tmp_path / "faces.json").write_text(json.dumps(made))
    entry = replace(models.entries[0], file=measured_file(artifact.path))
    results = saved(replace(models, entries=[entry]), "a.json")

    app = typer.Typer(add_completion=False)
    app.command()(benchmark_report)
    arguments = [str(results), "--accuracy", str(tmp_path / "faces.json"), "-o"]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "r.md")], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"{made['artifacts'][1]['overall_f1']:.2f}" in (tmp_path / "r.md").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="a trace holds no accuracy"):
        CliRunner().invoke(app, [*arguments, str(tmp_path / "trace.json")], catch_exceptions=False)
