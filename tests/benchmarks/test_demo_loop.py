"""The demo is started as a user starts it, under a display without a screen; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from toolchain.benchmarks.demo_loop import RATE, SIZE, fitted_clip, main, measure_memory
from toolchain.benchmarks.demo_stand_in import write_stand_in
from toolchain.errors import ToolchainError
from toolchain.face.source import Synthetic, open_source

FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A drawn face in a picture that has another shape than the window's."""
    path = tmp_path_factory.mktemp("clip") / "face.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 15, (480, 480))
    for picture in Synthetic(count=FRAMES).frames():
        writer.write(cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (480, 480)))
    writer.release()
    return path


def test_a_clip_is_fitted_and_repeated(clip, tmp_path):
    made = open_source(str(fitted_clip(clip, tmp_path, 2)))
    shapes = [picture.shape for picture in made.frames()]
    assert shapes == [(SIZE[1], SIZE[0], 3)] * (2 * FRAMES)
    assert made.rate == RATE


def test_speed_is_that_of_the_window(clip, tmp_path, capsys):
    artifact, output = write_stand_in(tmp_path), tmp_path / "speed.json"
    words = ["--output", str(output), "speed", str(artifact), "--clip", str(clip), "--repeats", "2"]
    status = main(words)
    found = json.loads(output.read_text())["speed"]
    assert json.loads(capsys.readouterr().out)["speed"] == found
    assert found["frames"]["captured"] == 2 * FRAMES
    assert 0 < found["frames"]["shown"] <= 2 * FRAMES
    assert found["glass_to_glass"]["p50"] <= found["glass_to_glass"]["p90"]
    assert found["effect"] == "lipstick"
    assert status == (0 if found["good"] else 5)


def test_memory_needs_more_than_its_warm_up(tmp_path):
    with pytest.raises(ToolchainError, match="ran for less than 60 seconds"):
        measure_memory(write_stand_in(tmp_path), 5, 120.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speed", "none.tflite", "--clip", "none.mp4"], "there is no clip 'none.mp4'"),
        (["memory", "--artifact", "none.tflite", "--frames", "3"], "none.tflite"),
    ],
)
def test_missing_files_are_named(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(words) != 0
    assert message in capsys.readouterr().err
