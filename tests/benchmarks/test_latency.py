"""Interleaved latency on real files: the result, the inputs given, the outputs compared, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmarks.latency import largest_difference, main, measure, random_input
from toolchain.benchmarks.latency_processes import describe, measure_processes
from toolchain.benchmarks.statistics import summarize
from toolchain.errors import UnsupportedError, UsageError

QUICK = {"rounds": 6, "sample_ms": 0.2, "warmup_seconds": 0.2}


def test_two_files_are_measured_in_the_same_rounds(write_multiplication):
    paths = [write_multiplication("ours.tflite"), write_multiplication("peer.tflite", shape=(1, 64, 64, 32))]
    report = measure(paths, threads=1, **QUICK)
    assert [entry.path for entry in report.files] == paths
    for entry in report.files:
        assert len(entry.wall_ms) == len(entry.cpu_ms) == 6
        assert min(entry.wall_ms) > 0
        assert entry.wall == summarize(entry.wall_ms)
        assert entry.repeats >= 1
        assert entry.warmup_runs >= 5
    [comparison] = report.ratios
    assert comparison.path == paths[1]
    ours, peer = (np.array(entry.wall_ms) for entry in report.files)
    assert comparison.wall.median == pytest.approx(float(np.median(ours / peer)))
    assert comparison.wall.low <= comparison.wall.median <= comparison.wall.high
    assert comparison.wall.pairs == comparison.cpu.pairs == 6
    assert report.environment["versions"]["ai-edge-litert"]


def test_short_networks_are_invoked_several_times_a_sample(write_multiplication):
    path = write_multiplication("short.tflite")
    short = measure([path], rounds=1, sample_ms=0.0, warmup_seconds=0.1)
    long = measure([path], rounds=1, sample_ms=2.0, warmup_seconds=0.1)
    assert short.files[0].repeats == 1
    assert long.files[0].repeats > 1
    assert short.ratios == ()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"factor": 2.0}, 0.0),
        ({"factor": 2.0, "signed": False}, 0.0),
        ({"factor": -1.0}, 3.0),
        ({"shape": (1, 4, 4, 4)}, None),
    ],
)
def test_outputs_of_the_same_input_are_compared(other, difference, write_multiplication):
    first = write_multiplication("first.tflite", factor=2.0)
    report = measure([first, write_multiplication("other.tflite", **other)], **QUICK)
    largest_input = float(np.abs(random_input((1, 8, 8, 4), np.float32, seed=0)).max())
    assert report.files[0].difference == 0.0
    expected = None if difference is None else pytest.approx(difference * largest_input, rel=1e-5)
    assert report.files[1].difference == expected


def test_load_order_does_not_change_the_order_of_the_result(write_multiplication):
    paths = [write_multiplication("a.tflite", factor=2.0), write_multiplication("b.tflite", factor=5.0)]
    for seed in (0, 1):
        report = measure(paths, seed=seed, **QUICK)
        assert [entry.path for entry in report.files] == paths
        assert report.files[0].difference == 0.0
        assert report.files[1].difference > 1


def test_command_line_combines_processes_and_saves_what_it_prints(write_multiplication, tmp_path, capsys):
    paths = [str(write_multiplication("a.tflite")), str(write_multiplication("b.tflite", (1, 64, 64, 32)))]
    saved = tmp_path / "results" / "latency.json"
    options = ["--rounds", "3", "--warmup", "0.1", "--processes", "2", "--json", "--output", str(saved)]
    assert main([*paths, *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(saved.read_text(encoding="utf-8")) == printed
    assert [entry["path"] for entry in printed["files"]] == paths
    each = [run["ratios"][0]["wall"]["median"] for run in printed["runs"]]
    [ratio] = printed["ratios"]
    assert ratio["path"] == paths[1]
    assert ratio["wall"]["each"] == pytest.approx(each)
    assert ratio["wall"]["mean"] == pytest.approx(float(np.sqrt(each[0] * each[1])))
    assert printed["files"][0]["wall"]["count"] == 6
    lines = describe(printed).splitlines()
    assert len(lines) == 4
    assert f"{ratio['cpu']['mean']:.3f} [" in lines[3]


def test_a_refusal_in_a_fresh_process_keeps_message_hint_and_exit_code(tmp_path, capsys):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"not a flatbuffer")
    assert main([str(path), "--processes", "1"]) == UnsupportedError.exit_code
    shown = capsys.readouterr().err
    assert "LiteRT cannot run" in shown
    assert "hint: export the file again" in shown


def test_no_processes_are_refused(write_multiplication):
    with pytest.raises(UsageError, match="processes must be at least 1"):
        measure_processes([write_multiplication("a.tflite")], processes=0)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [(None, UsageError, "no file at"), (b"not a flatbuffer", UnsupportedError, "LiteRT cannot run")],
)
def test_unreadable_files_are_named(content, error, message, tmp_path):
    path = tmp_path / "bad.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        measure([path])
    assert "bad.tflite" in caught.value.message


@pytest.mark.parametrize("options", [{"rounds": 0}, {"threads": 0}])
def test_numbers_out_of_range_are_refused(options, write_multiplication):
    with pytest.raises(UsageError, match="must be at least 1"):
        measure([write_multiplication("a.tflite")], **options)


def test_no_files_are_refused():
    with pytest.raises(UsageError, match="no file"):
        measure([])


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from(["float32", "int8", "uint8", "int64"]),
)
def test_inputs_depend_on_shape_seed_and_occurrence_alone(sizes, dtype):
    shape = tuple(sizes)
    made = random_input(shape, dtype, seed=1)
    assert (made.shape, made.dtype) == (shape, np.dtype(dtype))
    assert np.array_equal(made, random_input(shape, dtype, seed=1))
    if dtype == "float32":
        assert np.abs(made).max() <= 1
        assert not np.array_equal(made, random_input(shape, dtype, seed=1, occurrence=1))
        assert not np.array_equal(made, random_input(shape, dtype, seed=2))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        ([np.inf], [np.inf], 0.0),
        ([], [], 0.0),
        ([1.0], [1.0, 2.0], None),
    ],
)
def test_largest_difference_of_known_outputs(left, right, expected):
    assert largest_difference([np.array(left)], [np.array(right)]) == expected
