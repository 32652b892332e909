"""The pipeline as a contender: a drawn face, a real detector, and a small file that knows its colours."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from toolchain.benchmarks import tracking
from toolchain.benchmarks.harness.measure import Options
from toolchain.benchmarks.harness.results import PIPELINE, from_json
from toolchain.benchmarks.pipeline import (
    STAGES,
    PipelineContender,
    measure_pipelines,
    pipeline_figures,
    take_frames,
)
from toolchain.converters.graph import clean
from toolchain.converters.tflite import convert
from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.source import Synthetic, drawn_face
from toolchain.spec import SEGMENTATION, Artifact, Preprocess

LABELS = ("background", "skin", "left eye", "nose", "upper lip")
# Colours of ground, skin, white of the eye, nose and lips in `drawn_face`.
COLORS = np.array(
    [(88, 96, 104), (214, 170, 146), (240, 236, 230), (200, 150, 126), (170, 74, 80)], np.float32
)
SIZE = 64
COMMAND = ["toolchain", "benchmark", "pipeline"]


@pytest.fixture(scope="module")
def parser_file(tmp_path_factory):
    """A .tflite face parser: logits fall with the squared distance from each class's colour."""
    colors = COLORS / 127.5 - 1
    # |x - c|^2 less |x|^2, which is the same for all classes.
    weights = (2 * 60 * colors)[:, :, None, None].astype(np.float32)
    bias = (-60 * (colors**2).sum(axis=1)).astype(np.float32)
    shape = [1, 3, SIZE, SIZE]
    classes = [1, len(LABELS), SIZE, SIZE]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights", "bias"], ["scores"]),
            helper.make_node("Mul", ["previous", "little"], ["memory"]),
            helper.make_node("Add", ["scores", "memory"], ["logits"]),
        ],
        "parser",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("previous", TensorProto.FLOAT, classes),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, classes)],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(np.float32(0.1), "little"),
        ],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    clean(model)
    made = convert(model)
    path = tmp_path_factory.mktemp("parser") / "parser-fp32.tflite"
    path.write_bytes(made.data)
    describe(path, made.inputs, made.outputs)
    return path


