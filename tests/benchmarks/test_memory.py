"""Memory figures follow what a process allocates, and only what this very process allocates."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from toolchain.benchmarks.memory import peak_megabytes

ALLOCATE = """
import json, sys
from toolchain.benchmarks.memory import peak_megabytes
before = peak_megabytes()
block = b"x" * int(sys.argv[1])
del block
print(json.dumps([before, peak_megabytes()]))
"""


def fresh_process(size: int) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATE, str(size)], capture_output=True, text=True, check=True
    )
    before, after = json.loads(done.stdout)
    return before, after


@pytest.mark.parametrize("megabytes", [50, 150])
def test_peak_grows_by_what_was_allocated_and_freed(megabytes):
    before, after = fresh_process(megabytes * 1_000_000)
    assert after - before == pytest.approx(megabytes, abs=8)


def test_peak_is_not_inherited_from_a_large_parent():
    block = np.ones(40_000_000)
    before, _ = fresh_process(0)
    assert peak_megabytes() > block.nbytes / 1e6 > before
