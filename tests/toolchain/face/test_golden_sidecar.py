"""Golden cases of sidecars, read and refused as the engine does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import UnsupportedError
from toolchain.face.engine import FaceEngine
from toolchain.face.golden_engine import EvenRuntime, ToldDetector
from toolchain.face.golden_sidecar import sidecar_cases
from toolchain.face.region import Box
from toolchain.spec import parse_sidecar

CASES = sidecar_cases()


def start(text: str) -> FaceEngine:
    """What the engine does with a sidecar before the network runs for the first time."""
    artifact = parse_sidecar(Path("face-parser-fp32.tflite"), text)
    detector = ToldDetector()
    detector.boxes = [Box(4.0, 4.0, 16.0, 16.0)]
    return FaceEngine(EvenRuntime(artifact), artifact, detector)


@pytest.mark.parametrize(
    "entry", [entry for entry in CASES if "refusal" in entry["expected"]], ids=lambda entry: entry["name"]
)
def test_bad_sidecars_are_refused(entry: dict) -> None:
    with pytest.raises(UnsupportedError) as refused:
        start(entry["input"]["text"]).process(np.zeros((32, 32, 3), np.uint8))
    missing = [word for word in entry["expected"]["refusal"]["mentions"] if word not in str(refused.value)]
    assert not missing, str(refused.value)


@pytest.mark.parametrize(
    "entry", [entry for entry in CASES if "refusal" not in entry["expected"]], ids=lambda entry: entry["name"]
)
def test_good_sidecars_are_read(entry: dict) -> None:
    contract, wanted = start(entry["input"]["text"]).contract, entry["expected"]
    assert contract.size == wanted["size"]
    assert list(contract.labels) == wanted["labels"]
    assert [list(color) for color in contract.palette] == wanted["palette"]
    assert contract.image.image == wanted["image"]["image"]
    assert (contract.previous is None) == (wanted["previous"] is None)
    assert contract.logits.scale == wanted["logits"]["scale"]
    assert contract.preprocess.margin == wanted["preprocessing"]["margin"]
