"""Trained networks for the int8 comparison: data, training, samples, scores, and the whole command."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from toolchain.benchmarks import int8_trained_files
from toolchain.benchmarks.int8_pictures import Pictures, mnist
from toolchain.benchmarks.int8_trained import main
from toolchain.benchmarks.int8_trained_samples import networks, write_samples
from toolchain.benchmarks.int8_trained_scores import Gain, OutputScore
from toolchain.benchmarks.int8_trained_table import table
from toolchain.benchmarks.int8_training import Recipe, top1, trained_weights
from toolchain.cli import run
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo

DIGITS = 640
SHORT = Recipe(batch=32)

# Write what `peers/int8_convert.py` and `peers/quantize_ai_edge.py` write, with our files as the peer's.
CONVERT = """
import json, pathlib, shutil, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[3])
shutil.copy(folder.parent / "ours" / f"{name}-fp32.tflite", folder / f"{name}.tflite")
(folder / f"{name}.json").write_text(json.dumps({"versions": {"a": "1"}}))
"""
QUANTIZE = """
import json, pathlib, shutil, sys
output = pathlib.Path(sys.argv[3])
shutil.copy(output.parents[1] / "ours" / "lenet-int8.tflite", output)
output.with_suffix(".json").write_text(json.dumps({"versions": {"b": "2"}}))
"""


def digits(count: int, seed: int) -> Pictures:
    """Noise with a bright bar whose height is its class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    pixels = random.integers(0, 100, (count, 1, 28, 28), np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        picture[0, 2 + 2 * label : 5 + 2 * label, 4:24] = 255
    return Pictures(pixels, labels)


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the real data sets, with few pictures."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    for prefix, seed in (("train", 0), ("t10k", 1)):
        found = digits(DIGITS, seed)
        arrays = {"images-idx3": found.pixels[:, 0], "labels-idx1": found.labels.astype(np.uint8)}
        for name, array in arrays.items():
            (folder / "mnist" / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    random = np.random.default_rng(2)
    with zipfile.ZipFile(folder / "celebamask_hq_256.zip", "w") as archive:
        for name in ("train/{}/0", "train/{}/1", "val/{}/0", "val/{}/1"):
            picture = random.integers(0, 256, (64, 64, 3), np.uint8)
            label = np.full((64, 64), 1, np.uint8)
            archive.writestr(f"{name.format('images')}.jpg", cv2.imencode(".jpg", picture)[1].tobytes())
            archive.writestr(f"{name.format('labels')}.png", cv2.imencode(".png", label)[1].tobytes())
    return folder


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_weights(data, tmp_path_factory.mktemp("weights"), recipe=SHORT)[0]


def test_idx_files_are_read_as_they_were_written(data: Path) -> None:
    found, wanted = mnist(data / "mnist", "test"), digits(DIGITS, 1)
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    np.testing.assert_array_equal(found.labels, wanted.labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "no gzip file"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x09short"), "no idx file of 3"),
        (gzip.compress(idx(np.zeros((4, 28, 28), np.float32), 13)), "no idx file of 3"),
        (gzip.compress(idx(np.zeros((4, 28, 28), np.uint8))[:-1]), "cut off"),
        (gzip.compress(idx(np.zeros((4, 28, 28), np.uint8)))[:20], "no gzip file"),
    ],
    # A gzip header holds the time: left to pytest, the ids would differ from one worker to the next.
    ids=["plain", "one-dimension", "float", "cut-off", "cut-off-gzip"],
)
def test_a_damaged_idx_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(UnsupportedError, match=message):
        mnist(tmp_path, "train")


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(tmp_path)):
        trained_weights(tmp_path, tmp_path / "weights")


def test_training_learns_and_is_kept(weights: Path, data: Path) -> None:
    record = json.loads(weights.with_name("lenet-training.json").read_text(encoding="utf-8"))
    assert record["top1"] > 0.9
    network = zoo().get("lenet").build().eval()
    load_weights(network, weights)
    assert top1(network, mnist(data / "mnist", "test")) == pytest.approx(record["top1"], abs=1e-4)
    before = weights.read_bytes()
    longer = Recipe(epochs=50)
    assert trained_weights(data, weights.parent, recipe=longer) == (weights, record)
    assert weights.read_bytes() == before


def test_the_networks_have_trained_weights() -> None:
    assert networks()[0] == "lenet"
    assert "mobile-hourglass" in networks()
    assert all(zoo().get(name).weights for name in networks()[1:])


