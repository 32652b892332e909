"""A face followed by the app's core as a whole, beside the Python engine on the same pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from toolchain.face.engine import FaceEngine
from toolchain.face.region import Box
from toolchain.runtimes import Runtime
from toolchain.spec import SEGMENTATION, Artifact, Preprocess, TensorSpec

SIZE, FRAMES = 256, 4
LABELS = ("background", "skin", "left eye", "right eye", "nose", "mouth")
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
SHAPE = (240, 320)
BOX = Box(100.0, 60.0, 120.0, 120.0)


def artifact_of(resize: str) -> Artifact:
    def tensor(name, channels):
        return TensorSpec(name, (1, SIZE, SIZE, channels), layout="NHWC")

    return Artifact(
        path=Path("colors-fp32.tflite"),
        format="tflite",
        precision="fp32",
        name="colors",
        task=SEGMENTATION,
        inputs=(tensor("image", 3), tensor("previous", len(LABELS))),
        outputs=(tensor("logits", len(LABELS)),),
        preprocess=Preprocess(resize=resize, margin=1.56, shift=-0.08),
        labels=LABELS,
        palette=PALETTE,
    )


class ColorRuntime(Runtime):
    """Logits are minus the squared distance to the colour of the class, and twice the previous mask."""

    def __init__(self, artifact):
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self._colors = (np.array(PALETTE, np.float32) - 127.5) / 127.5

    def _execute(self, arrays):
        away = ((arrays["image"][..., None, :] - self._colors) ** 2).sum(axis=-1)
        return {"logits": (2 * arrays["previous"] - away).astype(np.float32)}

    def _release(self):
        pass


class GivenBox:
    name = "given"

    def __init__(self, box):
        self.box = box

    def detect(self, picture):
        return [self.box]


def drawn(scale: int) -> np.ndarray:
    """A face of ovals in the colours of the classes."""
    y, x = np.mgrid[0 : SHAPE[0] * scale, 0 : SHAPE[1] * scale] / scale
    picture = np.zeros((*x.shape, 3), np.uint8)
    ovals = ((160, 122, 44, 54, 1), (142, 108, 8, 5, 2), (178, 108, 8, 5, 3), (160, 124, 7, 10, 4),
             (160, 146, 15, 7, 5))  # fmt: skip
    for across, down, wide, high, label in ovals:
        picture[((x - across) / wide) ** 2 + ((y - down) / high) ** 2 <= 1] = PALETTE[label]
    return picture


@pytest.mark.parametrize(("resize", "scale"), [("bilinear", 1), ("area", 4)])
def test_the_core_follows_a_face_as_the_engine_does(
    android, core, kotlinc, compiler, run, tmp_path, resize, scale
):
    artifact, picture = artifact_of(resize), drawn(scale)
    box = Box(*(scale * value for value in (BOX.x, BOX.y, BOX.width, BOX.height)))
    engine = FaceEngine(ColorRuntime(artifact), artifact, GivenBox(box))
    expected = []
    for _ in range(FRAMES):
        frame = engine.process(picture)
        (face,) = frame.faces
        expected.append((frame.labels.copy(), (face.box.x, face.box.y, face.box.width, face.confidence)))

    sidecar = tmp_path / "colors-fp32.tflite.json"
    sidecar.write_text(json.dumps(artifact.sidecar()), encoding="utf-8")
    (tmp_path / "picture").write_bytes(picture.tobytes())
    classes = kotlinc("golden", sorted((android / "core/src/test/kotlin").rglob("*.kt")), core, friend=core)
    classpath = os.pathsep.join(map(str, (core, classes, compiler / "lib" / "kotlin-stdlib.jar")))
    place = [str(value) for value in (*picture.shape[:2], box.x, box.y, box.width, FRAMES)]
    printed = run(
        "java", "-cp", classpath, "toolchain.face.VideoMainKt", sidecar, tmp_path / "picture", *place,
        tmp_path / "labels",
    )  # fmt: skip
    found = np.fromfile(tmp_path / "labels", np.uint8).reshape(FRAMES, *picture.shape[:2])
    for number, (line, (labels, numbers)) in enumerate(zip(printed.splitlines(), expected, strict=True)):
        *values, detected = line.split()
        assert detected == str(number == 0).lower()
        # OpenCV interpolates crops and flows in steps of 1/32 pixel.
        np.testing.assert_allclose([float(value) for value in values], numbers, atol=0.1 * scale)
        assert len(np.unique(labels)) == len(LABELS)
        assert (found[number] == labels).mean() > 0.999
