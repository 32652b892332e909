"""The photograph of the README, and a runtime that computes with numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.face.picture import read_picture
from toolchain.runtimes import Runtime
from toolchain.spec import SEGMENTATION, Artifact, Preprocess, TensorSpec

PHOTOGRAPH = Path(__file__).parents[3] / "docs" / "images" / "astronaut.jpg"
LABELS = ("background", "skin", "nose")
PALETTE = ((0, 0, 0), (250, 10, 10), (10, 250, 10))


class NumpyRuntime(Runtime):
    """Applies a function to the inputs, and keeps what it was given."""

    def __init__(self, artifact, function):
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self.function = function
        self.given = []

    def _execute(self, arrays):
        self.given.append(arrays)
        return {self.outputs[0].name: self.function(**arrays)}

    def _release(self):
        pass


def make_artifact(size=16, layout="NCHW", previous=True, classes=3, **changes):
    """The sidecar of a face parser with three classes."""

    def tensor(name, channels):
        shape = (1, channels, size, size) if layout == "NCHW" else (1, size, size, channels)
        return TensorSpec(name, shape, layout=layout)

    inputs = [tensor("image", 3)] + ([tensor("previous", classes)] if previous else [])
    fields = {
        "path": Path("net.onnx"),
        "format": "onnx",
        "precision": "fp32",
        "name": "net",
        "task": SEGMENTATION,
        "inputs": tuple(inputs),
        "outputs": (tensor("logits", classes),),
        "preprocess": Preprocess(mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0), margin=1.5),
        "labels": LABELS,
        "palette": PALETTE,
    }
    return Artifact(**{**fields, **changes})


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """512 x 512 RGB; one face, eyes at (204, 101) and (248, 104), nose at (225, 122), mouth at (224, 148)."""
    return read_picture(PHOTOGRAPH)


@pytest.fixture(scope="session")
def artifact_of():
    """`make_artifact`."""
    return make_artifact


@pytest.fixture(scope="session")
def numpy_runtime():
    """`NumpyRuntime`."""
    return NumpyRuntime


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every test."""
    return np.random.default_rng(3)
