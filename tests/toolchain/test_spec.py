"""A sidecar says everything about its file: what is written comes back, and damage is reported."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError, UsageError
from toolchain.models import zoo
from toolchain.spec import (
    Artifact,
    ModelSpec,
    Parity,
    Preprocess,
    TensorSpec,
    load_sidecar,
    parse_sidecar,
    shape_text,
    sidecar_path,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
CHANNELS = st.tuples(FINITE, FINITE, FINITE)
BYTE = st.integers(0, 255)
TENSORS = st.lists(
    st.builds(
        TensorSpec,
        name=st.text(),
        shape=st.lists(st.integers(0, 4096), max_size=5).map(tuple),
        dtype=st.sampled_from(["float32", "float16", "int8", "int64", "bool"]),
        layout=st.sampled_from(["NCHW", "NHWC", "NC", ""]),
        scale=st.none() | FINITE,
        zero_point=st.none() | st.integers(-128, 255),
    ),
    max_size=3,
).map(tuple)
PREPROCESS = st.builds(
    Preprocess,
    mean=CHANNELS,
    std=CHANNELS,
    resize=st.sampled_from(["bilinear", "area"]),
    margin=FINITE,
    shift=FINITE,
)
PARITY = st.builds(
    Parity,
    sqnr_db=st.floats(allow_nan=False),
    max_abs=FINITE,
    agreement=st.none() | st.floats(0, 1),
    samples=st.integers(0),
    reference=st.text(),
)
NAMES = st.text(alphabet="abcz-0.9é", min_size=1).filter(lambda name: name.strip("."))
ARTIFACTS = st.builds(
    Artifact,
    path=NAMES.map(lambda name: Path("build") / f"{name}.tflite"),
    format=st.text(),
    precision=st.text(),
    name=st.text(),
    task=st.sampled_from(["segmentation", "classification", "generic"]),
    inputs=TENSORS,
    outputs=TENSORS,
    preprocess=st.none() | PREPROCESS,
    labels=st.lists(st.text(), max_size=3).map(tuple),
    palette=st.lists(st.tuples(BYTE, BYTE, BYTE), max_size=3).map(tuple),
    parity=st.none() | PARITY,
    ops=st.dictionaries(st.text(), st.integers(0), max_size=3),
    bytes=st.integers(0),
    sha256=st.text(),
    versions=st.dictionaries(st.text(), st.text(), max_size=3),
    command=st.text(),
    seconds=st.dictionaries(st.text(), FINITE, max_size=3),
)


def face_artifact(path=Path("mobile-hourglass-fp32.tflite")):
    spec = zoo().get("mobile-hourglass").spec
    return Artifact(
        path=path,
        format="tflite",
        precision="fp32",
        name=spec.name,
        task=spec.task,
        inputs=spec.inputs,
        outputs=spec.outputs,
        preprocess=spec.preprocess,
        labels=spec.labels,
        palette=spec.palette,
        parity=Parity(float("inf"), 0.0, 1.0, 8),
        ops={"CONV_2D": 3},
        bytes=123,
        sha256="00",
        versions={"torch": "2.13"},
        command="toolchain export mobile-hourglass",
        seconds={"write": 0.1},
    )


@settings(deadline=None)
@given(ARTIFACTS)
def test_sidecar_round_trip(artifact):
    text = json.dumps(artifact.sidecar(), allow_nan=False, ensure_ascii=False)
    parsed = parse_sidecar(artifact.path, text)
    # Times belong to one run of the exporter, not to the file.
    assert parsed == replace(artifact, seconds={})


@settings(deadline=None)
@given(st.builds(Parity, st.floats(), FINITE, st.none() | st.floats(0, 1), st.integers(0)))
def test_any_ratio_is_valid_json_and_comes_back(parity):
    back = Parity.from_json(json.loads(json.dumps(parity.as_json(), allow_nan=False)))
    if math.isnan(parity.sqnr_db):
        assert math.isnan(back.sqnr_db)
    else:
        assert back == parity


@pytest.mark.parametrize("name", zoo())
def test_contract_of_every_network_survives_the_sidecar(name):
    spec = zoo().get(name).spec
    shared = {field.name: getattr(spec, field.name) for field in fields(ModelSpec)}
    del shared["description"], shared["source"]
    artifact = Artifact(path=Path("x.onnx"), format="onnx", precision="fp32", **shared)
    assert parse_sidecar(artifact.path, json.dumps(artifact.sidecar())) == artifact


def test_sidecar_has_the_keys_that_others_rely_on():
    sidecar = face_artifact().sidecar()
    assert set(sidecar["inputs"][0]) >= {"name", "shape", "dtype", "layout", "scale", "zero_point"}
    assert set(sidecar["outputs"][0]) >= {"name", "shape", "dtype", "layout", "scale", "zero_point"}
    assert sidecar["preprocessing"]["color"] == "RGB"
    assert set(sidecar["preprocessing"]) >= {"color", "mean", "std", "resize"}
    assert set(sidecar["parity"]) >= {"sqnr_db", "max_abs", "agreement"}
    assert len(sidecar["labels"]) == len(sidecar["palette"]) == 10
    assert set(sidecar) >= {"ops", "sha256", "versions", "command"}


def test_report_is_one_row_of_export_json():
    report = face_artifact().report()
    assert set(report) == {"path", "format", "precision", "bytes", "parity", "ops", "seconds"}
    assert report["path"] == "mobile-hourglass-fp32.tflite"
    assert report["parity"]["sqnr_db"] == "inf"
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("file", "sidecar"),
    [
        ("a-fp32.tflite", "a-fp32.tflite.json"),
        ("build/mobilenetv2-0.35-96-fp16.mlpackage", "build/mobilenetv2-0.35-96-fp16.mlpackage.json"),
        (Path("a.onnx"), "a.onnx.json"),
    ],
)
def test_sidecar_lies_beside_the_file(file, sidecar):
    assert sidecar_path(file) == Path(sidecar)
    assert face_artifact(Path(file)).sidecar_path == Path(sidecar)


def test_sidecar_is_loaded_from_beside_the_file(tmp_path):
    artifact = face_artifact(tmp_path / "é.tflite")
    artifact.sidecar_path.write_text(json.dumps(artifact.sidecar(), ensure_ascii=False), encoding="utf-8")
    assert load_sidecar(artifact.path) == replace(artifact, seconds={})


def test_missing_sidecar_is_a_usage_error(tmp_path):
    with pytest.raises(
        UsageError, match=r"has no sidecar \(a.tflite.json cannot be read: No such file"
    ) as caught:
        load_sidecar(tmp_path / "a.tflite")
    assert "keep the .json" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"text"', "{}", '{"version": 1}', "\x00", b"\xff\xfe", b"PK\x03\x04"],
)
def test_text_that_is_no_sidecar_is_refused(text):
    with pytest.raises(UnsupportedError, match=r"sidecar of 'a.tflite' cannot be read") as caught:
        parse_sidecar(Path("a.tflite"), text)
    assert caught.value.hint == "export the model again"


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_sidecar_of_another_version_is_refused(version):
    text = json.dumps({**face_artifact().sidecar(), "version": version})
    with pytest.raises(UnsupportedError, match=f"has version {version}, not 1"):
        parse_sidecar(Path("a.tflite"), text)


@pytest.mark.parametrize("key", sorted(set(face_artifact().sidecar()) - {"version"}))
def test_sidecar_without_one_of_its_keys_is_refused(key):
    sidecar = face_artifact().sidecar()
    del sidecar[key]
    with pytest.raises(UnsupportedError, match=f"cannot be read: it has no '{key}'"):
        parse_sidecar(Path("a.tflite"), json.dumps(sidecar))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inputs", [{"name": "image"}]),
        ("inputs", [{"name": "image", "shape": [1], "color": "red"}]),
        ("inputs", 3),
        ("outputs", None),
        ("preprocessing", {"mean": [0]}),
        ("preprocessing", "RGB"),
        ("palette", [[1, 2]]),
        ("parity", {"sqnr_db": "much"}),
        ("parity", {"sqnr_db": 90.0}),
        ("bytes", "many"),
        ("ops", 3),
    ],
)
def test_sidecar_with_a_value_of_another_form_is_refused(key, value):
    text = json.dumps({**face_artifact().sidecar(), key: value})
    with pytest.raises(UnsupportedError, match=r"cannot be read"):
        parse_sidecar(Path("a.tflite"), text)


@settings(deadline=None)
@given(st.binary() | st.text())
def test_any_bytes_are_refused_with_a_known_error(text):
    with pytest.raises(UnsupportedError):
        parse_sidecar(Path("a.tflite"), text)


@pytest.mark.parametrize(
    ("shape", "text"), [((1, 3, 256, 256), "1x3x256x256"), ((None, 10), "?x10"), ((), ""), ((7,), "7")]
)
def test_shape_text(shape, text):
    assert shape_text(shape) == text


def test_renamed_changes_nothing_but_the_name():
    spec = zoo().get("unet").spec
    renamed = spec.renamed("mine")
    assert renamed.name == "mine"
    assert renamed.renamed("unet") == spec
