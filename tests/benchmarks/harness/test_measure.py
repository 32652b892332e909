"""The harness on contenders whose times are known exactly, and once on real sleeps under load."""

from __future__ import annotations

import gc
import mmap
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest

from toolchain.benchmarks.harness import measure as measure_module
from toolchain.benchmarks.harness.figures import ratio
from toolchain.benchmarks.harness.measure import Options, measure
from toolchain.errors import UnsupportedError, UsageError

BRIEF = Options(min_runs=5, min_seconds=0.0, warmup_seconds=1.0, sample_ms=0.0)


def test_loading_first_run_and_samples_are_told_apart(scripted):
    contender = scripted("net", [90.0, 20.0, 20.0, 10.0], load_ms=700.0)
    [found] = measure([contender], BRIEF)
    assert (found.load_ms, found.first_ms) == (700.0, 90.0)
    assert found.samples == {"inference": [10.0] * 5, "total": [10.0] * 5}
    assert found.at_s == pytest.approx([0.0, 0.01, 0.02, 0.03, 0.04])
    assert found.partial is None
    assert found.repeats == 1
    assert contender.calls[0] == "load"
    assert contender.calls.count("close") == 1
    assert contender.calls[-1] == "close"


def test_warm_up_ends_when_three_blocks_agree(scripted):
    # Blocks of five runs: medians 40, 30, 20, 20, 20.
    times = [99.0] + [40.0] * 5 + [30.0] * 5 + [20.0]
    [found] = measure([scripted("net", times)], BRIEF)
    assert (found.steady, found.warmup_runs) == (True, 25)


def test_a_time_that_never_settles_is_marked_when_the_warm_up_is_over(scripted):
    times = [float(value) for value in np.geomspace(10, 1000, 60)]
    [found] = measure([scripted("net", times)], BRIEF)
    assert not found.steady
    assert 0 < found.warmup_runs < 60
    assert len(found.samples["total"]) == 5


def test_no_time_for_warming_up_still_runs_once(scripted):
    [found] = measure([scripted("net", 10.0)], Options(3, 0.0, warmup_seconds=0.0))
    assert (found.warmup_runs, found.steady) == (1, False)


@pytest.mark.parametrize(
    ("options", "samples"),
    [
        (Options(min_runs=7, min_seconds=0.0), 7),
        (Options(min_runs=1, min_seconds=0.5), 50),
        (Options(min_runs=60, min_seconds=0.5), 60),
    ],
)
def test_rounds_go_on_until_both_minima_are_reached(options, samples, scripted):
    [found] = measure([scripted("net", 10.0)], options)
    assert len(found.samples["total"]) == samples
    assert found.partial is None


def test_the_longest_time_ends_the_rounds_and_marks_what_is_missing(scripted):
    options = Options(min_runs=100, min_seconds=0.0, max_seconds=0.1)
    [found] = measure([scripted("net", 10.0)], options)
    assert len(found.samples["total"]) == 10
    assert found.partial == "stopped after 0.1 s with 10 of 100 runs"


def test_short_runs_are_repeated_and_a_sample_is_their_mean(scripted):
    # Of what follows the first run and three blocks: means of (0.1, 0.3, 0.2, 0.2) and (0.2, 0.2, 0.2, 0.6).
    times = [0.25] * 751 + [0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.6]
    [found] = measure([scripted("net", times)], Options(min_runs=2, min_seconds=0.0, sample_ms=1.0))
    assert (found.warmup_runs, found.repeats) == (600, 4)
    [found] = measure([scripted("net", times[150:])], Options(min_runs=2, min_seconds=0.0, sample_ms=1.0))
    assert found.samples["total"] == pytest.approx([0.2, 0.3])
    assert found.samples["inference"] == pytest.approx([0.2, 0.3])


def test_stages_keep_their_order_and_total_is_what_passed_around_them(scripted):
    contender = scripted("pipeline", {"detection": 7.0, "inference": 30.0, "colorization": 2.0})
    [found] = measure([contender], BRIEF)
    assert list(found.samples) == ["detection", "inference", "colorization", "total"]
    assert [values[0] for values in found.samples.values()] == [7.0, 30.0, 2.0, 39.0]


