"""The exported files on a phone's kind of processor: an aarch64 LiteRT, emulated, beside this computer's own.

Emulated, it says what the numbers are, and nothing about time.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.cli import run as toolchain
from toolchain.face.engine import FaceEngine
from toolchain.face.region import Box
from toolchain.runtimes.litert import LiteRTRuntime
from toolchain.spec import load_sidecar

CLOSE = 1e-4
# Of the photograph.
FACE = Box(150.0, 60.0, 130.0, 130.0)


class GivenBox:
    name = "given"

    def detect(self, picture):
        return [FACE]


class Recorded(LiteRTRuntime):
    """Keeps the latest inputs and outputs."""

    def run(self, inputs):
        outputs = super().run(inputs)
        self.inputs_of_run = {name: array.copy() for name, array in inputs.items()}
        self.outputs_of_run = {name: array.copy() for name, array in outputs.items()}
        return outputs


@pytest.fixture(scope="module")
def files(android, tmp_path_factory) -> Path:
    """The folder of what `--app android` hands to the app."""
    folder = tmp_path_factory.mktemp("export")
    checkout = folder / "android_demo"
    (checkout / "app/src/main").mkdir(parents=True)
    words = ["export", "mobile-hourglass", "-p", "fp32", "-p", "int8", "-o", str(folder / "build")]
    assert toolchain([*words, "--app", "android", "--app-folder", str(checkout)]) == 0
    return checkout / "app/src/main/assets/models"


def recorded_second_frame(path: Path, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Writes what the file is asked and answers in the second frame of a video, with a previous mask."""
    with Recorded(path) as runtime:
        engine = FaceEngine(runtime, load_sidecar(path), GivenBox())
        for _ in range(2):
            assert engine.process(picture).faces
        inputs, outputs = runtime.inputs_of_run, runtime.outputs_of_run
    assert all(array.any() for array in inputs.values())
    np.savez(
        path.with_suffix(".npz"),
        **{f"input:{name}": array for name, array in inputs.items()},
        **{f"output:{name}": array for name, array in outputs.items()},
    )
    return outputs


@pytest.mark.slow
def test_files_give_the_same_numbers_on_aarch64(android, aarch64, run, files):
    """fp32 to 1e-4, int8 exactly; by signature and by index, as apps in the field call them."""
    picture = cv2.imread(str(android.parent / "docs/images/astronaut.jpg"))[..., ::-1].copy()
    paths = [files / f"mobile-hourglass-{precision}.tflite" for precision in ("fp32", "int8")]
    largest = [
        max(1.0, *(float(np.abs(array).max()) for array in recorded_second_frame(path, picture).values()))
        for path in paths
    ]
    script = android.parent / "benchmarks/peers/run_on_interpreter.py"
    printed = run(*aarch64, script, "--runtime", "ai_edge_litert", *paths, minutes=30)
    report, _ = json.JSONDecoder().raw_decode(printed)
    for row, path, scale, bound in zip(report["files"], paths, largest, (CLOSE, 0.0), strict=True):
        assert row["file"] == path.name
        for way in ("by_signature", "by_index"):
            # The script divides by the largest output.
            assert row[way] * scale <= bound, row
