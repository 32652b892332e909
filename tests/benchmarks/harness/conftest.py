"""Contenders whose time is known: they move a clock of their own, which the harness reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from toolchain.benchmarks.harness import measure as measure_module
from toolchain.benchmarks.harness import waiting
from toolchain.benchmarks.harness.results import Entry


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0

    def perf_counter_ns(self) -> int:
        return self.now

    def perf_counter(self) -> float:
        return self.now / 1e9

    def pass_ms(self, milliseconds: float) -> None:
        self.now += round(milliseconds * 1e6)


@dataclass
class Scripted:
    """Takes the milliseconds that it is told, one value after the other, the last one for ever."""

    name: str
    clock: Clock
    stages: list[dict[str, float]]
    load_ms: float = 0.0
    fails_at: int | None = None
    calls: list[str] = field(default_factory=list)
    runs: int = 0

    def load(self) -> None:
        self.calls.append("load")
        self.clock.pass_ms(self.load_ms)

    def run(self) -> dict[str, float]:
        if self.runs == self.fails_at:
            raise RuntimeError("the camera\nwent away")
        found = self.stages[min(self.runs, len(self.stages) - 1)]
        self.runs += 1
        self.calls.append("run")
        self.clock.pass_ms(sum(found.values()))
        return found

    def close(self) -> None:
        self.calls.append("close")


Maker = Callable[..., Scripted]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of the harness and of the scripted contenders."""
    made = Clock()
    monkeypatch.setattr(measure_module, "time", made)
    monkeypatch.setattr(waiting, "SCHEDSTAT", "/nowhere")
    return made


@pytest.fixture
def scripted(clock: Clock) -> Maker:
    """Function (name, milliseconds or stages or a list of them, **options) -> contender."""

    def make(name: str, times: float | dict[str, float] | list[float], **options: object) -> Scripted:
        listed = times if isinstance(times, list) else [times]
        stages = [one if isinstance(one, dict) else {"inference": one} for one in listed]
        return Scripted(name, clock, stages, **options)

    return make


def entry_of(totals: list[float], name: str = "net", **changes: object) -> Entry:
    """An entry with these samples of "total" and "inference"."""
    values = {
        "name": name,
        "runtime": "LiteRT 2.3.0, XNNPACK",
        "threads": 1,
        "file": None,
        "load_ms": 4.0,
        "first_ms": 3.0,
        "warmup_runs": 15,
        "steady": True,
        "repeats": 1,
        "samples": {"inference": list(totals), "total": list(totals)},
        "at_s": [float(index) for index in range(len(totals))],
        **changes,
    }
    return Entry(**values)


@pytest.fixture
def make_entry() -> Callable[..., Entry]:
    """Function (totals, name, **fields) -> entry."""
    return entry_of
