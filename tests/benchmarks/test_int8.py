"""The int8 comparison on a small face parser: what it counts, and that its figures are those of the files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from toolchain.benchmarks.int8 import Files, accuracy, main, sizes
from toolchain.benchmarks.int8_samples import face_samples, for_file, write_calibration
from toolchain.benchmarks.int8_scores import Score, StepScore, output_step
from toolchain.converters.graph import clean
from toolchain.converters.quantize.calibrate import calibrate
from toolchain.converters.quantize.integer_forms import write_integer_forms
from toolchain.converters.quantize.place import place_pairs
from toolchain.converters.tflite import convert
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models import zoo
from toolchain.runtimes import load
from toolchain.spec import TensorSpec

SIDE, CLASSES, PICTURES = 32, 10, 4
SPEC = zoo().get("mobile-hourglass").spec


class Parser(nn.Module):
    """A face parser of two convolutions with a previous mask."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3 + CLASSES, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, CLASSES, 1)
        )

    def forward(self, image: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        return self.body(torch.cat([image, previous], 1))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "faces.zip"
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "val"):
            for index in range(PICTURES):
                picture = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
                label = random.integers(0, 3, (SIDE, SIDE), np.uint8)
                for name, pixels in ((f"images/{index}.jpg", picture), (f"labels/{index}.png", label)):
                    archive.writestr(f"{split}/{name}", cv2.imencode(name[-4:], pixels)[1].tobytes())
    return path


def write(folder: Path, faces: Path, seed: int = 0, io: str = "float") -> tuple[Path, Path, Path]:
    """Float file, int8 file and graph of one network."""
    torch.manual_seed(seed)
    specs = [TensorSpec("image", (1, 3, SIDE, SIDE)), TensorSpec("previous", (1, CLASSES, SIDE, SIDE))]
    graph = torch_to_onnx(Parser().eval(), specs, ["logits"])
    clean(graph)
    paths = tuple(folder / f"{seed}-{io}-{name}" for name in ("fp32.tflite", "int8.tflite", "int8.onnx"))
    paths[0].write_bytes(convert(graph.clone(), "fp32").data)
    write_integer_forms(graph)
    with load(paths[0], threads=1) as network:
        found = list(face_samples(faces, "train", PICTURES, SPEC.preprocess, network))
    planes = [{name: np.moveaxis(a, -1, 1) for name, a in sample.arrays.items()} for sample in found]
    place_pairs(graph, calibrate(graph, planes, threads=1).ranges)
    ir.save(graph, paths[2])
    paths[1].write_bytes(convert(graph, "int8", io=io).data)
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Files:
    folder = tmp_path_factory.mktemp("files")
    single, ours, graph = write(folder, faces)
    return Files(single, ours, {"same": ours, "bytes": write(folder, faces, io="int8")[1]}, single, graph)


def test_scores_of_files_that_are_equal_or_differ_at_their_borders_only(files: Files, faces: Path) -> None:
    found = accuracy(files, SPEC, faces, PICTURES, 2)
    scores = found["scores"]
    assert scores["same"] == scores["ours"]
    # Borders of bytes round ties another way.
    for figure, margin in (("sqnr_db", 0.2), ("agreement", 0.002)):
        assert scores["bytes"]["all"][figure] == pytest.approx(scores["ours"]["all"][figure], abs=margin)
    assert set(found["gain_db"]["same"].values()) == {0.0}
    assert found["least_gain_db"] == min(
        gain for kinds in found["gain_db"].values() for gain in kinds.values()
    )
    assert 25 < scores["ours"]["all"]["sqnr_db"] < 60
    assert scores["ours"]["all"]["agreement"] > 0.95
    assert found["float"]["agreement"] == 1
    assert [scores["ours"][kind]["pictures"] for kind in ("all", "with_mask", "without_mask")] == [4, 2, 2]
    assert found["against_graph"]["pictures"] == 2
    assert found["against_graph"]["within_two_steps"] == 1
    assert found["against_graph"]["agreement"] > 0.99


