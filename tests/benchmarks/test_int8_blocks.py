"""The benchmark of slow blocks, the operator profile and the cost of a command, each on something small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from toolchain.benchmarks import quantization_cost
from toolchain.benchmarks.int8_blocks import measure, write_files
from toolchain.benchmarks.int8_networks import NETWORKS, network
from toolchain.benchmarks.operator_profile import profile
from toolchain.benchmarks.quantization_cost import cost_of
from toolchain.errors import ToolchainError, UsageError
from toolchain.inspection import inspect_file


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_keep_their_weights_and_run(name: str) -> None:
    (module, shape), (again, _) = network(name), network(name)
    x = torch.randn(shape)
    with torch.no_grad():
        y = module(x)
        assert torch.equal(y, again(x))
    assert torch.isfinite(y).all()
    assert float(y.std()) > 0.01


def test_the_report_of_one_network() -> None:
    report = measure(["relu6"], processes=1, rounds=1, warmup_seconds=0.05)
    [entry] = report["networks"].values()
    assert entry["refused"] == []
    # Which of the two is faster depends on the processor.
    assert entry["integer"].get("DEPTHWISE_CONV_2D") == 3 or "DEPTHWISE_CONV_2D" in entry["floats"]
    assert entry["minimum"] == pytest.approx(entry["int8_ms"] / entry["float_ms"], abs=1e-3)
    assert report["geometric_mean"] == pytest.approx(report["largest"], abs=1e-3)
    assert entry["slowest"]["int8"][0]["share"] > 0.1


def test_the_profile_covers_every_operator(tmp_path: Path) -> None:
    written = write_files("relu6", tmp_path)
    rows = profile(written.auto, rounds=1)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["op"]] = counts.get(row["op"], 0) + row["count"]
        assert row["microseconds"] > 0
    assert counts == inspect_file(written.auto).ops
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=0.01)
    costs = [row["share"] for row in rows]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("names", "message"), [(["relu7"], "unknown network 'relu7'"), ([], "unknown network")]
)
def test_unknown_networks_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(names)


def test_memory_and_time_of_a_command_are_its_own() -> None:
    small = cost_of([sys.executable, "-c", "import time; time.sleep(0.3)"])
    large = cost_of([sys.executable, "-c", "import time; x = b'1' * 80_000_000; time.sleep(0.3)"])
    assert 0.3 <= small.seconds < 30
    assert small.peak_megabytes is not None
    assert large.peak_megabytes is not None
    assert large.peak_megabytes - small.peak_megabytes == pytest.approx(80, abs=10)


def test_a_failed_command_is_named() -> None:
    with pytest.raises(ToolchainError, match="no luck"):
        cost_of([sys.executable, "-c", "import sys; sys.exit('error: no luck')"])


@pytest.mark.parametrize(
    ("counts", "message"), [((1, 2), "holds 0 pictures"), ((3,), "two different"), ((0, 2), "at least 1")]
)
def test_too_few_pictures_or_counts(counts: tuple[int, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        quantization_cost.measure("lenet", tmp_path, counts)


def test_growth_is_per_added_picture() -> None:
    runs = [{"pictures": 10, "peak_megabytes": 300.0}, {"pictures": 100, "peak_megabytes": 345.0}]
    assert quantization_cost._growth(runs) == 0.5
