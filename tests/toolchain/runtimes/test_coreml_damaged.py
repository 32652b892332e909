"""Packages and files that are damaged, of another kind or not what they seem: one clear error each."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain.cli import run as run_command
from toolchain.errors import MissingDependencyError, ToolchainError, UnsupportedError, UsageError
from toolchain.inspection import inspect_file
from toolchain.runtimes import coreml_proto as protos
from toolchain.runtimes import load
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.runtimes.coreml_file import NEWEST_SPECIFICATION, read_coreml
from toolchain.runtimes.coreml_proto import coreml_proto

SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
FEEDS = {"x": np.linspace(-1, 1, 75, dtype=np.float32).reshape(1, 3, 5, 5)}
SHAPE = (1, 4, 3, 3)


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """The package, without its remarks on versions of torch."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


@pytest.fixture(scope="session")
def originals(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the same network as good.mlpackage and good.mlmodel."""
    from coremltools.converters.mil.mil import Builder as mb

    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 5, 5))], opset_version=coremltools.target.iOS15)
    def program(x: Any) -> Any:
        x = mb.conv(x=x, weight=weight, bias=np.arange(4, dtype=np.float32), pad_type="valid")
        return mb.softmax(x=mb.relu(x=x), axis=1, name="y")

    folder = tmp_path_factory.mktemp("originals")
    for kind, name in (("mlprogram", "good.mlpackage"), ("neuralnetwork", "good.mlmodel")):
        options = {"compute_precision": coremltools.precision.FLOAT32} if kind == "mlprogram" else {}
        model = coremltools.convert(
            program, source="milinternal", convert_to=kind, skip_model_load=True, **options
        )
        model.save(str(folder / name))
    return folder


@pytest.fixture
def package(originals: Path, tmp_path: Path) -> Path:
    """A copy of the package."""
    return Path(shutil.copytree(originals / "good.mlpackage", tmp_path / "net.mlpackage"))


@pytest.fixture
def model(originals: Path, tmp_path: Path) -> Path:
    """A copy of the file."""
    return Path(shutil.copyfile(originals / "good.mlmodel", tmp_path / "net.mlmodel"))


def refused(path: Path, *parts: str, kind: type[ToolchainError] = UnsupportedError) -> ToolchainError:
    """Checks that a file is refused when it is loaded, with its name and a hint."""
    with pytest.raises(kind) as caught:
        CoreMLRuntime(path)
    error = caught.value
    assert type(error).exit_code in (2, 3, 6)
    assert error.hint
    assert path.name in error.message
    assert "\n" not in error.message
    for part in parts:
        assert part in error.message, error.message
    return error


def edited(path: Path, change: Callable[[Any], Any]) -> Path:
    """Changes the specification of a package or file in place."""
    source = path / SPECIFICATION if path.is_dir() else path
    spec = coreml_proto("Model").Model.FromString(source.read_bytes())
    change(spec)
    source.write_bytes(spec.SerializeToString())
    return path


def block(spec: Any) -> Any:
    """The only block of a program."""
    (found,) = spec.mlProgram.functions["main"].block_specializations.values()
    return found


def operation(spec: Any, kind: str) -> Any:
    """The only operation of a type."""
    (found,) = (item for item in block(spec).operations if item.type == kind)
    return found


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
def test_a_package_whose_parts_are_missing_or_lie_elsewhere(case, package):
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
def test_a_place_that_is_no_model_file(name, tmp_path):
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


def test_a_specification_above_two_gigabytes_is_not_read(tmp_path):
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
def test_a_damaged_weight_file(case, package):
    damage, message = BLOBS[case]
    data = _entry(package)
    damage(data)
    (package / WEIGHTS).write_bytes(data)
    refused(package, message)


# The specification.


def _value(spec: Any) -> Any:
    """The constant that is the convolution's weight."""
    name = operation(spec, "conv").inputs["weight"].arguments[0].name
    (found,) = (item for item in block(spec).operations if item.outputs[0].name == name)
    return found.attributes["val"]


def _dimension(index: int, size: int) -> Callable[[Any], Any]:
    def change(spec: Any) -> None:
        _value(spec).type.tensorType.dimensions[index].constant.size = size

    return change


def _blob(**fields: Any) -> Callable[[Any], Any]:
    def change(spec: Any) -> None:
        for name, value in fields.items():
            setattr(_value(spec).blobFileValue, name, value)

    return change


def _renamed_main(spec: Any, *names: str) -> None:
    functions = spec.mlProgram.functions
    for name in names:
        functions[name].CopyFrom(functions["main"])
    del functions["main"]


def _read(name: str) -> Callable[[Any], Any]:
    def change(spec: Any) -> None:
        operation(spec, "relu").inputs["x"].arguments[0].name = name

    return change


def _feature(part: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda spec: change(getattr(spec.description, part)[0])


def _state(spec: Any) -> None:
    state = spec.description.state.add(name="cache")
    state.type.stateType.arrayType.shape.append(3)


def _state_input(spec: Any) -> None:
    spec.mlProgram.functions["main"].inputs[0].type.stateType.wrappedType.tensorType.rank = 0


def _flexible(kind: Any, shape: list[int]) -> None:
    kind.enumeratedShapes.shapes.add().shape.extend(shape)


PROGRAMS = {
    "no-function": (lambda s: s.mlProgram.functions.clear(), "none at all"),
    "two-functions": (lambda s: _renamed_main(s, "a", "b"), "no function 'main'"),
    "no-block": (lambda s: s.mlProgram.functions["main"].block_specializations.clear(), "operator set"),
    "other-opset": (lambda s: setattr(s.mlProgram.functions["main"], "opset", "CoreML99"), "CoreML99"),
    "no-operations": (lambda s: block(s).ClearField("operations"), "never computed"),
    "no-outputs": (lambda s: block(s).ClearField("outputs"), "does not compute 'y'"),
    "other-output": (lambda s: block(s).outputs.__setitem__(0, "nothing"), "'nothing'"),
    "empty-message": (lambda s: s.mlProgram.Clear() or s.mlProgram.SetInParent(), "none at all"),
    "reads-nothing": (_read("nowhere"), "never computed"),
    "reads-later": (_read("y"), "only later"),
    "reads-itself": (lambda s: _read(operation(s, "relu").outputs[0].name)(s), "only later"),
    "computed-twice": (
        lambda s: setattr(operation(s, "softmax").outputs[0], "name", operation(s, "conv").outputs[0].name),
        "second time",
    ),
    "computes-the-input": (lambda s: setattr(operation(s, "relu").outputs[0], "name", "x"), "second time"),
    "no-op-output": (lambda s: operation(s, "relu").ClearField("outputs"), "no output"),
    "no-op-input": (lambda s: operation(s, "relu").inputs.clear(), "lacks the parameter 'x'"),
    "empty-argument": (lambda s: operation(s, "relu").inputs["x"].ClearField("arguments"), "'x' is empty"),
    "parameter": (
        lambda s: operation(s, "relu").inputs["new"].CopyFrom(operation(s, "relu").inputs["x"]),
        "new",
    ),
    "no-type": (lambda s: setattr(operation(s, "relu"), "type", ""), "does not know"),
    "const-without-value": (
        lambda s: [i.attributes.clear() for i in block(s).operations if i.type == "const"],
        "without a value",
    ),
    "negative-size": (_dimension(0, (1 << 64) - 4), "elements"),
    "huge-size": (_dimension(0, 1 << 60), "elements"),
    "zero-size": (_dimension(0, 0), "elements"),
    "no-sizes": (lambda s: _value(s).type.tensorType.ClearField("dimensions"), "axes"),
    "unknown-sizes": (
        lambda s: [d.unknown.SetInParent() for d in _value(s).type.tensorType.dimensions],
        "constant",
    ),
    "unknown-type": (lambda s: setattr(_value(s).type.tensorType, "dataType", 4711), "4711"),
    "string-type": (lambda s: setattr(_value(s).type.tensorType, "dataType", 2), "strings"),
    "no-value-type": (lambda s: _value(s).ClearField("type"), "constant"),
    "list-value-type": (lambda s: _value(s).type.listType.SetInParent(), "constant"),
    "no-value": (lambda s: _value(s).ClearField("value"), "constant"),
    "offset": (_blob(offset=1 << 50), "outside of the file"),
    "offset-inside": (_blob(offset=128), "mark of an entry"),
    "offset-crooked": (_blob(offset=65), "outside of the file"),
    "file": (_blob(fileName="@model_path/weights/other.bin"), "other.bin"),
    "file-parent": (_blob(fileName="@model_path/../../../x.bin"), "outside of the package"),
    "file-null": (_blob(fileName="@model_path/a\0b"), "outside of the package"),
    "file-absolute": (_blob(fileName="/etc/hostname"), "not there"),
    "file-none": (_blob(fileName=""), "not there"),
    "state": (_state, "state 'cache'"),
    "state-input": (_state_input, "state"),
    "input-renamed": (_feature("input", lambda f: setattr(f, "name", "z")), "its description says ['z']"),
    "input-without-name": (_feature("input", lambda f: setattr(f, "name", "")), "name of their own"),
    "input-twice": (
        lambda s: s.description.input.add().CopyFrom(s.description.input[0]),
        "name of their own",
    ),
    "input-missing": (lambda s: s.description.ClearField("input"), "its description says []"),
    "input-shape": (
        _feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, 4)),
        "its description says (1, 4, 5, 5)",
    ),
    "input-negative": (_feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, -3)), "shape"),
    "input-zero": (_feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, 0)), "shape"),
    "input-huge": (_feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, 1 << 50)), "shape"),
    "input-integers": (
        _feature("input", lambda f: setattr(f.type.multiArrayType, "dataType", 131104)),
        "integers",
    ),
    "input-unknown-type": (
        _feature("input", lambda f: setattr(f.type.multiArrayType, "dataType", 4711)),
        "element type 4711",
    ),
    "input-invalid-type": (
        _feature("input", lambda f: setattr(f.type.multiArrayType, "dataType", 0)),
        "INVALID_ARRAY_DATA_TYPE",
    ),
    "input-image-of-no-colour": (_feature("input", lambda f: f.type.imageType.SetInParent()), "colour space"),
    "input-image-of-other-colour": (
        _feature("input", lambda f: setattr(f.type.imageType, "colorSpace", 4711)),
        "colour space 4711",
    ),
    "input-sequence": (_feature("input", lambda f: f.type.sequenceType.SetInParent()), "sequenceType"),
    "input-string": (_feature("input", lambda f: f.type.stringType.SetInParent()), "stringType"),
    "input-nothing": (_feature("input", lambda f: f.ClearField("type")), "input 'x'"),
    "shapes-of-other-rank": (
        _feature("input", lambda f: _flexible(f.type.multiArrayType, [1, 2])),
        "different rank",
    ),
    "output-missing": (lambda s: s.description.ClearField("output"), "no outputs"),
    "output-renamed": (_feature("output", lambda f: setattr(f, "name", "z")), "'z'"),
    "output-sequence": (_feature("output", lambda f: f.type.sequenceType.SetInParent()), "sequenceType"),
    "output-integers": (
        _feature("output", lambda f: setattr(f.type.multiArrayType, "dataType", 131104)),
        "integers",
    ),
    "output-shape": (
        _feature("output", lambda f: f.type.multiArrayType.shape.extend([9])),
        "its description says",
    ),
    "newer": (lambda s: setattr(s, "specificationVersion", NEWEST_SPECIFICATION + 1), "version 11"),
    "no-version": (lambda s: setattr(s, "specificationVersion", 0), "no Core ML model"),
    "functions-without-default": (lambda s: s.description.functions.add(name="a"), "default"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_that_contradicts_itself(case, package):
    change, message = PROGRAMS[case]
    refused(edited(package, change), message)
    try:
        inspect_file(package)
    except ToolchainError as error:
        assert error.message


KINDS = [
    "pipeline",
    "pipelineClassifier",
    "treeEnsembleClassifier",
    "treeEnsembleRegressor",
    "glmRegressor",
    "supportVectorClassifier",
    "nonMaximumSuppression",
    "visionFeaturePrint",
    "wordTagger",
    "customModel",
    "linkedModel",
    "identity",
]


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_of_model_is_named(kind, model):
    edited(model, lambda spec: getattr(spec, kind).SetInParent())
    assert "network" in refused(model, f"of the kind '{kind}'").hint
    with pytest.raises(UnsupportedError, match=kind):
        inspect_file(model)


def test_an_encrypted_model_is_named(model):
    refused(edited(model, lambda spec: setattr(spec.serializedModel, "model", b"secret")), "encrypted")


def test_the_newest_specification_is_that_of_coremltools(coremltools):
    known = [
        value for name, value in vars(coremltools).items() if name.startswith("_SPECIFICATION_VERSION_IOS")
    ]
    assert max(known) == NEWEST_SPECIFICATION


def test_every_unknown_operator_is_listed(package):
    def change(spec: Any) -> None:
        operation(spec, "relu").type = "warp"
        operation(spec, "softmax").type = "fold"

    with pytest.raises(UnsupportedError, match=r"fold, warp") as caught:
        CoreMLRuntime(edited(package, change))
    assert len(caught.value.refusals) == 2
    assert "Mac" in caught.value.hint
    assert inspect_file(package).ops == {"conv": 1, "fold": 1, "warp": 1}


def test_a_custom_layer_is_named(model):
    def change(spec: Any) -> None:
        spec.neuralNetwork.layers[1].custom.className = "MyWarp"

    with pytest.raises(UnsupportedError, match="MyWarp"):
        CoreMLRuntime(edited(model, change))


def test_a_layer_of_no_known_type_is_refused(model):
    with pytest.raises(UnsupportedError, match="none that is known"):
        CoreMLRuntime(edited(model, lambda spec: spec.neuralNetwork.layers[1].ClearField("layer")))


def test_messages_inside_of_messages_without_end(tmp_path):
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


def survives(path: Path) -> None:
    """Loads, runs and inspects a damaged file: a known error, or an output of the right shape."""
    try:
        with CoreMLRuntime(path, threads=1) as runtime:
            (found,) = runtime.run(FEEDS).values()
            assert found.shape == SHAPE
            assert found.dtype == np.float32
    except ToolchainError as error:
        assert error.message
        assert error.hint
    try:
        inspect_file(path)
    except ToolchainError as error:
        assert error.message


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
def test_a_part_that_is_cut_off_anywhere(originals, tmp_path, name, share):
    def cut(data: bytearray) -> None:
        del data[int(share * len(data)) :]

    survives(damaged(originals, name, cut, tmp_path / "copy"))


@pytest.mark.parametrize("name", PARTS)
@QUICK
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4)
)
def test_a_part_with_wrong_bytes_anywhere(originals, tmp_path, name, flips):
    def flip(data: bytearray) -> None:
        for share, mask in flips:
            data[int(share * len(data))] ^= mask

    survives(damaged(originals, name, flip, tmp_path / "copy"))


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