def test_a_peer_made_from_other_weights_is_refused(files: Files, faces: Path, tmp_path: Path) -> None:
    other = write(tmp_path, faces, seed=1)[0]
    with pytest.raises(UsageError, match="differ"):
        accuracy(Files(files.own_float, files.ours, files.peers, other), SPEC, faces, 2)


def test_the_command_line_saves_what_it_prints(files, faces, tmp_path, capsys) -> None:
    named = {"--float": files.own_float, "--ours": files.ours, "--peer-float": files.own_float}
    given = [f"{flag}={path}" for flag, path in {**named, "--peer": files.peers["bytes"]}.items()]
    quick = ["--count=2", "--processes=1", "--rounds=1", "--warmup=0.05"]
    output = tmp_path / "report.json"
    assert main(["mobile-hourglass", *given, *quick, f"--data={faces}", f"--output={output}"]) == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == report
    peer = files.peers["bytes"].stem
    assert list(report["latency"]["against"]) == ["float", peer, "peer_float"]
    smallest = {name: entry["wall"]["minimum"] for name, entry in report["latency"]["files"].items()}
    ratio = report["latency"]["against"][peer]["minimum"]
    assert ratio == pytest.approx(smallest["ours"] / smallest[peer], abs=1e-4)
    assert report["bytes"] == sizes(
        Files(files.own_float, files.ours, {"x": files.peers["bytes"]}, files.own_float)
    )
    assert report["accuracy"]["against_graph"] is None


def test_calibration_pictures_and_arrays_hold_the_same(files: Files, faces: Path, tmp_path: Path) -> None:
    made = write_calibration(SPEC, files.own_float, faces, tmp_path, PICTURES)
    assert made["pictures"] == len(list((tmp_path / "pictures").glob("*.png"))) == PICTURES
    arrays, masked = (np.load(tmp_path / name) for name in ("calibration.npz", "calibration-masked.npz"))
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "pictures" / "0001.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_allclose(arrays["image"][1], (picture - 127.5) / 127.5, atol=1e-6)
    np.testing.assert_array_equal(arrays["image"], masked["image"])
    given = [bool(mask.any()) for mask in arrays["previous"]]
    assert given == [False, True, False, True]
    np.testing.assert_allclose(masked["previous"].sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(arrays["previous"][1], masked["previous"][1])


def test_inputs_are_matched_by_shape(files: Files) -> None:
    image, mask = np.zeros((1, SIDE, SIDE, 3)), np.ones((1, SIDE, SIDE, CLASSES))
    with load(files.ours) as runtime:
        assert for_file({"b": mask, "a": image}, runtime)["image"] is image
        with pytest.raises(UsageError, match="the samples are"):
            for_file({"a": image}, runtime)


def test_a_score_counts_what_it_says() -> None:
    truth = np.zeros((1, 1, 2, CLASSES), np.float32)
    truth[0, 0, :, 1] = 10
    found = truth.copy()
    found[0, 0, 0, 2] = 11
    score = Score(CLASSES)
    score.add(found, truth, np.ones((1, 2), np.uint8))
    assert score.sqnr_db == pytest.approx(10 * np.log10(200 / 121))
    assert score.as_json()["agreement"] == 0.5


@pytest.mark.parametrize(("off", "within"), [(2, 1.0), (2.5, 0.95)])
def test_steps_are_counted_up_to_two(off: float, within: float) -> None:
    truth = np.zeros((1, 1, 2, CLASSES), np.float32)
    found = truth.copy()
    found[0, 0, 0, 0] = off * 0.1
    score = StepScore(0.1)
    score.add(found, truth)
    assert score.as_json()["within_two_steps"] == within
    assert score.as_json()["largest_steps"] == pytest.approx(off)


def test_a_graph_with_a_float_output_has_no_step(tmp_path: Path) -> None:
    x, y = ir.val("x", ir.DataType.FLOAT, [1]), ir.val("y", ir.DataType.FLOAT, [1])
    node = ir.node("Relu", [x], outputs=[y])
    ir.save(
        ir.Model(ir.Graph([x], [y], nodes=[node], opset_imports={"": 18}), ir_version=10), tmp_path / "f.onnx"
    )
    with pytest.raises(UnsupportedError, match="not stored as integers"):
        output_step(tmp_path / "f.onnx")
