"""What a thread waits for a core: that of a busy loop beside is seen, sleeping is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from toolchain.benchmarks.harness import waiting
from toolchain.benchmarks.harness.waiting import WaitClock


def test_sleeping_and_working_do_not_count_as_waiting():
    with WaitClock() as clock:
        waited, begin, used = clock.read(), time.perf_counter_ns(), time.thread_time_ns()
        time.sleep(0.02)
        while time.thread_time_ns() - used < 20_000_000:
            pass
        waited, elapsed = clock.read() - waited, time.perf_counter_ns() - begin
    assert 0 <= waited <= elapsed - 40_000_000 + 1_000_000


@pytest.fixture
def one_core() -> Iterator[None]:
    """One core for this process and its children, where the system lets us choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


def test_a_busy_loop_on_the_same_core_makes_it_wait(one_core):
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with WaitClock() as clock:
            begin, waited, used = time.perf_counter_ns(), clock.read(), time.thread_time_ns()
            while time.thread_time_ns() - used < 200_000_000:
                pass
            elapsed, waited = time.perf_counter_ns() - begin, clock.read() - waited
            known = clock.known
    finally:
        busy.kill()
        busy.wait()
    # What passed is what the thread worked and what it waited.
    assert waited == (pytest.approx(elapsed - 200_000_000, rel=0.1, abs=20_000_000) if known else 0)


def test_a_system_that_does_not_tell_is_known(monkeypatch):
    monkeypatch.setattr(waiting, "SCHEDSTAT", "/nowhere")
    with WaitClock() as clock:
        assert (clock.known, clock.read()) == (False, 0)
    clock.close()
