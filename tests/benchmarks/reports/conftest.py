"""Results files made by hand, with known samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.benchmarks.harness.results import (
    BROWSER,
    EMULATOR,
    HOST,
    MODEL,
    PIPELINE,
    Entry,
    Lane,
    MeasuredFile,
    Results,
    save_results,
)
from toolchain.benchmarks.reports.measured import Measured, gather

FRAMES = 40
EVIL = "<script>alert(1)</script>|`x`\n**bold**"


def entry_of(name: str, samples: dict[str, list[float]], **changes: Any) -> Entry:
    """An entry with these samples, one a millisecond after the other."""
    at = np.cumsum([0.0, *samples["total"]])[:-1] / 1000
    values: dict[str, Any] = {
        "name": name, "runtime": "LiteRT 2.3.0, XNNPACK", "threads": 2, "file": None, "load_ms": 12.0,
        "first_ms": 34.0, "warmup_runs": 20, "steady": True, "repeats": 1, "samples": samples,
        "at_s": at.tolist(), "memory_mb": {"before": 100.0, "loaded": 110.0, "peak": 125.5},
    }  # fmt: skip
    return Entry(**{**values, **changes})


def file_of(name: str, precision: str = "fp32", size: int = 988_048, **parity: Any) -> MeasuredFile:
    """A file with the parity figures given."""
    return MeasuredFile(name, name[:1] * 64, size, "tflite", precision, "mobile-hourglass", parity or None)


def results_of(kind: str, where: str, name: str, entries: list[Entry], **changes: Any) -> Results:
    """Results with the least of an environment."""
    values: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00", "command": ["toolchain", "benchmark", "a file.tflite"],
        "machine": {"cpu": "A processor", "versions": {"torch": "2.9"}}, "settings": {"runs": 40, "seed": 0},
    }  # fmt: skip
    return Results(kind=kind, lane=Lane(where, name), entries=entries, **{**values, **changes})


def pipeline_samples() -> dict[str, list[float]]:
    """Frames whose detection runs in every tenth; the stages fill all but 0.01 ms of the total."""
    random = np.random.default_rng(0)
    stages = {
        "detection": np.where(np.arange(FRAMES) % 10 == 0, 7.25, 0.0),
        "crop": random.uniform(0.2, 0.4, FRAMES),
        "inference": random.uniform(8, 10, FRAMES),
        "unwarp": random.uniform(0.5, 0.6, FRAMES),
        "colorization": random.uniform(1, 1.2, FRAMES),
    }
    samples = {stage: values.round(6).tolist() for stage, values in stages.items()}
    return {
        **samples,
        "total": [round(sum(frame) + 0.01, 6) for frame in zip(*samples.values(), strict=True)],
    }


@pytest.fixture
def pipeline() -> Results:
    """One pipeline on the host."""
    entry = entry_of("whole app", pipeline_samples(), shares={"detected": 0.1})
    return results_of(PIPELINE, HOST, "Host processor", [entry])


@pytest.fixture
def models() -> Results:
    """Two files in common rounds on the host, the second twice as fast; with operators."""
    slow = np.random.default_rng(1).uniform(30, 40, FRAMES).round(6).tolist()
    operators = [
        {"name": f"node <{index}>", "op": "CONV_2D", "ms": 20.0 - index, "share": 0.04} for index in range(18)
    ]
    first = entry_of(
        "a.tflite",
        {"inference": slow, "total": slow},
        file=file_of(
            "a.tflite", sqnr_db="inf", agreement=1.0, samples=4, inputs="synthetic", reference="torch"
        ),
        operators=operators,
    )
    fast = [value / 2 for value in slow]
    second = entry_of(
        "b.tflite",
        {"inference": fast, "total": fast},
        file=file_of("b.tflite", "int8", 334_928, sqnr_db=36.25, agreement=0.9975),
        repeats=3,
        waited_ms=[value / 10 for value in fast],
    )
    return results_of(MODEL, HOST, "Host processor", [first, second], profile_note="each operator <alone>")


@pytest.fixture
def emulated() -> Results:
    """The same pipeline on an emulator, with times that are found nowhere else."""
    samples = {stage: [4321.125] * FRAMES for stage in ("inference", "total")}
    return results_of(PIPELINE, EMULATOR, "Emulated phone", [entry_of("whole app", samples)])


@pytest.fixture
def hostile() -> Results:
    """Names that are code elsewhere, from a browser, which left early."""
    entry = entry_of(
        EVIL,
        {"total": [30.0, 31.5, 29.0, 33.0]},
        runtime="LiteRT.js <img src=x onerror=alert(2)>",
        threads=None,
        file=file_of('"><b>.tflite', "", 1),
        partial="the tab was closed",
        memory_mb={},
    )
    return results_of(MODEL, BROWSER, "Browser & co", [entry], settings={"<i>": {"</style>": "'\"<u>"}})


@pytest.fixture
def all_results(models: Results, pipeline: Results, emulated: Results, hostile: Results) -> list[Results]:
    return [models, pipeline, emulated, hostile]


@pytest.fixture
def measured(all_results: list[Results]) -> list[Measured]:
    return gather([(f"{index}.json", results) for index, results in enumerate(all_results)])


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Results, str], Path]:
    """Writes a results file."""

    def save(results: Results, name: str) -> Path:
        save_results(results, tmp_path / name)
        return tmp_path / name

    return save
