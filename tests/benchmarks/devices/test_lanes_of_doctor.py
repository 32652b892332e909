"""`toolchain doctor` on where can be measured from here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from toolchain.benchmarks.devices import web_site
from toolchain.cli import run

FAKE = Path(__file__).with_name("fake_adb.py")


def checks(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[bool, str]]:
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checks"]
    return {check["what"]: (check["works"], check["detail"]) for check in found}


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({}, (False, "adb works, no device is connected")),
        ({"A1": "unauthorized"}, (False, "benchmark android: A1 (unauthorized)")),
        ({"A1": "offline", "B2": "device"}, (True, "benchmark android: A1 (offline), B2 (device)")),
    ],
)
def test_adb_and_its_devices(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    devices: dict[str, str],
    expected: tuple[bool, str],
) -> None:
    (tmp_path / "fake_adb.py").write_text(FAKE.read_text())
    (tmp_path / "behaviour.json").write_text(json.dumps({"devices": devices}))
    adb = tmp_path / "adb"
    adb.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{tmp_path}/fake_adb.py" "$@"\n')
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = checks(capsys)
    assert found["measure on Android"] == expected
    # No browser on this PATH, but any phone can open the page.
    assert found["measure in a browser"] == (
        True, "benchmark web: open its URL on any phone or computer; Node is not needed"
    )  # fmt: skip


def test_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(web_site.page_files, "__defaults__", (tmp_path,))
    found = checks(capsys)
    assert found["measure on Android"] == (False, "adb is not on the PATH or in the Android SDK")
    works, detail = found["measure in a browser"]
    assert not works
    assert "is not part of this installation" in detail
    assert isinstance(found["camera"][0], bool)
