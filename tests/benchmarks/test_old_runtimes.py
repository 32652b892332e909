"""Outputs recorded on LiteRT and checked by the script that old runtimes run, here with LiteRT itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PEERS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check(*paths: Path) -> tuple[int, list[dict]]:
    done = run_script("run_on_interpreter.py", "--runtime", "ai_edge_litert", *paths)
    return done.returncode, json.loads(done.stdout)["files"]


@pytest.fixture
def recorded(write_multiplication) -> Path:
    path = write_multiplication("net.tflite", factor=3.0)
    done = run_script("record_outputs.py", path)
    assert done.returncode == 0, done.stderr
    return path


def change(path: Path, **arrays: np.ndarray) -> None:
    with np.load(path) as found:
        kept = {key: found[key] for key in found.files}
    np.savez(path, **{**kept, **{key.replace("_", ":"): value for key, value in arrays.items()}})


def test_record_holds_what_the_network_computes(recorded):
    with np.load(recorded.with_suffix(".npz")) as arrays:
        assert sorted(arrays.files) == ["input:x", "output:y"]
        assert np.allclose(arrays["output:y"], 3 * arrays["input:x"])
        assert np.ptp(arrays["input:x"]) > 1


def test_matching_outputs_pass_by_signature_and_by_index(recorded):
    status, [row] = check(recorded)
    assert status == 0
    assert row == {"file": "net.tflite", "by_signature": 0.0, "by_index": 0.0, "ok": True}


@pytest.mark.parametrize(("offset", "status"), [(2e-5, 0), (1e-3, 1), (np.nan, 1)])
def test_outputs_are_held_to_the_tolerance(offset, status, recorded):
    record = recorded.with_suffix(".npz")
    with np.load(record) as arrays:
        output = arrays["output:y"].copy()
    output.flat[0] += offset
    change(record, output_y=output)
    found, [row] = check(recorded)
    assert found == status
    assert row["ok"] is (status == 0)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"output_other": np.zeros(1, np.float32)}, "outputs are ['y'], expected ['other', 'y']"),
        ({"output_y": np.zeros((1, 2), np.float32)}, "'y' is float32(1, 8, 8, 4), expected float32(1, 2)"),
    ],
)
def test_other_outputs_than_expected_fail_with_a_reason(arrays, reason, recorded):
    change(recorded.with_suffix(".npz"), **arrays)
    status, [row] = check(recorded)
    assert status == 1
    assert row["reason"] == reason


def test_a_broken_file_does_not_hide_the_others(recorded, tmp_path):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"TFL3" * 8)
    broken.with_suffix(".npz").write_bytes(recorded.with_suffix(".npz").read_bytes())
    status, rows = check(broken, recorded)
    assert status == 1
    assert [row["ok"] for row in rows] == [False, True]
    assert rows[0]["reason"]
