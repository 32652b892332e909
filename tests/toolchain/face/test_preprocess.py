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
from toolchain.face.preprocess import dequantized, from_output, normalized, picture_sizes, softmax, to_input
from toolchain.spec import Preprocess, TensorSpec

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
