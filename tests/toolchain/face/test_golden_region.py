"""Golden cases of regions, answered by toolchain.face.region and toolchain.face.motion."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from toolchain.errors import UnsupportedError
from toolchain.face import golden_formulas as exact
from toolchain.face.golden_cases import decoded
from toolchain.face.golden_region import region_cases
from toolchain.face.motion import crop_between, shrunk_matrix, shrunk_region
from toolchain.face.region import (
    central_square,
    crop,
    crop_matrix,
    face_square,
    whole_square,
)

SQUARES = {
    "face_square": face_square,
    "whole": lambda square: square.whole(),
    "whole_square": whole_square,
    "central_square": central_square,
}
MATRICES = {
    "crop_matrix": crop_matrix,
    "inverse": lambda matrix: cv2.invertAffineTransform(np.array(matrix)),
    "shrunk_matrix": lambda matrix, size, side: shrunk_matrix(np.array(matrix), size),
    "crop_between": lambda before, now: crop_between(np.array(before), np.array(now)),
    "shrunk_region": lambda region, size, side: shrunk_region(np.array(region), size, side),
}


def cases(*functions: str) -> list:
    return [
        pytest.param(entry, id=entry["name"]) for entry in region_cases() if entry["function"] in functions
    ]


def test_every_function_is_answered_here() -> None:
    assert {entry["function"] for entry in region_cases()} == {*SQUARES, *MATRICES, "crop"}


@pytest.mark.parametrize("entry", cases(*SQUARES))
def test_squares(entry: dict) -> None:
    made = SQUARES[entry["function"]](**decoded(entry["input"]))
    wanted = decoded(entry["expected"])
    np.testing.assert_allclose(
        (made.x, made.y, made.side), (wanted.x, wanted.y, wanted.side), rtol=1e-8, atol=1e-6
    )


@pytest.mark.parametrize("entry", cases(*MATRICES))
def test_matrices(entry: dict) -> None:
    made = MATRICES[entry["function"]](**decoded(entry["input"]))
    np.testing.assert_allclose(made, entry["expected"]["matrix"], rtol=1e-8, atol=1e-6)


@pytest.mark.parametrize("entry", cases("crop"))
def test_crops(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    arguments = given["picture"], np.array(given["matrix"]), given["size"], given["resize"]
    if "refusal" in wanted:
        with pytest.raises(UnsupportedError) as refused:
            crop(*arguments)
        assert all(word in str(refused.value) for word in wanted["refusal"]["mentions"])
        return
    off = crop(*arguments).astype(int) - wanted["picture"]
    assert np.abs(off).max() <= wanted["tolerance"]


def test_a_crop_of_the_same_pixels_is_the_picture(rng: np.random.Generator) -> None:
    picture = rng.random((9, 7))
    x, y = exact.places(np.eye(2, 3), 9, 7)
    np.testing.assert_allclose(exact.interpolated(picture, x, y), picture, atol=1e-12)


@pytest.mark.parametrize(("old", "new"), [(12, 4), (12, 8), (9, 9), (256, 128)])
def test_averages_are_those_of_opencv(old: int, new: int, rng: np.random.Generator) -> None:
    plane = rng.random((old, old)).astype(np.float32)
    wanted = cv2.resize(plane, (new, new), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(exact.averaged(plane, new, new), wanted, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(8, 16), (16, 24), (7, 20)])
def test_resizing_is_that_of_opencv(old: int, new: int, rng: np.random.Generator) -> None:
    plane = rng.random((old, old)).astype(np.float32)
    np.testing.assert_allclose(exact.resized(plane, new, new), cv2.resize(plane, (new, new)), atol=1e-6)
    marks = rng.integers(0, 9, (old, old)).astype(np.uint8)
    wanted = cv2.resize(marks, (new, new), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(exact.nearest(marks, new, new), wanted)


def test_luma_is_that_of_opencv(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(exact.luma(pixels), cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("deviation", [0.7, 1.3, 2.5])
def test_gaussian_is_that_of_opencv(deviation: float, rng: np.random.Generator) -> None:
    plane = rng.random((40, 40)).astype(np.float32)
    wanted = cv2.GaussianBlur(plane, (0, 0), deviation)
    np.testing.assert_allclose(exact.filtered(plane, exact.gaussian(deviation)), wanted, atol=1e-6)
