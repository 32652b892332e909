"""The built page in a real browser: its outputs are LiteRT's, and its console has no errors."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain.benchmarks.devices.web_browser import find_browser
from toolchain.benchmarks.harness.results import BROWSER, Results, load_results
from toolchain.cli import run

RUNS = 3
# Of a browser without GPU and NPU, which LiteRT.js looks for.
EXPECTED = ("No available adapters.", "Failed to create default WebGPU device", "WARNING: [npu_registry.cc")


@pytest.fixture
def logging_browser(tmp_path: Path) -> Path:
    """A program that starts Chromium and writes its console into console.txt beside."""
    found = find_browser()
    assert found, "install Chromium for the tests of pages"
    program = tmp_path / "browser"
    log = tmp_path / "console.txt"
    program.write_text(
        f'#!/bin/sh\nexec "{found}" --enable-logging=stderr --v=0 --no-sandbox "$@" 2> "{log}"\n',
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def measured(model: Path, browser: Path, folder: Path) -> Results:
    output = folder / "results.json"
    words = ["benchmark", "web", str(model), "--browser", str(browser), "--runs", str(RUNS)]
    assert run([*words, "--warmup", "0.2", "--output", str(output)]) == 0
    return load_results(output)


def check(results: Results, console: str) -> None:
    (entry,) = results.entries
    assert len(entry.samples["total"]) == RUNS
    assert all(sample > 0 for sample in entry.samples["total"])
    assert entry.partial is None
    assert entry.runtime.startswith("LiteRT.js")
    assert results.lane.where == BROWSER
    details = results.lane.details
    assert details["cross_origin_isolated"] is True
    assert details["outputs_against_litert"]["max_abs"] < 1e-4
    said = re.findall(r"CONSOLE[^]]*\] \"(.*?)\", source", console)
    assert said
    assert [line for line in said if not line.startswith(EXPECTED)] == []


def test_a_small_network(
    write_multiplication: Callable[..., Path],
    logging_browser: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_multiplication("net.tflite", (1, 64, 64, 8), 1.7)
    results = measured(model, logging_browser, tmp_path)
    check(results, (tmp_path / "console.txt").read_text(errors="replace"))
    assert "outputs differ from LiteRT's" in capsys.readouterr().out
    # Too short for one tick of the clock, so that a sample is a mean.
    assert results.entries[0].repeats > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"), [("mobile-hourglass", "fp32"), ("mobile-hourglass-light", "int8")]
)
def test_face_parsers(logging_browser: Path, tmp_path: Path, name: str, precision: str) -> None:
    assert run(["export", name, "-f", "tflite", "-p", precision, "-o", str(tmp_path)]) == 0
    results = measured(tmp_path / f"{name}-{precision}.tflite", logging_browser, tmp_path)
    check(results, (tmp_path / "console.txt").read_text(errors="replace"))
    assert results.entries[0].file.precision == precision


def test_profiles_of_the_browser_are_removed(
    write_multiplication: Callable[..., Path],
    logging_browser: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    measured(write_multiplication("net.tflite"), logging_browser, tmp_path)
    assert list(folder.glob("toolchain-*")) == []
    shutil.rmtree(folder)
