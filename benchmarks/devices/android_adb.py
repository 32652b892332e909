"""adb, the Android Debug Bridge: finding it, choosing a device, running commands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import MissingDependencyError, UnsupportedError, UsageError

SDK_VARIABLES = ("ANDROID_HOME", "ANDROID_SDK_ROOT")
SERIAL_VARIABLE = "ANDROID_SERIAL"
READY = "device"
SECONDS = 60.0
PUSH_SECONDS = 600.0
# What `adb devices` says of a device that cannot be used, and what helps.
STATES = {
    "unauthorized": "unlock it and allow USB debugging for this computer",
    "authorizing": "unlock it and allow USB debugging for this computer",
    "offline": "plug it in again, or `adb reconnect offline`",
    "no permissions": "add this user to the group plugdev, and plug it in again",
    "recovery": "start Android on it",
    "sideload": "start Android on it",
    "bootloader": "start Android on it",
}


class DeviceGoneError(UnsupportedError):
    """The device was there and no longer answers."""


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices`.

    Attributes:
        serial: number of the device, or address of one in the network.
        state: "device" when it can be used.
    """

    serial: str
    state: str


def find_adb(given: str | None = None) -> str | None:
    """Path of adb: as given, on the PATH, or in the Android SDK; None when it is nowhere."""
    if given is not None:
        return shutil.which(os.path.expanduser(given))
    folders = [os.environ[name] for name in SDK_VARIABLES if os.environ.get(name)]
    in_sdk = (shutil.which(str(Path(folder) / "platform-tools" / "adb")) for folder in folders)
    return shutil.which("adb") or next((found for found in in_sdk if found), None)


def need_adb(given: str | None = None) -> str:
    """Path of adb.

    Raises:
        MissingDependencyError: there is none.
    """
    found = find_adb(given)
    if found is None:
        where = f"at '{given}'" if given else "on the PATH or in the Android SDK"
        raise MissingDependencyError(
            f"adb is not {where}",
            "install Android's platform-tools (apt install adb; brew install android-platform-tools), "
            "or name it with --adb",
        )
    return found


def devices(adb: str) -> list[Listed]:
    """All devices that adb knows, usable or not.

    Raises:
        UnsupportedError: adb fails.
    """
    try:
        done = _call([adb, "devices"], SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UnsupportedError("`adb devices` does not answer", "try `adb kill-server`") from error
    if done.returncode != 0:
        raise UnsupportedError(f"`adb devices` failed: {_reason(done)}", "try `adb kill-server`")
    lines = [line.strip() for line in done.stdout.splitlines()]
    pairs = (re.split(r"\s+", line, maxsplit=1) for line in lines[_heading(lines) :] if line[:1] != "*")
    return [Listed(pair[0], _state(pair[1])) for pair in pairs if len(pair) == 2]


def choose(adb: str, serial: str | None = None) -> str:
    """Serial number of the device to use.

    Args:
        adb: path of adb.
        serial: the one that is wanted; None for that of ANDROID_SERIAL, or the only one.

    Raises:
        UsageError: none, several, or not the one that is wanted.
        UnsupportedError: it is connected and cannot be used.
    """
    found = devices(adb)
    wanted = serial or os.environ.get(SERIAL_VARIABLE)
    if wanted is not None:
        matching = [device for device in found if device.serial == wanted]
        if not matching:
            known = ", ".join(device.serial for device in found) or "none"
            raise UsageError(f"no device '{wanted}' is connected", f"connected: {known}")
    else:
        matching = [device for device in found if device.state == READY] or found
    if not matching:
        raise UsageError(
            "no Android device is connected",
            "plug one in and switch on USB debugging (Settings, System, Developer options)",
        )
    if len(matching) > 1:
        serials = ", ".join(device.serial for device in matching)
        raise UsageError(
            f"{len(matching)} devices are connected: {serials}", f"--serial {matching[0].serial}"
        )
    (device,) = matching
    if device.state != READY:
        raise UnsupportedError(
            f"device '{device.serial}' is {device.state}", STATES.get(device.state, "see `adb devices`")
        )
    return device.serial


class Adb:
    """Commands for one device.

    Args:
        adb: path of adb.
        serial: of the device.
    """

    def __init__(self, adb: str, serial: str) -> None:
        self.serial = serial
        self._prefix = [adb, "-s", serial]

    def shell(self, words: Sequence[str], seconds: float = SECONDS) -> str:
        """Run a command on the device; its words must mean themselves in a shell.

        Returns:
            What it wrote, standard error included.

        Raises:
            DeviceGoneError: the device does not answer.
            UnsupportedError: the command failed.
        """
        return self._run(["shell", *words], seconds)

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the device.

        Raises:
            DeviceGoneError: the device does not answer.
            UnsupportedError: it was refused, as by a full disk.
        """
        self._run(["push", str(source), target], PUSH_SECONDS)

    def _run(self, words: list[str], seconds: float) -> str:
        try:
            done = _call([*self._prefix, *words], seconds)
        except subprocess.TimeoutExpired as error:
            raise DeviceGoneError(
                f"device '{self.serial}' did not finish `{_short(words)}` within {seconds:g} s",
                "look whether it is locked, too hot or disconnected",
            ) from error
        if done.returncode == 0:
            return f"{done.stdout}\n{done.stderr}"
        if not self.connected():
            raise DeviceGoneError(
                f"device '{self.serial}' went away during `{_short(words)}`",
                "check the cable, and `adb devices`",
            )
        raise UnsupportedError(f"`{_short(words)}` failed on device '{self.serial}': {_reason(done)}")

    def connected(self) -> bool:
        """Whether the device can be used now."""
        try:
            done = _call([*self._prefix, "get-state"], SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and done.stdout.strip() == READY


def _call(words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise MissingDependencyError(
            f"'{words[0]}' does not start: {error.strerror}", "name adb with --adb"
        ) from error


def _heading(lines: list[str]) -> int:
    """Where the list begins; what the adb server says as it starts comes before."""
    return next((index + 1 for index, line in enumerate(lines) if line.startswith("List of devices")), 0)


def _state(text: str) -> str:
    return "no permissions" if text.startswith("no permissions") else text.split()[0]


def _short(words: list[str]) -> str:
    return " ".join(["adb", *words[:3]])


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit status {done.returncode}"