def test_samples_hold_inputs_answers_and_labels(weights: Path, data: Path, tmp_path: Path) -> None:
    files = write_samples("lenet", weights, data, tmp_path, 5, 7)
    calibration, measured = np.load(files.calibration), np.load(files.measured)
    assert calibration.files == ["image"]
    assert calibration["image"].shape == (5, 1, 28, 28)
    network = zoo().get("lenet").build().eval()
    load_weights(network, weights)
    with torch.no_grad():
        answers = network(torch.from_numpy(measured["image"])).numpy()
    np.testing.assert_allclose(measured["answer"], answers, atol=1e-4)
    assert measured["labels"].shape == (7,)
    again = write_samples("lenet", weights, data, tmp_path / "again", 5, 7)
    assert again.sha256 == files.sha256


def test_every_second_face_has_a_previous_mask(data: Path, tmp_path: Path) -> None:
    weights = zoo().get("mobile-hourglass").weights
    assert weights is not None
    files = write_samples("mobile-hourglass", weights, data, tmp_path, 2, 2)
    for path in (files.calibration, files.measured):
        masks = np.load(path)[zoo().get("mobile-hourglass").spec.inputs[1].name]
        assert not masks[0].any()
        np.testing.assert_allclose(masks[1].sum(0), 1, atol=1e-5)
    assert np.load(files.measured)["labels"].shape == (2, 256, 256)


def test_a_score_adds_up_samples() -> None:
    truth, score = np.array([[3.0, 4.0]]), OutputScore()
    score.add(np.array([[3.0, 3.0]]), truth, np.array([1]))
    score.add(truth.astype(np.float32), truth, np.array([0]))
    found = score.as_json()
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(50 / 1), abs=1e-3)
    # The tie of the first sample goes to class 0; the second agrees with the network, not with its label.
    assert (found["agreement"], found["worst_agreement"], found["accuracy"]) == (0.5, 0.0, 0.0)
    unknown = OutputScore()
    unknown.add(truth, truth, np.array([255]))
    assert unknown.as_json()["accuracy"] is None
    assert unknown.as_json()["sqnr_db"] is None


def test_a_gain_is_the_ratio_of_the_noises() -> None:
    random = np.random.default_rng(0)
    truth, labels = random.standard_normal((1, 10)), np.array([0])
    ours, peer = OutputScore(), OutputScore()
    for _ in range(50):
        noise = 0.1 * random.standard_normal((1, 10))
        ours.add(truth + noise, truth, labels)
        peer.add(truth + 2 * noise, truth, labels)
    assert Gain(ours, peer).as_json() == {"db": 6.021, "low": 6.021, "high": 6.021}


@pytest.mark.parametrize(
    ("names", "message"),
    [(["vgg11-cifar"], "no network with trained weights"), ([], "no file")],
)
def test_what_cannot_work_is_refused_at_once(
    names: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--data={tmp_path}", f"--folder={tmp_path}", f"--peer-python={tmp_path / 'none'}"]
    assert main([*names, *flags]) == 2
    assert message in capsys.readouterr().err


def export_here(arguments: Sequence[str | Path]) -> dict[str, Any]:
    """The command in this process, which has loaded everything; plain rounding, since refining takes long."""
    given = [str(argument) for argument in arguments if argument != "--refine"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(given) == 0
    return {"command": " ".join(given), "seconds": 0.0}


@pytest.mark.slow
def test_the_whole_command_with_our_files_as_the_peers(
    weights: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8_trained_files, "_toolchain", export_here)
    scripts = tmp_path / "peers"
    scripts.mkdir()
    (scripts / "int8_convert.py").write_text(CONVERT, encoding="utf-8")
    (scripts / "quantize_ai_edge.py").write_text(QUANTIZE, encoding="utf-8")
    kept = tmp_path / "folder" / "weights"
    kept.mkdir(parents=True)
    for path in weights.parent.iterdir():
        (kept / path.name).write_bytes(path.read_bytes())
    output = tmp_path / "report.json"
    flags = [f"--data={data}", f"--folder={tmp_path / 'folder'}", f"--peer-python={sys.executable}"]
    quick = ["--calibration=20", "--count=10", "--processes=1", "--rounds=1", "--warmup=0.02"]
    assert main(["lenet", *flags, *quick, f"--peer-scripts={scripts}", f"--output={output}"]) == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == report
    entry = report["networks"]["lenet"]
    assert entry["scores"]["ours"] == entry["scores"]["peer"]
    assert entry["scores"]["float"]["sqnr_db"] > 80
    assert 25 < entry["scores"]["ours"]["sqnr_db"] < 60
    assert [entry["gain_db"][peer]["ours"]["db"] for peer in ("peer", "peer-minmax")] == [0.0, 0.0]
    assert report["reached"]["lenet"]["ours"] is False
    assert entry["bytes"]["ours_to_float"] < 0.3
    assert entry["peer_versions"] == {"a": "1", "b": "2"}
    assert output.with_suffix(".md").read_text(encoding="utf-8") == table(report)
    assert "| lenet | ours, int8 |" in table(report)
