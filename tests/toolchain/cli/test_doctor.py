"""`toolchain doctor`: what runs here, and what it says when something is missing."""

from __future__ import annotations

import importlib.util
import json
import platform

import pytest
import torch

from toolchain.cli import doctor, run
from toolchain.errors import ToolchainError


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else find(name, *rest)
    )


def test_json_says_that_this_computer_is_ready(capsys) -> None:
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] is True
    assert report["platform"] == platform.platform()
    checks = {check["what"]: check for check in report["checks"]}
    assert checks["PyTorch networks"]["detail"] == f"torch {torch.__version__}"
    assert checks["face detector"]["detail"].endswith(".xml")
    assert all(check["works"] for check in report["checks"] if check["required"])


def test_table_has_one_line_for_each_check(capsys) -> None:
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "processors" in lines[0]
    assert len(lines) == 2 + 1 + len(doctor.CHECKS) + len(doctor.PROBES)
    assert not any("MISSING" in line for line in lines)


def test_missing_package_exits_with_6_and_says_how_to_get_it(without_onnxruntime, capsys) -> None:
    assert run(["doctor"]) == 6
    captured = capsys.readouterr()
    [line] = [line for line in captured.out.splitlines() if line.startswith("run .onnx")]
    assert "MISSING" in line
    assert "pip install onnxruntime" in line
    assert captured.err.startswith("error: needed and not working: run .onnx\nhint: ")


def test_missing_package_leaves_the_json_whole(without_onnxruntime, capsys) -> None:
    assert run(["doctor", "--json"]) == 6
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] is False
    assert [check["what"] for check in report["checks"] if check["required"] and not check["works"]] == [
        "run .onnx"
    ]


@pytest.mark.parametrize("required", [True, False])
def test_library_that_does_not_load_is_reported(
    required: bool, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def probe() -> tuple[bool, str]:
        raise ImportError("libstrange.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "PROBES", (("strange library", required, probe),))
    assert run(["doctor"]) == (6 if required else 0)
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("strange library")]
    assert "libstrange.so" in line
    assert ("MISSING" in line) == required


def test_face_detector_without_its_cascade_says_why(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def missing() -> None:
        raise ToolchainError("no cascade", "install opencv-python below 5")

    monkeypatch.setattr("toolchain.face.detector.cascade_path", missing)
    assert run(["doctor"]) == 6
    assert "install opencv-python below 5" in capsys.readouterr().out
