"""Files for the demo apps: what goes where, whole or not at all, and what is refused before any work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from toolchain.apps.clip import FRAMES
from toolchain.apps.delivery import APPS, Delivery
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.models.mobilenetv2 import IMAGENET_PREPROCESS
from toolchain.publish import staging
from toolchain.spec import CLASSIFICATION, SEGMENTATION, Artifact, ModelSpec, TensorSpec, load_sidecar

LABELS = ("background", "skin", "nose")


def spec_of(**changes) -> ModelSpec:
    def tensor(name, channels):
        return TensorSpec(name, (1, 16, 16, channels), layout="NHWC")

    fields = {
        "name": "net",
        "task": SEGMENTATION,
        "inputs": (tensor("image", 3),),
        "outputs": (tensor("logits", 3),),
        "preprocess": IMAGENET_PREPROCESS,
        "labels": LABELS,
        "palette": ((0, 0, 0), (1, 2, 3), (4, 5, 6)),
    }
    return ModelSpec(**{**fields, **changes})


def published(
    folder: Path, name: str = "net-fp32.tflite", content: bytes = b"network", **changes
) -> Artifact:
    """A file with its sidecar, as an export leaves them; a name that ends in .mlpackage is a folder."""
    spec = spec_of(**changes)
    with staging(folder) as stage:
        path = stage.path(name)
        if name.endswith(".mlpackage"):
            path.mkdir()
            (path / "Manifest.json").write_bytes(b"{}")
            path = path / "weights.bin"
        path.write_bytes(content)
        artifact = Artifact(
            folder / name, "tflite", "fp32", spec.name, spec.task, spec.inputs, spec.outputs, spec.preprocess,
            spec.labels, spec.palette,
        )  # fmt: skip
        return stage.publish(name, artifact)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Of both apps: only the parts by which they are known."""
    for app in map(APPS.get, APPS):
        (tmp_path / app.folder / app.part).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("app", "file", "formats", "precisions"),
    [
        ("android", "net-fp32.tflite", ("tflite",), ("fp32", "fp16", "int8")),
        ("ios", "net-fp16.mlpackage", ("coreml",), ("fp16", "fp32", "int8")),
    ],
)
def test_files_and_sidecars_arrive_whole(checkout: Path, app: str, file: str, formats, precisions) -> None:
    delivery = Delivery(app, checkout / f"{app}_demo")
    assert (delivery.formats, delivery.precisions) == (formats, precisions)
    first, second = published(checkout / "build", file), published(checkout / "build", f"other-{file}")
    (path, other) = delivery.deliver([first, second])
    assert path == checkout / f"{app}_demo" / APPS.get(app).models / file
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted(
        [file, f"{file}.json", other.name, f"{other.name}.json"]
    )
    assert replace(load_sidecar(path), path=first.path) == load_sidecar(first.path)


@pytest.mark.parametrize("app", ["android", "ios"])
def test_the_clip_arrives_where_the_app_looks(checkout: Path, app: str) -> None:
    folder = Delivery(app, checkout / f"{app}_demo").deliver_clip()
    assert folder == checkout / f"{app}_demo" / APPS.get(app).clip
    assert len(list(folder.glob("*.jpg"))) == FRAMES
    (terms,) = folder.glob("*.txt")
    assert "public domain" in " ".join(terms.read_text(encoding="utf-8").split())


def test_a_clip_of_the_users_own_stays_the_only_one(checkout: Path) -> None:
    delivery = Delivery("ios", checkout / "ios_demo")
    own = checkout / "ios_demo" / APPS.get("ios").clip / "mine.mov"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"video")
    assert delivery.deliver_clip() is None
    assert [path.name for path in own.parent.iterdir()] == ["mine.mov"]


def test_a_file_in_the_way_of_the_clip_is_kept(checkout: Path) -> None:
    way = checkout / "android_demo" / APPS.get("android").clip
    way.parent.mkdir(parents=True)
    way.write_bytes(b"mine")
    with pytest.raises(UsageError) as refused:
        Delivery("android", checkout / "android_demo").deliver_clip()
    assert "--app-folder" in refused.value.hint
    assert way.read_bytes() == b"mine"


