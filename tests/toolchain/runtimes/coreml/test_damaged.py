"""Packages and files that are damaged, of another kind or not what they seem: one clear error each."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain.cli import run as run_command
from toolchain.errors import MissingDependencyError, ToolchainError, UsageError
from toolchain.inspection import inspect_file
from toolchain.runtimes import coreml_proto as protos
from toolchain.runtimes import load
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.runtimes.coreml_file import read_coreml
from toolchain.runtimes.coreml_proto import coreml_proto

SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
FEEDS = {"x": np.linspace(-1, 1, 75, dtype=np.float32).reshape(1, 3, 5, 5)}
SHAPE = (1, 4, 3, 3)


def test_the_originals_run_and_agree(originals):
    found = [
        CoreMLRuntime(originals / f"good{suffix}").run(FEEDS)["y"] for suffix in (".mlpackage", ".mlmodel")
    ]
    assert found[0].shape == SHAPE
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert inspect_file(originals / "good.mlpackage").parameters == 4 * 27 + 4


# The package as a folder.


def _manifest(change: Callable[[Any], Any]) -> Callable[[Path], Any]:
    def edit(package: Path) -> None:
        raw = json.loads((package / "Manifest.json").read_text())
        made = change(raw)
        (package / "Manifest.json").write_text(json.dumps(raw if made is None else made))

    return edit


def _root(path: Any) -> Callable[[Path], Any]:
    def change(raw: Any) -> None:
        raw["itemInfoEntries"][raw["rootModelIdentifier"]]["path"] = path

    return _manifest(change)


def _replaced(name: str, make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def edit(package: Path) -> None:
        part = package / name
        shutil.rmtree(part) if part.is_dir() else part.unlink()
        make(part)

    return edit


def _linked_outside(package: Path) -> None:
    target = shutil.copyfile(package / SPECIFICATION, package.parent / "elsewhere.mlmodel")
    (package / SPECIFICATION).unlink()
    (package / SPECIFICATION).symlink_to(target)


def _weights_outside(package: Path) -> None:
    target = shutil.copyfile(package / WEIGHTS, package.parent / "elsewhere.bin")
    (package / WEIGHTS).unlink()
    (package / WEIGHTS).symlink_to(target)


FOLDERS = {
    "manifest-missing": (lambda p: (p / "Manifest.json").unlink(), "no readable Manifest.json"),
    "manifest-empty": (lambda p: (p / "Manifest.json").write_text(""), "names no model"),
    "manifest-binary": (lambda p: (p / "Manifest.json").write_bytes(b"\xff\xfe\x00{"), "names no model"),
    "manifest-list": (_manifest(lambda _: []), "names no model"),
    "manifest-string": (_manifest(lambda _: "x"), "names no model"),
    "manifest-deep": (lambda p: (p / "Manifest.json").write_text("[" * 100_000), "names no model"),
    "manifest-no-root": (_manifest(lambda raw: raw.pop("rootModelIdentifier") and raw), "names no model"),
    "manifest-no-entry": (_manifest(lambda raw: {**raw, "itemInfoEntries": {}}), "names no model"),
    "manifest-root-a-list": (_manifest(lambda raw: {**raw, "rootModelIdentifier": []}), "names no model"),
    "manifest-folder": (_replaced("Manifest.json", Path.mkdir), "no readable Manifest.json"),
    "manifest-pipe": (_replaced("Manifest.json", os.mkfifo), "no regular file"),
    "manifest-loop": (_replaced("Manifest.json", lambda p: p.symlink_to(p)), "circle"),
    "manifest-outside": (
        _replaced("Manifest.json", lambda p: p.symlink_to(p.parent.parent / "M.json")),
        "outside",
    ),
    "root-number": (_root(7), "names no model"),
    "root-null": (_root("a\0b"), "names no model"),
    "root-empty": (_root(""), "lacks its specification"),
    "root-absolute": (_root("/etc/hostname"), "points outside"),
    "root-parent": (_root("../../x.mlmodel"), "points outside"),
    "root-long": (_root("x" * 5000), "no readable"),
    "root-other": (_root("com.apple.CoreML/other.mlmodel"), "lacks its specification"),
    "specification-missing": (lambda p: (p / SPECIFICATION).unlink(), "lacks its specification"),
    "specification-folder": (_replaced(SPECIFICATION, Path.mkdir), "lacks its specification"),
    "specification-pipe": (_replaced(SPECIFICATION, os.mkfifo), "no regular file"),
    "specification-empty": (lambda p: (p / SPECIFICATION).write_bytes(b""), "holds no Core ML model"),
    "specification-text": (lambda p: (p / SPECIFICATION).write_text("hello"), "no Core ML specification"),
    "specification-linked-outside": (_linked_outside, "points outside"),
    "data-missing": (lambda p: shutil.rmtree(p / "Data"), "lacks its specification"),
    "data-a-file": (_replaced("Data", Path.touch), "lacks its specification"),
    "weights-missing": (lambda p: shutil.rmtree(p / "Data/com.apple.CoreML/weights"), "weight.bin"),
    "weights-a-folder": (_replaced(WEIGHTS, Path.mkdir), "weight.bin"),
    "weights-a-pipe": (_replaced(WEIGHTS, os.mkfifo), "weight.bin"),
    "weights-linked-outside": (_weights_outside, "outside of the package"),
    "weights-empty": (lambda p: (p / WEIGHTS).write_bytes(b""), "cut off after 0 bytes"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_package_whose_parts_are_missing_or_lie_elsewhere(case, package, refused):
    damage, message = FOLDERS[case]
    damage(package)
    refused(package, message)


# Places that are no package.


def _nothing(path: Path) -> None:
    del path


PLACES = {
    "absent.mlpackage": (_nothing, "no model file"),
    f"{'long' * 100}.mlmodel": (_nothing, "cannot be opened"),
    "folder.mlmodel": (Path.mkdir, "is a folder"),
    "folder.mlpackage.bak": (Path.mkdir, "is a folder"),
    "file.mlpackage": (Path.touch, "is a file"),
    "zipped.mlpackage": (lambda p: p.write_bytes(b"PK\x03\x04"), "is a file"),
    "compiled.mlmodelc": (Path.mkdir, "compiled"),
    "compiled.mlmodelc.rejected": (Path.mkdir, "compiled"),
    "renamed.mlmodel": (lambda p: (p.mkdir(), (p / "coremldata.bin").touch()), "compiled"),
    "pipe.mlmodel": (os.mkfifo, "no regular file"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_is_no_model_file(name, tmp_path, refused):
    make, message = PLACES[name]
    make(tmp_path / name)
    error = refused(tmp_path / name, message, kind=UsageError)
    assert ("unzip" in error.hint) == name.startswith("zipped")


@pytest.mark.parametrize("name", ["net.mlpackage.rejected", "net.MLPACKAGE", "net.mlpackage.REJECTED"])
def test_a_rejected_package_can_be_read_under_its_name(name, package):
    moved = package.rename(package.with_name(name))
    assert inspect_file(moved).ops == {"conv": 1, "relu": 1, "softmax": 1}
    with load(moved, runtime="coreml") as runtime:
        assert runtime.run(FEEDS)["y"].shape == SHAPE


def test_a_specification_above_two_gigabytes_is_not_read(tmp_path, refused):
    path = tmp_path / "huge.mlmodel"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    refused(path, "more than 2 GiB")


# The weight file.

HEADER, FIRST = 64, 64


def _entry(package: Path) -> bytearray:
    return bytearray((package / WEIGHTS).read_bytes())


def _packed(offset: int, form: str, value: int) -> Callable[[bytearray], Any]:
    return lambda data: struct.pack_into(form, data, offset, value)


BLOBS = {
    "version": (_packed(4, "<I", 3), "version 3"),
    "sentinel": (_packed(FIRST, "<I", 0), "does not begin with the mark"),
    "element-type": (_packed(FIRST + 4, "<I", 99), "unknown element type 99"),
    "other-type": (_packed(FIRST + 4, "<I", 1), "16 bits"),
    "integers": (_packed(FIRST + 4, "<I", 14), "int32"),
    "size": (_packed(FIRST + 8, "<Q", 4), "holds 4 bytes"),
    "huge-size": (_packed(FIRST + 8, "<Q", (1 << 64) - 1), "cut off"),
    "offset": (_packed(FIRST + 16, "<Q", 1 << 40), "cut off"),
    "padding": (_packed(FIRST + 24, "<Q", 8), "padding"),
    "cut-in-data": (lambda data: data.__delitem__(slice(200, None)), "cut off"),
    "cut-in-entry": (lambda data: data.__delitem__(slice(80, None)), "outside of the file"),
    "cut-in-header": (lambda data: data.__delitem__(slice(10, None)), "cut off after 10 bytes"),
}


@pytest.mark.parametrize("case", BLOBS)
def test_a_damaged_weight_file(case, package, refused):
    damage, message = BLOBS[case]
    data = _entry(package)
    damage(data)
    (package / WEIGHTS).write_bytes(data)
    refused(package, message)


def test_messages_inside_of_messages_without_end(tmp_path, refused):
    """Blocks in blocks, deeper than protobuf reads."""
    mil = coreml_proto("MIL")
    inner = mil.Block()
    for _ in range(90):
        outer = mil.Block()
        outer.operations.add(type="cond").blocks.add().CopyFrom(inner)
        try:
            outer.SerializeToString()
        except Exception:
            break
        inner = outer
    spec = coreml_proto("Model").Model(specificationVersion=6)
    spec.description.output.add(name="y").type.multiArrayType.dataType = 65568
    function = spec.mlProgram.functions["main"]
    function.opset = "CoreML5"
    function.block_specializations["CoreML5"].CopyFrom(inner)
    path = tmp_path / "deep.mlmodel"
    path.write_bytes(spec.SerializeToString())
    refused(path)


def test_classes_that_protobuf_cannot_load_are_a_missing_dependency(monkeypatch, model):
    def fail(name: str) -> None:
        raise TypeError(f"{name}: Descriptors cannot be created directly")

    monkeypatch.setattr(protos.importlib, "import_module", fail)
    with pytest.raises(MissingDependencyError, match="Descriptors") as caught:
        read_coreml(model)
    assert "coremltools" in caught.value.hint


# Any damage at all.


def survives(check: Any, path: Path) -> None:
    """Loads, runs and inspects a damaged file: a known error, or an output of the right shape."""
    try:
        with CoreMLRuntime(path, threads=1) as runtime:
            (found,) = runtime.run(FEEDS).values()
            assert found.shape == SHAPE
            assert found.dtype == np.float32
    except ToolchainError as error:
        check(error)
    try:
        inspect_file(path)
    except ToolchainError as error:
        check(error)


def part_of(folder: Path, name: str) -> Path:
    return folder / {
        "specification": f"good.mlpackage/{SPECIFICATION}",
        "weights": f"good.mlpackage/{WEIGHTS}",
    }.get(name, "good.mlmodel")


def damaged(originals: Path, name: str, change: Callable[[bytearray], Any], folder: Path) -> Path:
    """A copy in which one part was changed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(originals, folder)
    data = bytearray(part_of(originals, name).read_bytes())
    change(data)
    part_of(folder, name).write_bytes(data)
    return folder / ("good.mlmodel" if name == "file" else "good.mlpackage")


PARTS = ["specification", "weights", "file"]
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("name", PARTS)
@QUICK
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_part_that_is_cut_off_anywhere(originals, tmp_path, name, share, check):
    def cut(data: bytearray) -> None:
        del data[int(share * len(data)) :]

    survives(check, damaged(originals, name, cut, tmp_path / "copy"))


@pytest.mark.parametrize("name", PARTS)
@QUICK
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4)
)
def test_a_part_with_wrong_bytes_anywhere(originals, tmp_path, name, flips, check):
    def flip(data: bytearray) -> None:
        for share, mask in flips:
            data[int(share * len(data))] ^= mask

    survives(check, damaged(originals, name, flip, tmp_path / "copy"))


# The command line.


@pytest.mark.parametrize(
    ("case", "code"), [("weights-missing", 3), ("manifest-missing", 3), ("specification-text", 3)]
)
def test_the_command_line_prints_one_error_and_a_hint(case, code, package, tmp_path, capsys):
    FOLDERS[case][0](package)
    assert run_command(["inspect", str(package)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    error, hint = captured.err.strip().splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    picture = tmp_path / "x.png"
    picture.touch()
    assert run_command(["predict", str(package), str(picture)]) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err
