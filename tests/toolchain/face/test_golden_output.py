"""Golden cases of tensors and labels, answered by toolchain.face.preprocess and toolchain.face.region."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UnsupportedError
from toolchain.face.golden_cases import decoded
from toolchain.face.golden_output import interpolated_labels, output_cases, unwarp_cases
from toolchain.face.preprocess import class_probabilities, from_output, picture_input, to_input
from toolchain.face.region import unwarp_labels
from toolchain.spec import Preprocess, TensorSpec

# OpenCV interpolates between pixels in steps of 1 / 32: where two classes are as close, it may say the other.
STEPS = 0.03


def cases(function: str) -> list:
    return [
        pytest.param(entry, id=entry["name"]) for entry in output_cases() if entry["function"] == function
    ]


def spec_of(given: dict) -> TensorSpec:
    return TensorSpec(**{**given["tensor"], "shape": tuple(given["tensor"]["shape"])})


def test_every_function_is_answered_here() -> None:
    assert {entry["function"] for entry in output_cases()} == {
        "picture_input", "mask_input", "probabilities", "dequantize", "argmax",
    }  # fmt: skip


@pytest.mark.parametrize("entry", cases("picture_input"))
def test_picture_inputs(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    raw = given["preprocessing"]
    preprocess = Preprocess(raw["color"], tuple(raw["mean"]), tuple(raw["std"]))
    if "refusal" in wanted:
        with pytest.raises(UnsupportedError, match=wanted["refusal"]["mentions"][0]):
            picture_input(given["picture"], preprocess, spec_of(given))
        return
    made = picture_input(given["picture"], preprocess, spec_of(given))
    assert made.dtype == wanted["array"].dtype
    assert made.shape == wanted["array"].shape
    np.testing.assert_allclose(made, wanted["array"], atol=1e-6)


@pytest.mark.parametrize("entry", cases("mask_input"))
def test_mask_inputs(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    np.testing.assert_array_equal(to_input(given["planes"], spec_of(given)), wanted["array"])


@pytest.mark.parametrize("entry", cases("probabilities"))
def test_probabilities(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    if "refusal" in wanted:
        with pytest.raises(UnsupportedError, match=wanted["refusal"]["mentions"][0]):
            class_probabilities(given["array"], spec_of(given))
        return
    made = class_probabilities(given["array"], spec_of(given))
    np.testing.assert_allclose(made, wanted["planes"], atol=1e-6)


@pytest.mark.parametrize("entry", cases("dequantize"))
def test_real_values(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    np.testing.assert_allclose(from_output(given["array"], spec_of(given)), wanted["planes"], rtol=1e-6)


@pytest.mark.parametrize("entry", cases("argmax"))
def test_most_probable_classes(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    planes = given["planes"]
    np.testing.assert_array_equal(planes.argmax(axis=0), wanted["labels"])
    same = (
        unwarp_labels(planes, np.eye(2, 3), planes.shape[1:]) if planes.shape[1] == planes.shape[2] else None
    )
    if same is not None:
        np.testing.assert_array_equal(same, wanted["labels"])


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry["name"]) for entry in unwarp_cases()])
def test_labels_in_the_picture(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    out = None if given["labels"] is None else given["labels"].copy()
    made = unwarp_labels(given["probabilities"], np.array(given["matrix"]), tuple(given["shape"]), out)
    _, first, second = interpolated_labels(given["probabilities"], given["matrix"], given["shape"])
    off = made != wanted["labels"]
    assert not (off & ((first - second > STEPS) | (first == second))).any()
    assert off.mean() < 0.01


def test_ties_are_shown() -> None:
    """Of twins the first is drawn, and where a class is as probable as the background, nothing."""
    found = {entry["name"]: decoded(entry["expected"])["labels"] for entry in unwarp_cases()}
    twins = found["unwarp ties go to the lowest class"]
    assert (twins == 1).any()
    assert not (twins == 2).any()
    assert not (found["unwarp ties with the background stay background"] == 1).any()
    assert not found["unwarp outside of the picture"].any()
