"""What an Android device says of itself: model, processor, release, temperature, battery."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.benchmarks.devices.android_adb import Adb, DeviceGoneError
from toolchain.errors import UnsupportedError, UsageError

PROPERTY = re.compile(r"^\[([^\]]+)\]: \[(.*)\]\s*$", re.MULTILINE)
# Android.os.PowerManager.THERMAL_STATUS_*.
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
THROTTLES_FROM = 2
EMULATOR_HARDWARE = ("goldfish", "ranchu", "cutf_cvm", "vbox86", "nox", "ttVM_x86")
# e_machine of the ELF header -> Android's name of the instruction set.
MACHINES = {0xB7: "arm64-v8a", 0x28: "armeabi-v7a", 0x3E: "x86_64", 0x03: "x86", 0xF3: "riscv64"}
ELF = b"\x7fELF"
MACHINE_AT = 18
OTHER_BINARY = "download benchmark_model for android_aarch64 (or build //tensorflow/lite/tools/benchmark)"


@dataclass(frozen=True)
class Device:
    """An Android device.

    Attributes:
        serial: of adb.
        model: maker and model.
        soc: maker and model of the processor; the board's name on releases before 12.
        release: of Android.
        sdk: API level.
        instruction_sets: names such as "arm64-v8a", the preferred one first.
        emulator: whether it is one.
        build: fingerprint of the system.
    """

    serial: str
    model: str
    soc: str
    release: str
    sdk: str
    instruction_sets: tuple[str, ...]
    emulator: bool
    build: str


def describe(adb: Adb) -> Device:
    """Read the properties of a device.

    Raises:
        DeviceGoneError: it does not answer.
    """
    found = dict(PROPERTY.findall(adb.shell(["getprop"])))

    def value(*names: str) -> str:
        return next((found[name].strip() for name in names if found.get(name, "").strip()), "")

    maker, model = value("ro.product.manufacturer"), value("ro.product.model")
    soc = " ".join(filter(None, (value("ro.soc.manufacturer"), value("ro.soc.model"))))
    return Device(
        serial=adb.serial,
        model=(model if model.lower().startswith(maker.lower()) else f"{maker} {model}").strip()
        or "unnamed device",
        soc=soc or value("ro.board.platform", "ro.hardware"),
        release=value("ro.build.version.release"),
        sdk=value("ro.build.version.sdk"),
        instruction_sets=tuple(
            filter(None, value("ro.product.cpu.abilist", "ro.product.cpu.abi").split(","))
        ),
        emulator=_is_emulator(adb.serial, found),
        build=value("ro.build.fingerprint"),
    )


def _is_emulator(serial: str, found: dict[str, str]) -> bool:
    return (
        serial.startswith("emulator-")
        or "1" in (found.get("ro.kernel.qemu"), found.get("ro.boot.qemu"))
        or found.get("ro.hardware", "") in EMULATOR_HARDWARE
    )


def instruction_set(path: Path) -> str:
    """What a program was compiled for.

    Raises:
        UsageError: no such file, or it is no program for Linux.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(MACHINE_AT + 2)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}", OTHER_BINARY) from error
    if head[:4] != ELF or len(head) < MACHINE_AT + 2:
        raise UsageError(f"'{path}' is no program for Android", OTHER_BINARY)
    machine = int.from_bytes(head[MACHINE_AT:], "little")
    return MACHINES.get(machine, f"machine {machine:#x}")


def check_binary(path: Path, device: Device) -> None:
    """Whether the device can run a program.

    Raises:
        UsageError: no such file, or it is no program for Linux.
        UnsupportedError: it is one for another instruction set.
    """
    kind = instruction_set(path)
    if kind not in device.instruction_sets:
        runs = ", ".join(device.instruction_sets) or "something else"
        raise UnsupportedError(f"'{path}' is for {kind}, and {device.model} runs {runs}", OTHER_BINARY)


def condition(adb: Adb) -> dict[str, Any]:
    """Temperatures in degrees Celsius, throttling, and battery; what the device does not tell is left out.

    Returns:
        `thermal_status` (name), `throttled`, `temperatures` by sensor, `battery_percent`,
        `battery_celsius`, `charging`.
    """
    return {
        **parse_thermal(_told(adb, ["dumpsys", "thermalservice"])),
        **parse_battery(_told(adb, ["dumpsys", "battery"])),
    }


def _told(adb: Adb, words: list[str]) -> str:
    """What a service says; nothing where it is missing, as thermalservice is before Android 10."""
    try:
        return adb.shell(words)
    except DeviceGoneError:
        raise
    except UnsupportedError:
        return ""


def parse_thermal(text: str) -> dict[str, Any]:
    """Status and current temperatures of `dumpsys thermalservice` (Android's ThermalManagerService.dump)."""
    found: dict[str, Any] = {}
    if status := re.search(r"^\s*Thermal Status: (\d+)\s*$", text, re.MULTILINE):
        number = int(status[1])
        known = number < len(THERMAL_STATUS)
        found["thermal_status"] = THERMAL_STATUS[number] if known else str(number)
        found["throttled"] = number >= THROTTLES_FROM
    # The cached ones before can be old.
    current = text.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    sensors = re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=-?\d+, mName=([^,}]+)", current)
    # Sensors without a value say NaN or something impossible.
    if temperatures := {name: float(value) for value, name in sensors if -50 < float(value) < 200}:
        found["temperatures"] = temperatures
    return found


def parse_battery(text: str) -> dict[str, Any]:
    """Level, temperature and power of `dumpsys battery`, whose temperature is in tenths of a degree."""
    found: dict[str, Any] = {}
    if level := re.search(r"^\s*level: (\d+)\s*$", text, re.MULTILINE):
        found["battery_percent"] = int(level[1])
    if tenths := re.search(r"^\s*temperature: (-?\d+)\s*$", text, re.MULTILINE):
        found["battery_celsius"] = int(tenths[1]) / 10
    powered = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered: (true|false)\s*$", text, re.MULTILINE)
    if powered:
        found["charging"] = "true" in powered
    return found
