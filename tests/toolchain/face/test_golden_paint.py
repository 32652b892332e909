"""Golden cases of what is drawn, answered by toolchain.face.colorize, tones, coverage and effects."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import ToolchainError
from toolchain.face.colorize import colorize
from toolchain.face.coverage import Lead, coverage
from toolchain.face.effects import (
    INNER_MOUTH,
    LIP_EDGE,
    LIP_FEATHER,
    LOWER_LIP,
    UPPER_LIP,
    Face,
    lipstick,
)
from toolchain.face.golden_cases import decoded
from toolchain.face.golden_paint import lipstick_cases, overlay_cases
from toolchain.face.tones import recolored, tones


def colorized(given: dict) -> np.ndarray:
    palette = [tuple(color) for color in given["palette"]]
    return colorize(given["picture"], given["labels"], palette, given["alpha"], given["hidden"])


def face_of(given: dict) -> Face:
    return Face(given["probabilities"], np.array(given["matrix"]), tuple(given["labels"]))


def painted(given: dict) -> np.ndarray:
    return lipstick(given["picture"], face_of(given), tuple(given["color"]), given["strength"])


def covered(given: dict) -> np.ndarray:
    face = face_of(given)
    lead = Lead((face.plane(UPPER_LIP), face.plane(LOWER_LIP)), face.plane(INNER_MOUTH))
    plane = face.plane(UPPER_LIP, LOWER_LIP)
    found = coverage(plane, face.matrix, given["shape"], LIP_EDGE, given["strength"], LIP_FEATHER, lead)
    whole = np.zeros(given["shape"], np.uint8)
    if found is not None:
        whole[found.rows, found.columns] = found.opacity
    return whole


ANSWERS = {
    "colorize": ("picture", colorized),
    "tones": ("table", lambda given: tones(tuple(given["color"]), given["shift"])[:, 0]),
    "recolored": (
        "picture",
        lambda given: recolored(given["pixels"], tuple(given["color"]), given["shift"]),
    ),
    "coverage": ("opacity", covered),
    "lipstick": ("picture", painted),
}
CASES = [*overlay_cases(), *lipstick_cases()]


@pytest.mark.parametrize("entry", CASES, ids=[entry["name"] for entry in CASES])
def test_pictures(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    key, answer = ANSWERS[entry["function"]]
    if "refusal" in wanted:
        with pytest.raises(ToolchainError) as refused:
            answer(given)
        assert all(word in str(refused.value) for word in wanted["refusal"]["mentions"])
        return
    off = np.abs(answer(given).astype(int) - wanted[key])
    assert off.max() <= wanted["tolerance"]


def test_lipstick_changes_lips_and_leaves_the_inner_mouth() -> None:
    entry = next(entry for entry in CASES if entry["name"] == "lipstick pixel by pixel")
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    changed = (given["picture"] != wanted["picture"]).any(axis=2)
    assert changed.any()
    # The crop lies at (4, 3): the middle of the mouth is at its (12, 12).
    assert not changed[15, 16]
    assert changed[12, 16]
    assert changed[18, 16]