def describe(path, inputs, outputs):
    """The sidecar of the parser, whose previous mask no convolution reads: it keeps its ONNX shape."""
    inputs = [replace(tensor, layout=tensor.layout or "NCHW") for tensor in inputs]
    palette = tuple((40 * n, 250 - 40 * n, 10) for n in range(len(LABELS)))
    artifact = Artifact(
        path, "tflite", "fp32", "parser", SEGMENTATION, tuple(inputs), tuple(outputs),
        Preprocess(resize="area", margin=1.56, shift=-0.08), LABELS, palette,
        bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip
    artifact.sidecar_path.write_text(json.dumps(artifact.sidecar()))


@pytest.fixture(scope="module")
def frames():
    return take_frames(Synthetic((320, 240)), most=8)


def quick(**changes):
    return Options(**{"min_runs": 12, "min_seconds": 0.0, "warmup_seconds": 0.05, "threads": 1, **changes})


def test_every_stage_has_a_time_and_rounds_begin_with_a_detection(parser_file, frames):
    contender = PipelineContender("parser", parser_file, frames, threads=1)
    contender.load()
    try:
        times = [dict(contender.run()) for _ in range(24)]
    finally:
        contender.close()
    assert all(tuple(found) == STAGES for found in times)
    assert all(found["inference"] > 0 and found["colorization"] > 0 for found in times)
    # Three rounds of eight frames.
    assert contender.seen == {"frames": 24, "detected": 3, "tracked": 21, "with_face": 24}
    assert contender.shares() == {"detected": 0.125, "tracked": 0.875, "with_face": 1.0}


@pytest.mark.parametrize("effect", ["mask", "lipstick"])
def test_what_is_drawn_is_on_the_face(parser_file, frames, effect):
    contender = PipelineContender("parser", parser_file, frames, threads=1, effect_name=effect)
    contender.load()
    try:
        if effect == "lipstick":
            with pytest.raises(UnsupportedError, match="no class 'lower lip'"):
                contender.run()
            return
        contender.run()
        changed = (contender._drawn != frames.pictures[0]).any(axis=2)
    finally:
        contender.close()
    y, x = np.nonzero(changed)
    centre = Synthetic((320, 240)).centre(0)
    assert 0.05 < changed.mean() < 0.5
    assert abs(x.mean() - centre[0]) < 10
    assert abs(y.mean() - centre[1]) < 20


def test_results_have_stages_shares_and_the_source(parser_file, frames):
    results = measure_pipelines([parser_file], frames, quick(), COMMAND)
    again = from_json(json.loads(json.dumps(results.as_json())), "results")
    assert again.kind == PIPELINE
    [entry] = again.entries
    assert set(entry.samples) == {*STAGES, "total"}
    assert entry.file.model == "parser"
    assert set(entry.shares) == {"detected", "tracked", "with_face"}
    assert again.settings["size"] == [320, 240]
    assert again.settings["frames"] == 8
    parts = np.sum([entry.samples[stage] for stage in STAGES], axis=0)
    assert (parts <= np.array(entry.samples["total"]) + 1e-6).all()
    found = pipeline_figures(entry)
    assert found["fps"] == pytest.approx(1e3 / np.mean(entry.samples["total"]), rel=1e-3)
    assert found["stages"]["crop"]["p50"] == pytest.approx(np.median(entry.samples["crop"]), abs=1e-5)


def test_a_source_without_a_face_is_one_clear_error(parser_file):
    empty = take_frames(EmptyScene(), most=3)
    with pytest.raises(UnsupportedError, match="no face was found in 3 frames of 'grey'"):
        measure_pipelines([parser_file], empty, quick(), COMMAND)
    with pytest.raises(UnsupportedError, match="no face was found"):
        measure_pipelines([parser_file], take_frames(EmptyScene(), most=300), quick(min_runs=2), COMMAND)


class EmptyScene:
    name, live, rate = "grey", False, None

    def frames(self):
        while True:
            yield np.full((60, 80, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"artifacts": ["missing.tflite"]}, "no model file"),
        ({"effect_name": "wings"}, "unknown effect"),
        ({"detector": "detector.bin"}, "no face detector that is known"),
        ({"faces": 0}, "faces must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused(parser_file, frames, change, words):
    given = {"artifacts": [parser_file], **change}
    given["artifacts"] = [Path(path) for path in given["artifacts"]]
    with pytest.raises(UsageError, match=words):
        measure_pipelines(frames=frames, options=quick(), command=COMMAND, **given)


def test_frames_are_fitted_and_counted():
    taken = take_frames(Synthetic((320, 240)), (160, 160), 3)
    assert [picture.shape for picture in taken.pictures] == [(160, 160, 3)] * 3
    with pytest.raises(UsageError, match="at least 1"):
        take_frames(Synthetic(), most=0)


def test_tracking_agrees_with_detection_on_every_frame(parser_file, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 25, (320, 240))
    for number in range(12):
        writer.write(drawn_face((320, 240), (150 + 3 * number, 120), 110)[:, :, ::-1])
    writer.release()
    found = tracking.measure(parser_file, path)["all"]
    assert (found["frames"], found["frames_compared"], found["detector_ran"]) == (12, 12, 1)
    # At 64 pixels the outlines are coarse: regions that differ by a pixel or two move them visibly.
    assert found["agreement_face_pixels"] > 90
    assert found["agreement_all_pixels"] > 98


def test_the_command_prints_frames_per_second_and_stages(parser_file, tmp_path):
    from toolchain.cli import app

    output = tmp_path / "pipeline.json"
    words = ["benchmark", "pipeline", str(parser_file), "--source", "synthetic", "--size", "320x240"]
    options = ["--frames", "6", "--runs", "8", "--seconds", "0", "--warmup", "0.05"]
    done = CliRunner().invoke(app, [*words, *options, "--json", "-o", str(output)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["stages"]) == {*STAGES, "total"}
    assert set(found["stages"]["total"]) == {"p50", "p90", "p99"}
    assert found["fps"] > 0
    assert found["settings"]["source"] == "synthetic"
    assert from_json(json.loads(output.read_text()), "output").entries[0].name == "parser-fp32.tflite"
    shown = CliRunner().invoke(app, [*words, *options])
    lines = shown.stdout.splitlines()
    # The name is never folded to the width of the table, and detection has its share per frame.
    assert any(
        line.startswith("parser-fp32.tflite: LiteRT") and line.endswith("1 thread(s)") for line in lines
    )
    assert ["ms", "a", "frame", "mean", "p50", "p90", "p99"] in [line.split() for line in lines]
    refused = CliRunner().invoke(app, [*words[:-1], "640"])
    assert isinstance(refused.exception, UsageError)
    assert "no size" in refused.exception.message
