"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest

from toolchain.errors import ToolchainError, UsageError
from toolchain.publish import sha256_of, staging
from toolchain.spec import Artifact, TensorSpec, load_sidecar


def artifact(path: Path) -> Artifact:
    tensor = TensorSpec("x", (1, 2))
    return Artifact(path, "tflite", "fp32", "net", "generic", (tensor,), (tensor,))


def test_published_file_has_size_and_hash(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with staging(output) as stage:
        stage.path("net.tflite").write_bytes(b"content")
        made = stage.publish("net.tflite", artifact(output / "net.tflite"))
    assert made.sha256 == hashlib.sha256(b"content").hexdigest()
    assert made.bytes == 7
    assert load_sidecar(output / "net.tflite").sha256 == made.sha256
    assert sorted(p.name for p in output.iterdir()) == ["net.tflite", "net.tflite.json"]
    assert json.loads((output / "net.tflite.json").read_text())["inputs"][0]["shape"] == [1, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")])
def test_nothing_is_left_after_an_interruption(tmp_path: Path, error: BaseException) -> None:
    output = tmp_path / "deep" / "out"
    with pytest.raises(type(error)), staging(output) as stage:
        stage.path("net.tflite").write_bytes(b"half")
        raise error
    assert not output.exists()


def test_an_older_file_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"old")
    with pytest.raises(ValueError, match="broken"), staging(tmp_path) as stage:
        stage.path("net.tflite").write_bytes(b"new")
        raise ValueError("broken")
    assert (tmp_path / "net.tflite").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_rejected_file_is_kept_under_another_name(tmp_path: Path) -> None:
    with staging(tmp_path) as stage:
        stage.path("net.tflite").write_bytes(b"wrong")
        kept = stage.reject("net.tflite")
    assert [p.name for p in tmp_path.iterdir()] == ["net.tflite.rejected"]
    assert kept.read_bytes() == b"wrong"


def test_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="full") as caught, staging(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"), staging(tmp_path / "file" / "out"):
        pass


def test_hash_of_a_package_depends_on_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, name in ((one, "a"), (two, "b")):
        folder.mkdir()
        (folder / name).write_bytes(b"same")
    assert sha256_of(one) != sha256_of(two)
