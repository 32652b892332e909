"""`toolchain benchmark report`: what is written, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from toolchain import export
from toolchain.benchmarks.harness.results import MeasuredFile, Results
from toolchain.cli.benchmark_report import benchmark_report
from toolchain.errors import ToolchainError
from toolchain.publish import sha256_of
from toolchain.spec import Artifact

Save = Callable[[Results, str], Path]


def call(*arguments: object) -> str:
    """Standard output of the command; its error is raised."""
    app = typer.Typer(add_completion=False)
    app.command()(benchmark_report)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_every_form(models: Results, pipeline: Results, saved: Save, tmp_path: Path) -> None:
    files = [saved(models, "a.json"), saved(pipeline, "b.json")]
    before = [path.read_bytes() for path in files]
    for name, start in (
        ("r.html", "<!doctype html>"),
        ("r.md", "# Benchmark"),
        ("trace.json", '{"traceEvents":'),
    ):
        assert call(*files, "-o", tmp_path / name) == f"wrote {tmp_path / name}\n"
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.startswith(start)
        assert "whole app" in text
        assert "b.tflite" in text
    assert len(json.loads((tmp_path / "trace.json").read_text())["traceEvents"]) > 300
    assert [path.read_bytes() for path in files] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.json",
        "b.json",
        "r.html",
        "r.md",
        "trace.json",
    ]


@pytest.mark.parametrize(
    ("output", "more", "message"),
    [
        ("report.pdf", [], "no name for a report"),
        ("missing/report.html", [], "no folder"),
        ("a.json", [], "one of the results files"),
        ("report.html", ["--weights", "w.safetensors"], "for parity pictures"),
        ("report.md", ["--pictures", "."], "cannot hold pictures"),
        ("report.html", ["--pictures", "absent"], "neither a model file nor a folder"),
        ("report.html", ["--pictures", "absent.tflite"], "no model file"),
        ("report.html", ["--pictures", "."], "no SHA-256 is the same"),
    ],
)
def test_refusals(
    models: Results, saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    output: str, more: list[str], message: str,
) -> None:  # fmt: skip
    path = saved(models, "a.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ToolchainError, match=message):
        call(path, "-o", output, *more)
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


FACTORY = """
import torch
from toolchain.spec import SEGMENTATION, ModelSpec, Preprocess, TensorSpec


def tiny():
    torch.manual_seed(0)
    spec = ModelSpec(
        name="tiny", task=SEGMENTATION, inputs=(TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, 3, 16, 16), layout="NCHW"),), preprocess=Preprocess(),
        labels=("background", "sky", "sea"), palette=((0, 0, 0), (1, 2, 255), (4, 255, 6)),
    )
    return torch.nn.Conv2d(3, 3, 1), spec
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("network") / "tiny_network.py"
    path.write_text(FACTORY)
    return f"{path}:tiny"


@pytest.fixture(scope="module")
def artifact(network: str, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("files")
    return export(network, formats=["tflite"], precisions=["fp32"], output=folder)[0]


def measured_file(artifact: Artifact) -> MeasuredFile:
    return MeasuredFile("elsewhere.tflite", sha256_of(artifact.path), artifact.bytes, "tflite", "fp32")


def test_parity_pictures(
    models: Results, artifact: Artifact, network: str, saved: Save, tmp_path: Path
) -> None:
    entry = replace(models.entries[0], file=measured_file(artifact))
    path = saved(replace(models, entries=[entry, models.entries[1]]), "a.json")
    folder = artifact.path.parent
    call(path, "-o", tmp_path / "r.html", "--pictures", folder, "--samples", 1, "--network", network)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == 4
    for name in ("input", "PyTorch", "tflite, fp32", "difference"):
        assert f'alt="{name} of a.tflite"' in text
    assert "same label in 100.00 % of the pixels" in text or "exactly equal" in text
    assert "#0102ff" in text
    assert "&#39;b.tflite&#39;: its file is not among those given." in text


def test_files_with_weights_of_their_own_are_not_compared_with_others(
    models: Results, artifact: Artifact, saved: Save, tmp_path: Path
) -> None:
    sidecar = json.loads(artifact.sidecar_path.read_text())
    copy = tmp_path / "own.tflite"
    copy.write_bytes(artifact.path.read_bytes())
    own = {**sidecar, "command": "toolchain export tiny --weights mine.safetensors"}
    copy.with_name("own.tflite.json").write_text(json.dumps(own))
    path = saved(
        replace(models, entries=[replace(models.entries[0], file=measured_file(artifact))]), "a.json"
    )
    with pytest.raises(ToolchainError, match="weights of its own"):
        call(path, "-o", tmp_path / "r.html", "--pictures", copy)
