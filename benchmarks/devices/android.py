"""Latency of a .tflite file on an Android device, with TensorFlow Lite's benchmark_model over adb.

benchmark_model prints statistics and no single runs. So it is started anew for every sample, and a sample is
the mean that one start prints over its runs; the statistics of every start are kept beside.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolchain.benchmarks.devices.android_adb import Adb, choose, need_adb
from toolchain.benchmarks.devices.android_device import (
    Device,
    check_binary,
    condition,
    describe,
    instruction_set,
)
from toolchain.benchmarks.devices.android_output import Launch, parse_launch
from toolchain.benchmarks.devices.web_model import tflite_file
from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.harness.contender import INFERENCE, TOTAL
from toolchain.benchmarks.harness.files import digest_and_size
from toolchain.benchmarks.harness.results import DEVICE, EMULATOR, MODEL, Entry, Lane, MeasuredFile, Results
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.runtimes.tflite_header import read_signatures

FOLDER = "/data/local/tmp/toolchain-{token}"
TOKEN_BYTES = 8
TIMED = "TensorFlow Lite's benchmark_model: Interpreter::Invoke, inputs set before"
SAMPLING = "each sample is the mean that one start of benchmark_model prints over its runs"
# Largest difference of the first measured run from the mean of its start, in every start.
STEADY_CHANGE = 0.1
# The tool's own limit would end a start early and print a mean over fewer runs.
NO_LIMIT_SECONDS = 100_000


@dataclass(frozen=True)
class AndroidOptions:
    """How a device measures.

    Attributes:
        threads: of one operator.
        runs: samples, each a start of benchmark_model.
        repeats: runs behind every sample.
        warmup_runs: runs before them in every start.
        profile: time the operators as well, in one more start.
        timeout: longest time of one start in seconds.
        serial: of the device; None for the only one.
        adb: path of adb; None to look for it.
    """

    threads: int = 1
    runs: int = 10
    repeats: int = 20
    warmup_runs: int = 5
    profile: bool = False
    timeout: float = 300.0
    serial: str | None = None
    adb: str | None = None

    def check(self) -> None:
        """Raises UsageError for values that cannot be."""
        for name in ("threads", "runs", "repeats", "warmup_runs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.timeout > 0:
            raise UsageError("the time limit must be positive", "--timeout 300")


@dataclass
class _Measured:
    """What is there when a device goes away."""

    launches: list[Launch] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    extra: Launch | None = None
    extra_failed: str | None = None
    partial: str | None = None
    left: str | None = None


def measure_on_android(
    path: Path,
    binary: Path,
    options: AndroidOptions,
    command: Sequence[str],
    on_stage: Callable[[str], None] = lambda _text: None,
) -> Results:
    """Measure `path` on a connected device, and remove from it what was brought there.

    Args:
        path: the .tflite file.
        binary: benchmark_model for the device's instruction set.
        options: how.
        command: the words of the command line.
        on_stage: told what happens.

    Returns:
        One entry; marked as partial when the device went away after some samples. The lane is "emulator"
        for an emulator, and has the condition of the device before and after and all printed statistics.

    Raises:
        MissingDependencyError: there is no adb.
        UsageError: a file is not there or no .tflite file, or no or several devices are connected.
        UnsupportedError: the device cannot be used or run the program, or the file is damaged.
    """
    options.check()
    file = tflite_file(path)
    read_signatures(path.read_bytes(), f"'{path}'")
    # What is wrong with a file is said whether or not a device is at hand.
    instruction_set(binary)
    program = need_adb(options.adb)
    adb = Adb(program, choose(program, options.serial))
    device = describe(adb)
    check_binary(binary, device)
    measured = _Measured()
    with _folder(adb, measured) as folder:
        on_stage(f"copying to {device.model}")
        adb.push(path, f"{folder}/model.tflite")
        adb.push(binary, f"{folder}/benchmark_model")
        adb.shell(["chmod", "755", f"{folder}/benchmark_model"])
        _measure(adb, folder, options, measured, on_stage)
    return _results(file, binary, device, options, command, measured)


@contextlib.contextmanager
def _folder(adb: Adb, measured: _Measured) -> Iterator[str]:
    """A folder on the device that is removed at the end, as far as the device is still there."""
    folder = FOLDER.format(token=secrets.token_hex(TOKEN_BYTES))
    adb.shell(["mkdir", "-p", folder])
    try:
        yield folder
    finally:
        try:
            adb.shell(["rm", "-rf", folder])
        except ToolchainError:
            measured.left = folder


def _measure(
    adb: Adb,
    folder: str,
    options: AndroidOptions,
    measured: _Measured,
    on_stage: Callable[[str], None],
) -> None:
    """Take all samples; what fails after the first leaves a reason in `measured.partial`."""
    measured.before = condition(adb)
    started = time.perf_counter()
    try:
        for index in range(options.runs):
            on_stage(f"start {index + 1} of {options.runs}")
            at = time.perf_counter() - started
            launch = parse_launch(adb.shell(_words(folder, options, options.repeats), options.timeout))
            _check_count(launch, options)
            measured.launches.append(launch)
            measured.at_s.append(at)
        measured.after = condition(adb)
    except ToolchainError as error:
        if not measured.launches:
            raise
        measured.partial = f"{error.message}, after {len(measured.launches)} of {options.runs} samples"
        return
    on_stage("memory and operators")
    try:
        measured.extra = parse_launch(adb.shell(_extra_words(folder, options), options.timeout))
    except ToolchainError as error:
        measured.extra_failed = error.message


def _extra_words(folder: str, options: AndroidOptions) -> list[str]:
    """A start that is not timed: watching memory and operators disturbs the times."""
    words = _words(folder, options, options.repeats if options.profile else 1)
    words += ["--report_peak_memory_footprint=true", "--memory_footprint_check_interval_ms=5"]
    return [*words, "--enable_op_profiling=true"] if options.profile else words


def _words(folder: str, options: AndroidOptions, runs: int) -> list[str]:
    return [
        f"{folder}/benchmark_model",
        f"--graph={folder}/model.tflite",
        f"--num_threads={options.threads}",
        f"--num_runs={runs}",
        "--min_secs=0",
        f"--max_secs={NO_LIMIT_SECONDS}",
        f"--warmup_runs={options.warmup_runs}",
        "--warmup_min_secs=0",
    ]


def _check_count(launch: Launch, options: AndroidOptions) -> None:
    """Raises UnsupportedError when a mean is over other runs than were asked for."""
    if launch.runs.count != options.repeats:
        raise UnsupportedError(
            f"benchmark_model made {launch.runs.count} runs, and was asked for {options.repeats}",
            "take another build of benchmark_model",
        )


def _results(
    file: MeasuredFile,
    binary: Path,
    device: Device,
    options: AndroidOptions,
    command: Sequence[str],
    measured: _Measured,
) -> Results:
    name = Path(file.path).name
    details = {
        "serial": device.serial,
        "soc": device.soc,
        "android": device.release,
        "sdk": device.sdk,
        "instruction_sets": list(device.instruction_sets),
        "build": device.build,
        "benchmark_binary_sha256": digest_and_size(binary)[0],
        "before": measured.before,
        "after": measured.after,
        "sampling": SAMPLING,
        "starts": [
            {
                "load_ms": launch.load_ms,
                "first_ms": launch.first_ms,
                "warmup": launch.warmup.as_json(),
                "runs": launch.runs.as_json(),
            }
            for launch in measured.launches
        ],
        "no_memory_or_operators": measured.extra_failed,
        "left_on_device": measured.left,
    }
    where = EMULATOR if device.emulator else DEVICE
    shown = ", ".join(filter(None, (device.model, device.soc, f"Android {device.release}".strip())))
    return Results(
        kind=MODEL,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(command),
        lane=Lane(where, shown, details),
        machine=environment(),
        settings={
            "runs": options.runs,
            "repeats": options.repeats,
            "warmup_runs": options.warmup_runs,
            "threads": options.threads,
            "timed": {name: f"{TIMED}; {SAMPLING}"},
        },
        entries=[_entry(name, file, options, measured)],
        profile_note=_profile_note(measured),
    )


def _entry(name: str, file: MeasuredFile, options: AndroidOptions, measured: _Measured) -> Entry:
    cold = measured.launches[0]
    means = [launch.runs.avg for launch in measured.launches]
    extra = measured.extra
    return Entry(
        name=name,
        runtime="TensorFlow Lite benchmark_model" + (", XNNPACK" if cold.xnnpack else ""),
        threads=options.threads,
        file=file,
        load_ms=cold.load_ms,
        first_ms=cold.first_ms,
        warmup_runs=cold.warmup.count,
        steady=all(abs(one.runs.first / one.runs.avg - 1) < STEADY_CHANGE for one in measured.launches),
        repeats=options.repeats,
        samples={INFERENCE: means, TOTAL: list(means)},
        at_s=measured.at_s,
        memory_mb={"peak": extra.peak_mb} if extra and extra.peak_mb is not None else {},
        operators=extra.operators if extra else None,
        partial=measured.partial,
    )


def _profile_note(measured: _Measured) -> str | None:
    if measured.extra is None or measured.extra.operators is None:
        return None
    return "benchmark_model --enable_op_profiling, in a start of its own"
