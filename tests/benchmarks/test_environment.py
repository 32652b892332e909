"""The description of the computer, on made-up systems and on this one."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np
import pytest

from toolchain.benchmarks import environment as module
from toolchain.benchmarks.environment import cpu_model, environment, instruction_sets, usable_cores

X86 = (
    "processor : 0\nmodel name : Some CPU 3.0 GHz\nflags : fpu avx2 fma avx512f\n\nprocessor : 1\nflags : x\n"
)
ARM = "processor : 0\nFeatures : fp asimd asimddp crc32\n\nHardware : Some Board\n"


@pytest.mark.parametrize(
    ("text", "model", "sets"),
    [
        (X86, "Some CPU 3.0 GHz", ["avx2", "fma", "avx512f"]),
        (ARM, "Some Board", ["asimd", "asimddp"]),
        ("", platform.processor() or platform.machine(), []),
    ],
)
def test_processor_is_read_from_cpuinfo(text, model, sets, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(module, "CPUINFO", path)
    assert cpu_model() == model
    assert instruction_sets() == sets


def test_missing_cpuinfo_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "none")
    assert cpu_model() == (platform.processor() or platform.machine())


def test_versions_are_those_that_run_here():
    found = environment(["numpy", "no-such-distribution"])
    assert found["versions"] == {"numpy": np.__version__, "no-such-distribution": None}
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_cores_fit_each_other():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert environment([])["usable_cores"] == usable_cores()
