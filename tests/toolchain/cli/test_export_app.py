"""`toolchain export --app` as a user types it, on a small network that parses faces."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from toolchain.apps.delivery import APPS
from toolchain.cli import run
from toolchain.face.golden_sidecar import sidecar_cases
from toolchain.face.parse import check_runtime, contract_of
from toolchain.runtimes import load
from toolchain.spec import load_sidecar

FACTORY = """
    import torch
    from torch import nn
    from toolchain.spec import SEGMENTATION, ModelSpec, Preprocess, TensorSpec

    def small():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)), ModelSpec(
            name="small",
            task=SEGMENTATION,
            inputs=(TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),),
            outputs=(TensorSpec("logits", (1, 3, 16, 16), layout="NCHW"),),
            preprocess=Preprocess(margin=1.5),
            labels=("background", "skin", "nose"),
            palette=((0, 0, 0), (9, 9, 9), (99, 9, 9)),
        )
"""
PARTS = {"android": "app/src/main", "ios": "FaceParsingDemo"}
MODELS = {"android": "app/src/main/assets/models", "ios": "FaceParsingDemo/Models"}


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Named from the folder in which the command runs, which has a checkout of both apps."""
    (tmp_path / "net.py").write_text(textwrap.dedent(FACTORY), encoding="utf-8")
    for app, part in PARTS.items():
        (tmp_path / f"{app}_demo" / part).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return "net.py:small"


@pytest.mark.parametrize(
    ("app", "options", "files"),
    [
        ("android", ["-p", "fp32", "-p", "fp16"], ["small-fp32.tflite", "small-fp16.tflite"]),
        ("ios", ["-p", "fp16", "-p", "fp32"], ["small-fp16.mlpackage", "small-fp32.mlpackage"]),
    ],
)
def test_the_app_gets_files_that_run(network: str, capsys, app: str, options: list[str], files) -> None:
    assert run(["export", network, "--app", app, *options]) == 0
    said = capsys.readouterr().out
    for name in files:
        path = Path(f"{app}_demo") / MODELS[app] / name
        assert f"for the {app} app: {path}" in said
        sidecar = load_sidecar(path)
        assert contract_of(sidecar).is_face
        with load(path) as runtime:
            check_runtime(runtime, sidecar)
        assert load_sidecar(Path("build") / name).sha256 == sidecar.sha256
    clip = Path(f"{app}_demo") / APPS.get(app).clip
    assert f"for the benchmark of the {app} app: {clip}" in said
    assert any(clip.glob("*.jpg"))
    assert said.splitlines()[-1].startswith(f"next: open '{app}_demo")
    assert not Path(f"{'ios' if app == 'android' else 'android'}_demo", MODELS[app]).exists()


# Of an export, what differs from one to the next.
FIGURES = {"parity", "ops", "bytes", "sha256", "versions", "command"}


@pytest.mark.parametrize(
    ("app", "file"),
    [("android", "mobile-hourglass-fp32.tflite"), ("ios", "mobile-hourglass-fp16.mlpackage")],
)
def test_the_golden_sidecar_of_an_app_is_that_of_an_export(network: str, app: str, file: str) -> None:
    precision = Path(file).stem.rpartition("-")[2]
    assert run(["export", "mobile-hourglass", "--app", app, "-p", precision]) == 0
    path = Path(f"{app}_demo") / MODELS[app] / f"{file}.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    (golden,) = (
        json.loads(case["input"]["text"])
        for case in sidecar_cases()
        if case["name"] == f"mobile-hourglass as exported for the {app} app"
    )
    assert golden.keys() == written.keys()
    assert golden["parity"].keys() == written["parity"].keys()
    for key in golden.keys() - FIGURES:
        assert golden[key] == written[key], key


def test_another_checkout_and_json(network: str, tmp_path: Path, capsys) -> None:
    mine = tmp_path / "mine"
    (mine / PARTS["android"]).mkdir(parents=True)
    words = ["--app", "android", "--app-folder", str(mine), "-p", "fp32", "--json"]
    assert run(["export", network, *words]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["app"] == str(mine / MODELS["android"] / "small-fp32.tflite")
    assert Path(row["app"]).read_bytes() == Path(row["path"]).read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--app", "android", "--app-folder", "nowhere"], 2, "no checkout of the android app at 'nowhere'"),
        (["--app", "ios", "-f", "tflite"], 2, "the ios app does not run 'tflite'"),
        (["--app-folder", "android_demo"], 2, "--app-folder is for --app"),
        (["--app", "android", "--head", "argmax"], 3, "needs probabilities"),
    ],
)
def test_what_cannot_be_is_refused_before_any_file(
    network: str, capsys, words: list[str], code: int, message: str
) -> None:
    assert run(["export", network, *words]) == code
    said = capsys.readouterr().err
    assert message in said
    assert "hint: " in said
    assert not Path("build").exists()


def test_a_network_without_faces_is_refused(network: str, capsys) -> None:
    assert run(["export", "lenet", "--app", "android"]) == 3
    assert "'lenet' does not parse faces" in capsys.readouterr().err
    assert not Path("build").exists()
