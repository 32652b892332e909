"""The app's core, compiled by the real compiler and compared with the Python engine's golden vectors."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from toolchain.benchmarks.harness.figures import stage_figures
from toolchain.benchmarks.harness.results import DEVICE, load_results
from toolchain.benchmarks.pipeline import STAGES

GOLDEN = "core/src/test/resources/golden"


@pytest.fixture(scope="module")
def golden_classpath(android, core, kotlinc, compiler) -> str:
    sources = sorted((android / "core/src/test/kotlin").rglob("*.kt"))
    classes = kotlinc("golden", sources, core, friend=core)
    return os.pathsep.join(map(str, (core, classes, compiler / "lib" / "kotlin-stdlib.jar")))


def compared(classpath: str, folder, *more) -> subprocess.CompletedProcess[str]:
    command = ["java", "-cp", classpath, "toolchain.face.GoldenMainKt", str(folder), *map(str, more)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_core_gives_all_golden_numbers(android, golden_classpath):
    """Floats to 1e-5, labels and quantized inputs exactly, pictures within the steps that a case allows."""
    done = compared(golden_classpath, android / GOLDEN)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {
        name: (int(same), int(cases))
        for name, same, cases in re.findall(r"^(\w+)\.json: (\d+) of (\d+) cases", done.stdout, re.MULTILINE)
    }
    files = {path.stem: len(json.loads(path.read_text())) for path in (android / GOLDEN).glob("*.json")}
    assert counts == {name: (cases, cases) for name, cases in files.items()}


@pytest.mark.parametrize(
    ("topic", "case", "change"),
    [
        (
            "region",
            "face_square square, margin 1.0",
            lambda expected: expected.update(x=99.5),
        ),
        ("statistics", "figures of two samples", lambda expected: expected.update(count=3)),
        ("sidecar", "of a later version", lambda expected: expected["refusal"]["mentions"].append("never")),
        ("held_box", "is_off the same", lambda expected: expected.update(off=True)),
    ],
)
def test_a_golden_number_that_differs_is_named(android, golden_classpath, tmp_path, topic, case, change):
    for path in (android / GOLDEN).glob("*.json"):
        cases = json.loads(path.read_text())
        if path.stem == topic:
            change(next(one for one in cases if one["name"] == case)["expected"])
        (tmp_path / path.name).write_text(json.dumps(cases))
    done = compared(golden_classpath, tmp_path)
    assert done.returncode == 1
    assert f"  {case}: " in done.stdout
    assert "1 golden cases differ" in done.stdout


def test_a_missing_golden_file_is_named(android, golden_classpath, tmp_path):
    for path in (android / GOLDEN).glob("*.json"):
        if path.stem != "unwarp":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    done = compared(golden_classpath, tmp_path)
    assert done.returncode == 2
    assert "unwarp" in done.stderr


def test_the_cores_report_is_read_by_the_toolchain_as_that_of_a_device(android, golden_classpath, tmp_path):
    compared(golden_classpath, android / GOLDEN, tmp_path / "times.json")
    results = load_results(tmp_path / "times.json")
    assert results.lane.where == DEVICE
    assert results.lane.details["thermal"] == {"before": "none", "after": "light"}
    assert set(stage_figures(results.entries[0])) == {*STAGES, "total"}


def test_the_core_needs_neither_android_nor_a_library(android):
    lines = {
        line
        for path in (android / "core/src/main").rglob("*.kt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("import ")
    }
    assert {line for line in lines if not re.match(r"import (kotlin|java\.nio)\.", line)} == set()
