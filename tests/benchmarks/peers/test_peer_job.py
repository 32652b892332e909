"""One conversion in a process of its own: stages, imports, and failures that become results."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[3] / "benchmarks" / "peers" / "peer_job.py"


@pytest.fixture(scope="module")
def peer_job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peer_job", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def job(peer_job: ModuleType, tmp_path: Path):
    missing = tmp_path / "missing"
    return peer_job.Job("net", "fp32", missing, missing, missing, tmp_path / "made" / "net.tflite")


def write(job, clock) -> None:
    with clock("convert"):
        job.output.write_bytes(b"file")


def test_a_stage_within_another_counts_once(peer_job: ModuleType) -> None:
    clock = peer_job.Clock()
    start = time.perf_counter()
    with clock("convert"):
        time.sleep(0.02)
        with clock("quantize"):
            time.sleep(0.03)
            clock.within("export", time.sleep)(0.04)
    whole = time.perf_counter() - start
    assert clock.seconds["convert"] >= 0.02
    assert clock.seconds["quantize"] >= 0.03
    assert clock.seconds["export"] >= 0.04
    assert sum(clock.seconds.values()) == pytest.approx(whole, abs=0.005)


def test_processor_time_is_that_of_work_and_not_of_sleep(peer_job: ModuleType) -> None:
    clock = peer_job.Clock()
    with clock("convert"):
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
    with clock("quantize"):
        time.sleep(0.05)
    assert clock.cpu_seconds["convert"] >= 0.05
    assert clock.cpu_seconds["quantize"] < 0.04


def test_imports_within_a_stage_are_counted_apart(
    peer_job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(0.05)")
    monkeypatch.syspath_prepend(tmp_path)
    clock = peer_job.Clock()
    with peer_job.imports_apart(clock), clock("convert"):
        import slow_to_import  # noqa: F401
    assert clock.seconds["import"] >= 0.05
    assert clock.seconds["convert"] < 0.04


def test_a_written_file_is_a_success(peer_job: ModuleType, job) -> None:
    result = peer_job.do(job, write, ["numpy", "no-such-package"])
    assert result["ok"]
    assert result["error"] is None
    assert job.output.read_bytes() == b"file"
    assert set(result["seconds"]) >= {"convert"}
    assert 0 < result["baseline_megabytes"] <= result["peak_megabytes"]
    assert result["versions"]["numpy"]
    assert result["versions"]["no-such-package"] is None


def fail(_job, clock) -> None:
    with clock("convert"):
        raise ValueError("no lowering\n  for Foo")


def leave(_job, _clock) -> None:
    sys.exit(3)


def do_nothing(_job, _clock) -> None:
    return None


@pytest.mark.parametrize(
    ("convert", "error"),
    [
        (fail, "ValueError: no lowering for Foo"),
        (leave, "SystemExit: 3"),
        (do_nothing, "the tool ended without an error and wrote no file"),
    ],
)
def test_a_failure_is_a_result(peer_job: ModuleType, job, convert, error: str) -> None:
    result = peer_job.do(job, convert, [])
    assert (result["ok"], result["offered"], result["error"]) == (False, True, error)


def test_what_a_tool_does_not_offer_is_told_apart_from_a_failure(peer_job: ModuleType, job) -> None:
    def refuse(_job, _clock) -> None:
        raise peer_job.NotOfferedError("fp16 and fp32 only")

    result = peer_job.do(job, refuse, [])
    assert (result["ok"], result["offered"], result["error"]) == (False, False, "fp16 and fp32 only")