def test_files_of_the_same_name_are_replaced_and_others_stay(checkout: Path) -> None:
    delivery = Delivery("ios", checkout / "ios_demo")
    (path,) = delivery.deliver([published(checkout / "build", "net-fp16.mlpackage", b"older")])
    (path / "left from the older one").touch()
    mine = path.with_name("mine-fp32.mlpackage")
    mine.mkdir()
    delivery.deliver([published(checkout / "build", "net-fp16.mlpackage", b"newer")])
    assert (path / "weights.bin").read_bytes() == b"newer"
    assert not (path / "left from the older one").exists()
    assert mine.is_dir()
    assert load_sidecar(path).sha256 == load_sidecar(checkout / "build" / path.name).sha256


def test_a_file_that_changed_after_it_was_verified_does_not_arrive(checkout: Path) -> None:
    delivery = Delivery("android", checkout / "android_demo")
    (path,) = delivery.deliver([published(checkout / "build")])
    before = path.read_bytes(), path.with_name(f"{path.name}.json").read_bytes()
    good = published(checkout / "build", "good-fp32.tflite")
    changed = published(checkout / "build", content=b"another")
    changed.path.write_bytes(b"damaged")
    with pytest.raises(ToolchainError, match="is not the file that was verified"):
        delivery.deliver([good, changed])
    assert (path.read_bytes(), path.with_name(f"{path.name}.json").read_bytes()) == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == [path.name, f"{path.name}.json"]


def test_another_contract_does_not_arrive(checkout: Path) -> None:
    tall = spec_of().inputs[0]
    odd = published(checkout / "build", inputs=(replace(tall, shape=(1, 32, 16, 3)),))
    with pytest.raises(UnsupportedError, match="32 x 16"):
        Delivery("android", checkout / "android_demo").deliver([odd])


def test_a_folder_in_the_way_is_kept(checkout: Path) -> None:
    delivery = Delivery("android", checkout / "android_demo")
    way = checkout / "android_demo" / APPS.get("android").models / "net-fp32.tflite"
    way.mkdir(parents=True)
    with pytest.raises(UsageError, match="must not be overwritten") as refused:
        delivery.deliver([published(checkout / "build")])
    assert "--app-folder" in refused.value.hint


@pytest.mark.parametrize(
    ("app", "folder", "formats", "words"),
    [
        ("windows", None, None, "unknown app 'windows'"),
        ("android", "nowhere", None, "no checkout of the android app at"),
        ("android", "ios_demo", None, "is not the android app: it has no 'app/src/main'"),
        ("ios", "android_demo", None, "is not the ios app"),
        ("ios", "ios_demo", ["tflite"], "the ios app does not run 'tflite'"),
        ("android", "android_demo", ["tflite", "onnx"], "the android app does not run 'onnx'"),
    ],
)
def test_what_cannot_arrive_is_known_at_once(checkout: Path, app: str, folder, formats, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        Delivery(app, folder and checkout / folder, formats)
    assert words in refused.value.message
    assert refused.value.hint


def test_the_users_precisions_win(checkout: Path) -> None:
    delivery = Delivery("ios", checkout / "ios_demo", ["coreml"], ["w8"])
    assert delivery.precisions == ("w8",)
    assert "ios_demo/FaceParsingDemo.xcodeproj" in delivery.next_step


@pytest.mark.parametrize(
    ("changes", "head", "words"),
    [
        ({"task": CLASSIFICATION}, None, "does not parse faces"),
        ({"labels": ("background", "cat", "dog")}, None, "does not parse faces"),
        ({}, "argmax", "needs probabilities"),
    ],
)
def test_networks_that_the_app_cannot_show(checkout: Path, changes, head, words: str) -> None:
    delivery = Delivery("android", checkout / "android_demo")
    delivery.check(spec_of())
    delivery.check(spec_of(), "softmax")
    with pytest.raises(UnsupportedError, match=words):
        delivery.check(spec_of(**changes), head)


def test_sidecars_of_the_apps_have_what_an_export_says(checkout: Path) -> None:
    (path,) = Delivery("android", checkout / "android_demo").deliver([published(checkout / "build")])
    said = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    assert said == json.loads((checkout / "build" / f"{path.name}.json").read_text(encoding="utf-8"))
