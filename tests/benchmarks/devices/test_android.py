"""The Android lane against an adb that behaves as real ones do."""

from __future__ import annotations

import json
import stat
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from toolchain.benchmarks.devices.android import AndroidOptions, measure_on_android
from toolchain.benchmarks.devices.android_device import parse_battery, parse_thermal
from toolchain.benchmarks.devices.android_output import parse_launch
from toolchain.benchmarks.harness.results import DEVICE, EMULATOR, Results, from_json, load_results
from toolchain.cli import run
from toolchain.errors import MissingDependencyError, ToolchainError, UnsupportedError, UsageError

FAKE = Path(__file__).with_name("fake_adb.py")
ARM64, X86_64 = 0xB7, 0x3E
QUICK = {"runs": 4, "repeats": 20}


@dataclass(frozen=True)
class Phone:
    """A folder with an adb, a benchmark_model and a .tflite file."""

    folder: Path
    model: Path
    binary: Path

    @property
    def adb(self) -> str:
        return str(self.folder / "adb")

    def behave(self, **behaviour: object) -> None:
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))

    def measure(self, **options: object) -> Results:
        chosen = AndroidOptions(**{**QUICK, "adb": self.adb, **options})
        return measure_on_android(self.model, self.binary, chosen, ["toolchain", "benchmark", "android"])

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls.txt").read_text().splitlines()]


