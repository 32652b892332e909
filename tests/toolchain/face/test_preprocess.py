"""Tensors in both layouts, quantized or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from toolchain.errors import UnsupportedError
from toolchain.face.preprocess import (
    class_probabilities,
    dequantized,
    from_output,
    normalized,
    picture_input,
    picture_sizes,
    softmax,
    to_input,
)
from toolchain.spec import PROBABILITIES, Preprocess, TensorSpec

NCHW = TensorSpec("x", (1, 3, 4, 5), layout="NCHW")
NHWC = TensorSpec("x", (1, 4, 5, 3), layout="NHWC")
CONTRACT = Preprocess(mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0))


def test_values_are_normalized_per_channel(rng):
    picture = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    planes = normalized(picture, CONTRACT)
    assert planes.dtype == np.float32
    for channel, (mean, std) in enumerate(zip(CONTRACT.mean, CONTRACT.std, strict=True)):
        np.testing.assert_allclose(planes[channel], (picture[:, :, channel] - mean) / std, rtol=1e-6)


def test_a_single_mean_asks_for_a_grey_picture():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [80, 80, 80]]], np.uint8)
    planes = normalized(picture, Preprocess(mean=(0.0,), std=(255.0,)))
    # ITU-R BT.601 luma, rounded to 8 bits.
    np.testing.assert_allclose(planes[0, 0], [76 / 255, 150 / 255, 29 / 255, 80 / 255], rtol=1e-6)


def test_another_colour_order_is_refused():
    with pytest.raises(UnsupportedError, match="'BGR'"):
        normalized(np.zeros((4, 5, 3), np.uint8), replace(CONTRACT, color="BGR"))


@pytest.mark.parametrize("spec", [NCHW, NHWC])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_planes_go_to_the_layout_of_the_file_and_back(rng, spec, dtype):
    spec = replace(spec, dtype=dtype)
    planes = rng.standard_normal((3, 4, 5)).astype(dtype).astype(np.float32)
    array = to_input(planes, spec)
    assert array.shape == spec.shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert picture_sizes(spec) == (3, 4, 5)
    pixel = array[0, :, 2, 1] if spec.layout == "NCHW" else array[0, 2, 1, :]
    np.testing.assert_array_equal(pixel, planes[:, 2, 1].astype(dtype))
    np.testing.assert_array_equal(from_output(array, spec), planes)


@given(
    st_numpy.arrays(np.float32, (3, 4, 5), elements=st.floats(-2, 2, width=32)),
    st.floats(0.005, 0.1),
    st.integers(-100, 100),
    st.sampled_from(["int8", "uint8"]),
)
def test_quantized_tensors_keep_values_to_half_a_step(planes, scale, zero_point, dtype):
    zero_point += 128 if dtype == "uint8" else 0
    spec = replace(NHWC, dtype=dtype, scale=scale, zero_point=zero_point)
    array = to_input(planes, spec)
    limits = np.iinfo(dtype)
    clipped = np.clip(planes, (limits.min - zero_point) * scale, (limits.max - zero_point) * scale)
    assert array.dtype == dtype
    np.testing.assert_allclose(from_output(array, spec), clipped, atol=0.5001 * scale)
    np.testing.assert_allclose(dequantized(array, spec)[0], np.moveaxis(from_output(array, spec), 0, -1))


@pytest.mark.parametrize(
    "spec",
    [
        replace(NCHW, layout=""),
        replace(NCHW, layout="NC"),
        replace(NCHW, shape=(2, 3, 4, 5)),
        replace(NCHW, shape=(3, 4, 5)),
    ],
)
def test_tensors_that_are_no_picture_are_refused(spec):
    with pytest.raises(UnsupportedError, match="tensor 'x'"):
        picture_sizes(spec)


def test_planes_of_another_size_are_refused():
    with pytest.raises(UnsupportedError, match=r"\(3, 4, 5\), not \(3, 5, 4\)"):
        to_input(np.zeros((3, 5, 4), np.float32), NCHW)


@given(st_numpy.arrays(np.float32, (4, 3, 2), elements=st.floats(-1e4, 1e4, width=32)))
def test_softmax_is_that_of_pytorch(logits):
    expected = torch.softmax(torch.from_numpy(logits), dim=0).numpy()
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_refused(value):
    logits = np.zeros((3, 2, 2), np.float32)
    logits[1, 0, 1] = value
    with pytest.raises(UnsupportedError, match="not finite"):
        softmax(logits)


def exact_softmax(logits):
    exponents = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=0))
    return exponents / exponents.sum(axis=0)


def exact_input(planes, spec):
    """Straightforward, in double precision; and whether a value is too near to a rounding step to tell."""
    ordered = np.asarray(planes, np.float64)
    if spec.layout == "NHWC":
        ordered = np.moveaxis(ordered, 0, -1)
    if spec.scale is None:
        return ordered[None], np.zeros(spec.shape, bool)
    steps = ordered / spec.scale
    limits = np.iinfo(spec.dtype)
    near = np.abs(steps - np.floor(steps) - 0.5) < 1e-4 + 5e-7 * np.abs(steps)
    return np.clip(np.rint(steps) + spec.zero_point, limits.min, limits.max)[None], near[None]


def assert_is_input(array, planes, spec):
    expected, near = exact_input(planes, spec)
    assert array.dtype == spec.dtype
    assert array.shape == spec.shape
    assert array.flags.c_contiguous
    if spec.scale is None:
        np.testing.assert_allclose(array, expected, rtol=1e-3 if spec.dtype == "float16" else 3e-7, atol=1e-7)
    else:
        np.testing.assert_array_equal(array[~near], expected[~near])
        np.testing.assert_allclose(array[near].astype(float), expected[near], atol=1)


STORED = [
    {},
    {"dtype": "float16"},
    {"dtype": "int8", "scale": 0.02, "zero_point": -7},
    {"dtype": "uint8", "scale": 0.013, "zero_point": 131},
    {"dtype": "int16", "scale": 1e-4, "zero_point": 0},
]


@pytest.mark.parametrize("layout", [NCHW, NHWC])
@pytest.mark.parametrize("stored", STORED)
@given(
    pixels=st_numpy.arrays(np.uint8, (4, 5, 3)),
    mean=st.tuples(*[st.floats(0, 255)] * 3),
    std=st.tuples(*[st.floats(20, 255)] * 3),
)
def test_a_picture_input_is_what_plain_arithmetic_makes_of_it(layout, stored, pixels, mean, std):
    spec, contract = replace(layout, **stored), Preprocess(mean=mean, std=std)
    planes = ((pixels - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
    given_out = np.full(spec.shape, 99, spec.dtype)
    array = picture_input(pixels, contract, spec, given_out)
    assert array is given_out
    np.testing.assert_array_equal(picture_input(pixels, contract, spec), array)
    assert_is_input(array, planes.astype(np.float32), spec)
    np.testing.assert_allclose(normalized(pixels, contract), planes, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("layout", [NCHW, NHWC])
def test_a_file_that_normalizes_is_given_the_pixels(rng, layout):
    pixels = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    spec = replace(layout, dtype="uint8", image="RGB")
    out = np.empty(spec.shape, np.uint8)
    for array in (picture_input(pixels, CONTRACT, spec), picture_input(pixels, CONTRACT, spec, out)):
        np.testing.assert_array_equal(array[0] if layout is NHWC else array[0].transpose(1, 2, 0), pixels)


def test_a_part_of_a_picture_is_taken_as_it_lies(rng):
    pixels = rng.integers(0, 256, (8, 9, 3)).astype(np.uint8)
    part = pixels[2:6, 3:8]
    np.testing.assert_array_equal(
        picture_input(part, CONTRACT, NHWC), picture_input(part.copy(), CONTRACT, NHWC)
    )


@pytest.mark.parametrize("layout", [NCHW, NHWC])
@pytest.mark.parametrize("stored", STORED)
def test_planes_and_outputs_can_be_written_to_buffers(rng, layout, stored):
    spec = replace(layout, **stored)
    planes = rng.uniform(-1, 1, (3, 4, 5)).astype(np.float32)
    array = to_input(planes, spec, np.empty(spec.shape, spec.dtype))
    assert_is_input(array, planes, spec)
    np.testing.assert_array_equal(to_input(planes, spec), array)
    before, out = array.copy(), np.full((3, 4, 5), 7, np.float32)
    assert from_output(array, spec, out) is out
    np.testing.assert_array_equal(out, from_output(array, spec))
    out += 1
    np.testing.assert_array_equal(array, before)
    assert not np.shares_memory(from_output(array, spec), array)


@pytest.mark.parametrize(
    "bad", [np.empty((3, 5, 4), np.float32), np.empty((3, 4, 5)), np.empty((3, 4, 10), "f")[:, :, ::2]]
)
def test_a_buffer_that_does_not_fit_is_refused(bad):
    with pytest.raises(ValueError, match="out is"):
        from_output(np.zeros(NCHW.shape, np.float32), NCHW, bad)


@given(st_numpy.arrays(np.float32, (4, 3, 2), elements=st.floats(-1e4, 1e4, width=32)), st.booleans())
def test_softmax_is_that_of_double_precision(logits, in_place):
    expected, before = exact_softmax(logits), logits.copy()
    result = softmax(logits, logits if in_place else None)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-6)
    if in_place:
        assert result is logits
    else:
        np.testing.assert_array_equal(logits, before)


def test_minus_infinity_is_a_probability_of_zero():
    np.testing.assert_allclose(softmax(np.array([0.0, -np.inf, 0.0], np.float32)), [0.5, 0.0, 0.5])


@pytest.mark.parametrize("layout", [NCHW, NHWC])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float32"])
@pytest.mark.parametrize("scale", [0.004, 0.15, 3.0])
def test_class_probabilities_are_the_softmax_of_the_real_values(rng, layout, dtype, scale):
    quantized = dtype != "float32"
    spec = replace(layout, dtype=dtype, **({"scale": scale, "zero_point": 5} if quantized else {}))
    array = rng.integers(0 if dtype == "uint8" else -128, 128, spec.shape).astype(dtype)
    planes = np.moveaxis(array[0], -1, 0) if layout is NHWC else array[0]
    real = (planes.astype(float) - 5) * scale if quantized else planes
    out = np.empty((3, 4, 5), np.float32)
    assert class_probabilities(array, spec, out) is out
    np.testing.assert_allclose(out, exact_softmax(real), atol=1e-6)
    done = replace(spec, name=PROBABILITIES)
    np.testing.assert_array_equal(class_probabilities(array, done), from_output(array, done))


def test_class_probabilities_of_what_is_not_finite_are_refused():
    with pytest.raises(UnsupportedError, match="not finite"):
        class_probabilities(np.full(NHWC.shape, np.nan, np.float32), NHWC)
