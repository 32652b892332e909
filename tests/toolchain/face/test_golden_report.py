"""Golden reports of devices, read and shown by `toolchain benchmark report` beside those of a host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain.benchmarks.harness.host import host_results
from toolchain.benchmarks.harness.results import load_results, save_results
from toolchain.cli import run
from toolchain.errors import UsageError
from toolchain.face.golden_cases import decoded
from toolchain.face.golden_report import STAGES, TOTAL, report, report_cases, statistics_cases

REPORTS = [entry for entry in report_cases() if "refusal" not in entry["expected"]]
REFUSED = [entry for entry in report_cases() if "refusal" in entry["expected"]]


@pytest.fixture(params=REPORTS, ids=lambda entry: entry["name"])
def device_file(request, tmp_path: Path) -> Path:
    """The results file of an app."""
    path = tmp_path / "device.json"
    path.write_text(json.dumps(request.param["expected"]["report"]), encoding="utf-8")
    return path


def test_a_device_file_is_read_as_one(device_file: Path) -> None:
    results = load_results(device_file)
    assert results.lane.where == "device"
    assert not results.lane.emulated
    assert set(results.lane.details["thermal"]) == {"before", "after"}
    assert list(results.entries[0].samples) == [*STAGES, TOTAL]
    assert len(results.entries[0].samples[TOTAL]) == 12


@pytest.mark.parametrize("suffix", [".md", ".html"])
def test_it_is_shown_beside_a_host_and_labelled_as_device(
    device_file: Path, tmp_path: Path, suffix: str
) -> None:
    results = load_results(device_file)
    host = tmp_path / "host.json"
    save_results(host_results(results.kind, ["toolchain"], results.settings, results.entries), host)
    output = tmp_path / f"report{suffix}"
    assert run(["benchmark", "report", str(host), str(device_file), "-o", str(output)]) == 0
    text = output.read_text(encoding="utf-8")
    assert f"device: {results.lane.name}" in text
    assert "host: " in text


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry["name"])
def test_damaged_reports_are_refused(entry: dict, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    made = report(**decoded(entry["input"]))["report"]
    path.write_text(json.dumps(made), encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        load_results(path)
    assert all(word in str(refused.value) for word in entry["expected"]["refusal"]["mentions"])


def test_figures_of_few_samples() -> None:
    found = {entry["name"]: entry["expected"] for entry in statistics_cases()}
    assert found["figures of two samples"]["p90"] == 4.8
    assert found["figures of eight samples have no drift"]["drift"] is None
    assert found["figures of nine samples have"]["drift"] == 3.0
    assert found["figures of drift from zero is none"]["drift"] is None
    assert found["figures of a hundred and one"]["p99"] == 99.0
    assert "refusal" in found["figures of none"]
