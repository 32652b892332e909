"""The shipped network is exported once, and again when the file is not what was written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolchain import runtimes
from toolchain.demo import shipped
from toolchain.demo.shipped import cache_folder, is_whole, shipped_artifact
from toolchain.spec import load_sidecar


def test_the_network_is_exported_once_and_kept(tmp_path, monkeypatch):
    said = []
    path = shipped_artifact(cache=tmp_path, progress=said.append)
    sidecar = load_sidecar(path)
    assert sidecar.parity.sqnr_db >= 80
    assert len(said) == 1
    with runtimes.load(path) as runtime:
        assert {tensor.name for tensor in runtime.inputs} == {"image", "previous"}
    before = path.stat().st_mtime_ns
    assert shipped_artifact(cache=tmp_path, progress=said.append) == path
    assert path.stat().st_mtime_ns == before
    assert len(said) == 1
    # Another version of any package is another file.
    monkeypatch.setattr(shipped, "versions", lambda: {"torch": "0"})
    assert shipped._key(shipped._weights()) != path.parent.name
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_whole(path)


def test_a_file_without_its_sidecar_is_not_whole(tmp_path):
    path = tmp_path / "net.tflite"
    assert not is_whole(path)
    path.write_bytes(b"net")
    assert not is_whole(path)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/c"}, Path("/c/toolchain")),
        ("linux", {"HOME": "/home/me"}, Path("/home/me/.cache/toolchain")),
        ("darwin", {"HOME": "/Users/me"}, Path("/Users/me/Library/Caches/toolchain")),
        ("win32", {"LOCALAPPDATA": "/l"}, Path("/l/toolchain")),
    ],
)
def test_the_cache_is_where_the_system_has_it(platform, environment, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == expected