@pytest.fixture
def phone(
    tmp_path: Path, write_multiplication: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Phone:
    for name in ("ANDROID_SERIAL", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "phone"
    (folder / "pushed").mkdir(parents=True)
    (folder / "fake_adb.py").write_text(FAKE.read_text())
    adb = folder / "adb"
    adb.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{folder}/fake_adb.py" "$@"\n')
    adb.chmod(adb.stat().st_mode | stat.S_IXUSR)
    binary = folder / "benchmark_model"
    binary.write_bytes(program(ARM64))
    made = Phone(folder, write_multiplication("net.tflite"), binary)
    made.behave()
    return made


def program(machine: int) -> bytes:
    """The beginning of an ELF file."""
    return b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack("<HH", 3, machine)


def test_a_device_is_measured(phone: Phone) -> None:
    results = phone.measure(threads=2)
    (entry,) = results.entries
    # Start number n prints a mean of 4000 + 10 n microseconds.
    assert entry.samples["total"] == pytest.approx([4.01, 4.02, 4.03, 4.04])
    assert entry.samples["inference"] == entry.samples["total"]
    assert (entry.repeats, entry.warmup_runs, entry.threads, entry.steady) == (20, 5, 2, True)
    assert (entry.load_ms, entry.first_ms) == (12.5, 9.8)
    assert entry.runtime == "TensorFlow Lite benchmark_model, XNNPACK"
    assert entry.memory_mb == {"peak": pytest.approx(25 * 1.048576)}
    assert entry.partial is None
    assert entry.at_s == sorted(entry.at_s)
    lane = results.lane
    assert (lane.where, lane.name) == (DEVICE, "Google Pixel 8, Google Tensor G3, Android 15")
    assert lane.details["before"] == {
        "thermal_status": "none",
        "throttled": False,
        "temperatures": {"BIG": 38.5, "VIRTUAL-SKIN": 31.25},
        "battery_percent": 83,
        "battery_celsius": 29.7,
        "charging": True,
    }
    assert lane.details["after"] == lane.details["before"]
    assert len(lane.details["starts"]) == 4
    assert lane.details["starts"][1]["runs"] == pytest.approx(
        {"count": 20, "first": 4.1, "last": 4.005, "min": 3.99, "max": 4.4, "avg": 4.02, "std": 0.037,
         "median": 4.015, "p5": 3.992, "p95": 4.21}
    )  # fmt: skip
    assert from_json(json.loads(json.dumps(results.as_json())), "made") == results


def test_what_was_brought_is_what_was_given_and_is_removed(phone: Phone) -> None:
    phone.measure()
    assert (phone.folder / "pushed" / "model.tflite").read_bytes() == phone.model.read_bytes()
    assert (phone.folder / "pushed" / "benchmark_model").read_bytes() == phone.binary.read_bytes()
    calls = phone.calls()
    (made,) = [call[-1] for call in calls if call[3:5] == ["mkdir", "-p"]]
    assert made.startswith("/data/local/tmp/toolchain-")
    assert calls[-1] == ["-s", "37281FDJH0", "shell", "rm", "-rf", made]
    timed = [call[4:] for call in calls if call[3:4] == [f"{made}/benchmark_model"]][:4]
    assert timed == [
        [f"--graph={made}/model.tflite", "--num_threads=1", "--num_runs=20", "--min_secs=0",
         "--max_secs=100000", "--warmup_runs=5", "--warmup_min_secs=0"]
    ] * 4  # fmt: skip


def test_operators(phone: Phone) -> None:
    results = phone.measure(profile=True)
    assert results.entries[0].operators == [
        {"name": "[conv]:0", "op": "CONV_2D", "ms": 3.0, "share": 0.75},
        {"name": "[up]:1", "op": "RESIZE_BILINEAR", "ms": 1.0, "share": 0.25},
    ]
    assert "profiling" in results.profile_note


@pytest.mark.parametrize(
    "behaviour",
    [
        {"devices": {"emulator-5554": "device"}},
        {"properties": {"ro.kernel.qemu": "1"}},
        {"properties": {"ro.boot.qemu": "1"}},
        {"properties": {"ro.hardware": "ranchu"}},
    ],
)
def test_an_emulator_is_called_one(phone: Phone, behaviour: dict[str, object]) -> None:
    phone.behave(**behaviour)
    results = phone.measure()
    assert results.lane.where == EMULATOR
    assert results.lane.emulated


@pytest.mark.parametrize(
    ("behaviour", "options", "kind", "message", "hint"),
    [
        ({"devices": {}}, {}, UsageError, "no Android device", "USB debugging"),
        ({"devices": {}, "starts": True}, {}, UsageError, "no Android device", "USB debugging"),
        ({"devices": {"A1": "unauthorized"}}, {}, UnsupportedError, "'A1' is unauthorized", "allow USB"),
        ({"devices": {"A1": "offline"}}, {}, UnsupportedError, "'A1' is offline", "plug it in again"),
        (
            {"devices": {"A1": "no permissions (missing udev rules? user is in the plugdev group); see [x]"}},
            {}, UnsupportedError, "'A1' is no permissions", "plugdev",
        ),
        (
            {"devices": {"A1": "device", "B2": "device"}}, {},
            UsageError, "2 devices are connected: A1, B2", "--serial A1",
        ),
        ({"devices": {"A1": "device"}}, {"serial": "C3"}, UsageError, "no device 'C3'", "connected: A1"),
        (
            {"devices": {"A1": "device", "B2": "unauthorized"}}, {"serial": "B2"},
            UnsupportedError, "'B2' is unauthorized", "allow USB",
        ),
        ({"full": True}, {}, UnsupportedError, "No space left on device", ""),
        ({"crash_at": 1}, {}, UnsupportedError, "Segmentation fault", ""),
        ({"gone_at": 1}, {}, UnsupportedError, "went away", "check the cable"),
        ({"hang_at": 1}, {"timeout": 1.0}, UnsupportedError, "did not finish", "locked"),
        ({"short": True}, {}, UnsupportedError, "made 19 runs, and was asked for 20", "another build"),
        (
            {"properties": {"ro.product.cpu.abilist": "armeabi-v7a,armeabi"}}, {},
            UnsupportedError, "for arm64-v8a, and Google Pixel 8 runs armeabi-v7a", "benchmark_model",
        ),
        ({}, {"runs": 0}, UsageError, "runs must be at least 1", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_one_error(
    phone: Phone,
    behaviour: dict[str, object],
    options: dict[str, object],
    kind: type[ToolchainError],
    message: str,
    hint: str,
) -> None:
    phone.behave(**behaviour)
    with pytest.raises(kind) as caught:
        phone.measure(**options)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_one_usable_device_is_taken(phone: Phone) -> None:
    phone.behave(devices={"A1": "unauthorized", "B2": "device"}, starts=True)
    assert phone.measure().lane.details["serial"] == "B2"


@pytest.mark.parametrize(
    ("behaviour", "samples", "reason"),
    [
        ({"gone_at": 3}, 2, "device '37281FDJH0' went away during"),
        ({"crash_at": 4}, 3, "Segmentation fault"),
    ],
)
def test_samples_before_a_failure_are_kept_and_marked(
    phone: Phone, behaviour: dict[str, object], samples: int, reason: str
) -> None:
    phone.behave(**behaviour)
    results = phone.measure()
    (entry,) = results.entries
    assert entry.samples["total"] == pytest.approx([4.01, 4.02, 4.03][:samples])
    assert reason in entry.partial
    assert entry.partial.endswith(f"after {samples} of 4 samples")
    left = results.lane.details["left_on_device"]
    assert (left is not None) == ("gone_at" in behaviour)
    assert from_json(json.loads(json.dumps(results.as_json())), "made") == results


def test_an_old_binary_and_an_old_android_do_not_cost_the_samples(phone: Phone) -> None:
    phone.behave(plain=True, old_binary=True, old_android=True, thermal=3)
    results = phone.measure()
    (entry,) = results.entries
    assert entry.samples["total"] == pytest.approx([4.01, 4.02, 4.03, 4.04])
    assert entry.memory_mb == {}
    assert "does not know --report_peak_memory_footprint" in results.lane.details["no_memory_or_operators"]
    assert results.lane.details["before"]["battery_celsius"] == 29.7
    assert "thermal_status" not in results.lane.details["before"]
    assert "median" not in results.lane.details["starts"][0]["runs"]


def test_files_that_are_none(phone: Phone, tmp_path: Path) -> None:
    options = AndroidOptions(adb=phone.adb)
    text = tmp_path / "text.tflite"
    text.write_bytes(b"not a flatbuffer at all")
    with pytest.raises(UnsupportedError, match=r"is not a \.tflite file"):
        measure_on_android(text, phone.binary, options, [])
    with pytest.raises(UsageError, match="no model file"):
        measure_on_android(tmp_path / "missing.tflite", phone.binary, options, [])
    with pytest.raises(UsageError, match=r"is no \.tflite file"):
        measure_on_android(phone.binary, phone.binary, options, [])
    with pytest.raises(UsageError, match="is no program for Android"):
        measure_on_android(phone.model, text, options, [])
    with pytest.raises(UsageError, match="cannot be read"):
        measure_on_android(phone.model, tmp_path / "missing", options, [])
    nowhere = AndroidOptions(adb=str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="is no program for Android"):
        measure_on_android(phone.model, text, nowhere, [])
    phone.binary.write_bytes(program(X86_64))
    with pytest.raises(UnsupportedError, match="is for x86_64, and Google Pixel 8 runs arm64-v8a"):
        phone.measure()
    with pytest.raises(MissingDependencyError, match="adb is not at"):
        phone.measure(adb=str(tmp_path / "nowhere"))


def test_adb_is_found_in_the_sdk(phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "sdk" / "platform-tools"
    tools.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    with pytest.raises(MissingDependencyError, match="adb is not on the PATH or in the Android SDK"):
        phone.measure(adb=None)
    script = tools / "adb"
    script.write_text(Path(phone.adb).read_text())
    script.chmod(0o755)
    assert len(phone.measure(adb=None).entries[0].samples["total"]) == 4


def test_the_command(phone: Phone, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.json"
    words = ["benchmark", "android", str(phone.model), "--benchmark-binary", str(phone.binary)]
    words += ["--adb", phone.adb, "--runs", "3", "--output", str(output), "--json"]
    assert run(words) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["lane"]["where"] == "device"
    assert load_results(output).entries[0].samples["total"] == pytest.approx([4.01, 4.02, 4.03])
    phone.behave(devices={"A1": "unauthorized"})
    assert run(words) == 3
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "error: device 'A1' is unauthorized",
        "hint: unlock it and allow USB debugging for this computer",
    ]


LOG = """STARTING!
count=1 curr=3512391
count={count}
Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.5e+06, Inference (avg): {avg}
"""


def test_figures_in_scientific_notation() -> None:
    found = parse_launch(
        LOG.format(
            count="50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798",
            avg="2.95034e+06",
        )
    )
    assert (found.load_ms, found.first_ms) == (17.187, 3512.391)
    assert (found.runs.count, found.runs.avg, found.runs.std) == (50, 2950.34, 109.798)
    assert (found.warmup.count, found.warmup.min, found.warmup.avg) == (1, 3512.391, 3512.391)
    assert found.xnnpack is False


@pytest.mark.parametrize(
    ("count", "avg", "message"),
    [
        ("50 first=1 curr=1 min=1 max=1 avg=4000 std=1", "5000", "contradicts itself"),
        ("50 first=1 curr=1 min=1 max=1 avg=4000 std=1 p7=2", "4000", "has written 'count=50"),
        ("0", "0", "has written no results"),
    ],
)
def test_logs_that_make_no_sense(count: str, avg: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        parse_launch(LOG.format(count=count, avg=avg))


def test_a_service_that_says_nothing() -> None:
    assert parse_thermal("") == {}
    assert parse_battery("nothing of it") == {}
    assert parse_thermal("Thermal Status: 3\n") == {"thermal_status": "severe", "throttled": True}