def test_every_round_has_every_contender_and_the_next_one_reverses_it(scripted, clock, monkeypatch):
    contenders = [scripted(name, 10.0) for name in "abcd"]
    found = measure(contenders, Options(min_runs=6, min_seconds=0.0))
    begins = sorted((at, one.name) for one in found for at in one.at_s)
    order = [name for _, name in begins]
    rounds = ["".join(order[index : index + 4]) for index in range(0, 24, 4)]
    assert all(sorted(one) == list("abcd") for one in rounds)
    assert [rounds[1], rounds[3], rounds[5]] == [rounds[0][::-1], rounds[2][::-1], rounds[4][::-1]]
    assert len(set(rounds[::2])) > 1


def test_a_slower_computer_changes_all_contenders_and_no_ratio(scripted, clock):
    class Throttled:
        """Everything takes twice as long from the second half on."""

        def __init__(self, name: str, milliseconds: float) -> None:
            self.name, self.milliseconds = name, milliseconds

        def load(self) -> None: ...

        def run(self) -> dict[str, float]:
            spent = self.milliseconds * (2 if clock.now > 2_000_000_000 else 1)
            clock.pass_ms(spent)
            return {"inference": spent}

        def close(self) -> None: ...

    measured = measure([Throttled("a", 5.0), Throttled("b", 6.0)], Options(300, 0.0))
    first, second = (one.as_entry("test", 1) for one in measured)
    assert max(first.samples["total"]) == 2 * min(first.samples["total"])
    found = ratio(second, first)
    assert (found.median, found.low, found.high) == pytest.approx((1.2, 1.2, 1.2))


def test_one_that_fails_in_the_middle_keeps_its_samples_and_the_others_go_on(scripted):
    healthy, failing = scripted("healthy", 10.0), scripted("failing", 10.0, fails_at=20)
    found = measure([healthy, failing], BRIEF)
    assert [len(one.samples["total"]) for one in found] == [5, 3]
    assert found[0].partial is None
    assert found[1].partial == "failed after 3 samples: the camera went away"
    assert {len(values) for values in found[1].samples.values()} == {3}
    assert [one.calls.count("close") for one in (healthy, failing)] == [1, 1]


@pytest.mark.parametrize("fails_at", [0, 3, 17])
def test_a_failure_before_the_first_sample_is_raised_and_all_are_closed(fails_at, scripted):
    contenders = [scripted("healthy", 10.0), scripted("failing", 10.0, fails_at=fails_at)]
    with pytest.raises(RuntimeError, match="went away"):
        measure(contenders, BRIEF)
    assert [one.calls.count("close") for one in contenders] == [1, 1]


def test_the_message_of_a_known_error_is_kept(scripted):
    contender = scripted("device", 10.0)
    healthy_run = contender.run

    def run() -> dict[str, float]:
        if contender.runs == 20:
            raise UnsupportedError("the device is gone", "plug it in")
        return healthy_run()

    contender.run = run
    [found] = measure([contender], BRIEF)
    assert found.partial == "failed after 4 samples: the device is gone"


def test_stages_that_change_are_refused(scripted):
    contender = scripted("odd", [{"a": 1.0}, {"a": 1.0, "b": 1.0}])
    with pytest.raises(ValueError, match="'odd' changed its stages: a, b"):
        measure([contender], BRIEF)


def test_total_is_the_harness_own_stage(scripted):
    with pytest.raises(ValueError, match="'odd' reports 'total'"):
        measure([scripted("odd", {"total": 1.0})], BRIEF)


def test_garbage_is_collected_before_and_after_but_not_between(scripted):
    contender = scripted("net", 10.0)
    seen = []
    run = contender.run
    contender.run = lambda: seen.append(gc.isenabled()) or run()
    measure([contender], BRIEF)
    assert gc.isenabled()
    # The first run belongs to no sample.
    assert seen[0]
    assert not any(seen[1:])


