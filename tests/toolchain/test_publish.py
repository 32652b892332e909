"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
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


def package(path: Path, content: bytes) -> Path:
    """A folder that passes for a package."""
    path.mkdir()
    (path / "Manifest.json").write_text("{}")
    (path / "weights").write_bytes(content)
    return path


def test_package_replaces_the_older_one_as_a_whole(tmp_path: Path) -> None:
    old = package(tmp_path / "net.mlpackage", b"old")
    (old / "left over").write_bytes(b"x")
    with staging(tmp_path) as stage:
        package(stage.path("net.mlpackage"), b"newer")
        made = stage.publish("net.mlpackage", artifact(tmp_path / "net.mlpackage"))
    assert sorted(path.name for path in old.iterdir()) == ["Manifest.json", "weights"]
    assert (old / "weights").read_bytes() == b"newer"
    assert made.bytes == 7
    assert made.sha256 == sha256_of(old) == load_sidecar(old).sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.mlpackage", "net.mlpackage.json"]


def test_package_comes_back_when_its_successor_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "net.mlpackage", b"old")
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(source).name == "net.mlpackage" and Path(source).parent != tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(source, target)

    with pytest.raises(PermissionError), staging(tmp_path) as stage:
        package(stage.path("net.mlpackage"), b"new")
        monkeypatch.setattr(os, "replace", fail)
        stage.publish("net.mlpackage", artifact(tmp_path / "net.mlpackage"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.mlpackage"]
    assert (tmp_path / "net.mlpackage" / "weights").read_bytes() == b"old"


def test_folder_that_is_no_package_is_not_replaced_by_one(tmp_path: Path) -> None:
    (tmp_path / "net.mlpackage").mkdir()
    (tmp_path / "net.mlpackage" / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="must not be overwritten"), staging(tmp_path) as stage:
        package(stage.path("net.mlpackage"), b"new")
        stage.publish("net.mlpackage", artifact(tmp_path / "net.mlpackage"))
    assert (tmp_path / "net.mlpackage" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("change", ["content", "name", "more", "less"])
def test_hash_of_a_package_changes_with_every_part(change: str, tmp_path: Path) -> None:
    folder = package(tmp_path / "net.mlpackage", b"weights")
    before = sha256_of(folder)
    if change == "content":
        (folder / "weights").write_bytes(b"weightz")
    elif change == "name":
        (folder / "weights").rename(folder / "weight")
    elif change == "more":
        (folder / "x").write_bytes(b"")
    else:
        (folder / "weights").unlink()
    assert sha256_of(folder) != before
