"""Label agreement of files, on one drawn face and the trained face parser."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import toolchain
from toolchain.benchmarks.face_agreement import Score, main, measure
from toolchain.errors import UsageError
from toolchain.training.metrics import FaceF1

SIDE = 64


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip with one validation pair: an oval on a ground of another colour."""
    picture = np.full((SIDE, SIDE, 3), 60, np.uint8)
    index = np.zeros((SIDE, SIDE), np.uint8)
    for canvas, color in ((picture, (140, 170, 220)), (index, 1)):
        cv2.ellipse(canvas, (SIDE // 2, SIDE // 2), (20, 26), 0, 0, 360, color, -1)
    path = tmp_path_factory.mktemp("agreement") / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, pixels in (("images/0.jpg", picture), ("labels/0.png", index)):
            archive.writestr(f"val/{name}", cv2.imencode(Path(name).suffix, pixels)[1].tobytes())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The trained face parser, exact and with fewer bits."""
    output = tmp_path_factory.mktemp("files")
    made = toolchain.export("mobile-hourglass", formats=["coreml"], precisions=["fp32", "w8"], output=output)
    made += toolchain.export("mobile-hourglass", formats=["tflite"], precisions=["int8"], output=output)
    return [str(artifact.path) for artifact in made]


def test_report_of_a_trained_network(
    faces: Path, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.json"
    assert main([*files, "--data", str(faces), "--output", str(output)]) == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == report
    assert report["pictures"] == 1
    assert report["torch"]["agreement"] == 1
    exact, weights, whole = (report["files"][Path(file).name] for file in files)
    assert exact["agreement"] >= 0.9999
    assert weights["agreement"] >= 0.99
    assert whole["agreement"] >= 0.99
    assert weights["bytes"] < exact["bytes"]
    assert report["environment"]["versions"]["coremltools"]


def test_scores_count_pixels() -> None:
    score = Score(FaceF1(10))
    truth = np.zeros((4, 4), np.int64)
    truth[:2] = 6
    found = truth.copy()
    found[0, 0] = 0
    label = torch.from_numpy(truth)
    score.add(found, truth, label)
    score.add(truth, truth, label)
    figures = score.as_json()
    assert figures["agreement"] == pytest.approx(31 / 32)
    assert figures["worst_picture_agreement"] == pytest.approx(15 / 16)
    assert figures["strict_f1"] == pytest.approx(200 * 15 / 31, abs=1e-3)


def test_what_cannot_be_measured(files: list[str], faces: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        measure([Path(files[0])], faces, 0)
    toolchain.export("lenet", formats=["tflite"], output=tmp_path)
    other = tmp_path / "lenet-fp32.tflite"
    with pytest.raises(UsageError, match="no face parser"):
        measure([other], faces)
    with pytest.raises(UsageError, match="the same name"):
        measure([Path(files[0]), Path(files[0])], faces)
    with pytest.raises(UsageError, match="several networks"):
        measure([other, Path(files[0])], faces)


def test_no_data_is_one_line_on_standard_error(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, "--data", str(tmp_path / "none.zip")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: no data at")
    assert "hint: " in captured.err