def test_odd_seeds_load_in_reverse(scripted):
    for seed, expected in ((0, ["a", "b"]), (1, ["b", "a"])):
        told: list[str] = []
        contenders = [scripted("a", 10.0), scripted("b", 10.0)]
        measured = measure(contenders, Options(2, 0.0, seed=seed), told.append)
        assert [stage.split()[-1] for stage in told if stage.startswith("loading")] == expected
        assert [one.name for one in measured] == ["a", "b"]


def fresh_pages(megabytes: int) -> mmap.mmap:
    """Memory that the process did not have before: malloc may give what it has freed and kept."""
    pages = mmap.mmap(-1, megabytes * 1_000_000)
    np.frombuffer(pages, np.uint8)[:] = 1
    return pages


def test_memory_of_a_contender_is_its_own():
    class Holder:
        def __init__(self, name: str, megabytes: int) -> None:
            self.name, self.megabytes, self.held = name, megabytes, None

        def load(self) -> None:
            self.held = fresh_pages(self.megabytes)

        def run(self) -> dict[str, float]:
            return {"inference": float(fresh_pages(4 * self.megabytes)[0])}

        def close(self) -> None:
            self.held = None

    large, small = measure([Holder("large", 40), Holder("small", 10)], Options(2, 0.0, 0.0))
    for found, megabytes in ((large, 40), (small, 10)):
        assert found.memory_mb["loaded"] - found.memory_mb["before"] == pytest.approx(megabytes, abs=3)
        if "peak" in found.memory_mb:
            own = found.memory_mb["peak"] - found.memory_mb["before"]
            assert own == pytest.approx(5 * megabytes, abs=10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_runs": 0}, "runs must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"min_seconds": -1.0}, "seconds must be at least 0"),
        ({"min_seconds": float("nan")}, "seconds must be at least 0"),
        ({"warmup_seconds": float("inf")}, "warm-up must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"min_seconds": 5.0, "max_seconds": 4.0}, "cannot hold the least 5 s"),
        ({"max_seconds": float("nan")}, "cannot hold"),
    ],
)
def test_options_out_of_range_are_refused(changes, message, scripted):
    with pytest.raises(UsageError, match=message):
        measure([scripted("net", 1.0)], Options(**changes))


def test_no_contenders_and_equal_names_are_refused(scripted):
    with pytest.raises(UsageError, match="nothing to measure"):
        measure([], BRIEF)
    with pytest.raises(UsageError, match="share a name: net, net"):
        measure([scripted("net", 1.0), scripted("net", 1.0)], BRIEF)


@dataclass
class Sleeper:
    """A runtime that sleeps."""

    name: str
    milliseconds: float

    def load(self) -> None: ...

    def run(self) -> dict[str, float]:
        begin = time.perf_counter()
        time.sleep(self.milliseconds / 1000)
        return {"inference": (time.perf_counter() - begin) * 1000}

    def close(self) -> None: ...


def test_sleeps_of_5_and_5_5_ms_under_load_have_a_ratio_of_1_10():
    """The sleeps come back late by 0.06 ms, and by what others hold the cores, which is taken off."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        options = Options(min_runs=100, min_seconds=0.0, warmup_seconds=0.5)
        measured = measure([Sleeper("5.0", 5.0), Sleeper("5.5", 5.5)], options)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    first, second = (one.as_entry("sleep", 1) for one in measured)
    found = ratio(second, first)
    assert found.median == pytest.approx(1.10, abs=0.02)
    assert found.pairs == 100


def test_the_harness_adds_microseconds_to_a_run():
    class Nothing:
        name = "nothing"

        def load(self) -> None: ...

        def run(self) -> dict[str, float]:
            return {"inference": 0.0}

        def close(self) -> None: ...

    [found] = measure([Nothing()], Options(20, 0.0, 0.1))
    assert float(np.median(found.samples["total"])) < 0.01
    assert measure_module.MS == 1e-6
