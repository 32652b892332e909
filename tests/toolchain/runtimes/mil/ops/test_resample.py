"""Sampling at computed places, against torch and against figures of coremltools' tests on devices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from toolchain.errors import UnsupportedError

GENERATOR = np.random.default_rng(13)
X = GENERATOR.normal(size=(2, 3, 5, 7)).astype(np.float32)
COUNTED = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
SMALL = np.array([11, 22, 33, 44], np.float32).reshape(1, 1, 2, 2)
PLACES = GENERATOR.uniform(-1.6, 1.6, (2, 4, 6, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("sampling", "padding", "value", "mode", "aligned", "expected"),
    [
        ("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True, [8.585, 6.17, 27.5, 6.17]),
        ("nearest", "border", -1.0, "unnormalized", False, [11, 11, 11, 44]),
        ("bilinear", "reflection", -1.0, "normalized_zero_to_one", True, [22, 36.3, 11, 34.1]),
        ("nearest", "symmetric", -1.0, "normalized_zero_to_one", False, [22, 33, 11, 33]),
    ],
)
def test_resample_as_on_a_device(
    run_program: Callable,
    sampling: str,
    padding: str,
    value: float,
    mode: str,
    aligned: bool,
    expected: list[float],
) -> None:
    coordinates = np.array([-1, -2, -3.7, -1, 0, 0, 3.5, 1.2], np.float32).reshape(1, 2, 2, 2)

    def build(mb, x, coordinates):
        return mb.resample(
            x=x,
            coordinates=coordinates,
            sampling_mode=sampling,
            padding_mode=padding,
            padding_value=value,
            coordinates_mode=mode,
            align_corners=aligned,
        )

    (got,) = run_program(build, {"x": SMALL, "coordinates": coordinates}).values()
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-5)


TORCH_PADDING = [
    ("constant", "zeros", True),
    ("constant", "zeros", False),
    ("border", "border", True),
    ("border", "border", False),
    ("reflection", "reflection", True),
    ("symmetric", "reflection", False),
]


@pytest.mark.parametrize("unit", ["normalized_minus_one_to_one", "normalized_zero_to_one", "unnormalized"])
def test_resample_as_torch(run_program: Callable, unit: str) -> None:
    rows = [(*row, sampling) for row in TORCH_PADDING for sampling in ("bilinear", "nearest")]

    def places(aligned: bool) -> np.ndarray:
        if unit == "normalized_minus_one_to_one":
            return PLACES
        if unit == "normalized_zero_to_one":
            return (PLACES + 1) / 2
        sizes = np.array([7, 5], np.float32)
        return (PLACES + 1) / 2 * (sizes - 1) if aligned else (PLACES + 1) / 2 * sizes - 0.5

    def build(mb, x, aligned, centred):
        return [
            mb.resample(
                x=x,
                coordinates=aligned if align else centred,
                sampling_mode=sampling,
                padding_mode=padding,
                padding_value=0.0,
                coordinates_mode=unit,
                align_corners=align,
            )
            for padding, _, align, sampling in rows
        ]

    inputs = {"x": X, "aligned": places(True), "centred": places(False)}
    for got, (_, padding, align, sampling) in zip(run_program(build, inputs).values(), rows, strict=True):
        expected = functional.grid_sample(
            torch.from_numpy(X), torch.from_numpy(PLACES), sampling, padding, align_corners=align
        )
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-5, err_msg=f"{padding} {align} {sampling}")


def test_affine_as_on_a_device(run_program: Callable) -> None:
    matrix = np.array([[-1.0, -2.0, -3.7, -1.0, 3.5, 1.2]], np.float32)

    def build(mb, x, matrix):
        return [
            mb.affine(
                x=x,
                transform_matrix=matrix,
                output_height=height,
                output_width=width,
                sampling_mode="bilinear",
                padding_mode="constant",
                padding_value=0.0,
                coordinates_mode="normalized_minus_one_to_one",
                align_corners=True,
            )
            for height, width in ((3, 3), (2, 5))
        ]

    square, flat = run_program(build, {"x": SMALL, "matrix": matrix}).values()
    np.testing.assert_allclose(
        square.ravel(), [10.752501, 2.5025, 0, 1.98, 0, 0, 0, 0, 0], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(flat.ravel(), [10.752501, 5.94, 2.5025, 0.44] + [0] * 6, rtol=1e-4, atol=1e-5)


def _crop(x: np.ndarray, boxes: np.ndarray, ios: int, run_program: Callable, **parameters) -> np.ndarray:
    def build(mb, x, boxes):
        return mb.crop_resize(x=x, **{"boxes" if ios >= 17 else "roi": boxes}, **parameters)

    (got,) = run_program(build, {"x": x, "boxes": boxes}, ios).values()
    return got


@pytest.mark.parametrize(
    ("box", "size", "normalized", "expected"),
    [
        ([1, 1, 2, 2], 2, False, [6, 7, 10, 11]),
        ([1, 1, 2, 2], 1, False, [8.5]),
        ([1, 1, 2, 2], 4, False, np.add.outer([6, 22 / 3, 26 / 3, 10], [0, 1 / 3, 2 / 3, 1]).ravel()),
        ([0, 0, 0, 1 / 3, 1 / 3], 2, True, [1, 2, 5, 6]),
        ([2, 2, 1, 1], 2, False, [11, 10, 7, 6]),
    ],
)
def test_boxes_as_on_a_device(
    run_program: Callable, box: list[float], size: int, normalized: bool, expected: list[float]
) -> None:
    roi = np.array(box, np.float32).reshape(1, 1, -1, 1, 1)
    got = _crop(
        COUNTED,
        roi,
        15,
        run_program,
        target_height=size,
        target_width=size,
        normalized_coordinates=normalized,
        sampling_mode="ALIGN_CORNERS",
    )
    assert got.shape == (1, 1, 1, size, size)
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("ios", [16, 17])
@pytest.mark.parametrize("pad_value", [0.0, 10.0])
def test_boxes_beyond_the_picture_as_on_a_device(run_program: Callable, ios: int, pad_value: float) -> None:
    boxes = np.array([[0.1, 0.3, 1.3, 1], [0.5, 1.8, 1, 0.3], [0, 0.4, 0.6, 0.7]], np.float32)
    p = pad_value
    expected = [3.1, 5.2, p, p, p, 7.9, p, 13.9, 2.2, 3.1, 9.4, 10.3]
    extra = {"box_indices": np.zeros(3, np.int32)} if ios == 17 else {}
    if ios == 16:
        boxes = np.concatenate([np.zeros((3, 1), np.float32), boxes], 1).reshape(3, 1, 5, 1, 1)
    got = _crop(
        COUNTED,
        boxes,
        ios,
        run_program,
        target_height=2,
        target_width=2,
        normalized_coordinates=True,
        sampling_mode="ALIGN_CORNERS",
        pad_value=pad_value,
        **extra,
    )
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampling", ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS"])
@pytest.mark.parametrize(
    ("mode", "order"),
    [
        ("CORNERS_HEIGHT_FIRST", lambda top, left, bottom, right: [top, left, bottom, right]),
        ("CORNERS_WIDTH_FIRST", lambda top, left, bottom, right: [left, top, right, bottom]),
        (
            "CENTER_SIZE_HEIGHT_FIRST",
            lambda top, left, bottom, right: [
                (top + bottom) / 2,
                (left + right) / 2,
                bottom - top,
                right - left,
            ],
        ),
        (
            "CENTER_SIZE_WIDTH_FIRST",
            lambda top, left, bottom, right: [
                (left + right) / 2,
                (top + bottom) / 2,
                right - left,
                bottom - top,
            ],
        ),
    ],
)
def test_a_box_of_whole_pixels_is_a_crop_that_is_resized(
    run_program: Callable, sampling: str, mode: str, order: Callable
) -> None:
    box = np.array([order(1, 2, 3, 5)], np.float32) * 2

    def build(mb, x, box):
        return [
            mb.crop_resize(
                x=x,
                boxes=box,
                box_indices=np.array([1], np.int32),
                target_height=4,
                target_width=3,
                spatial_scale=0.5,
                box_coordinate_mode=mode,
                sampling_mode=sampling,
            ),
            mb.resize_bilinear(
                x=mb.slice_by_index(x=x, begin=[1, 0, 1, 2], end=[2, 3, 4, 6]),
                target_size_height=4,
                target_size_width=3,
                sampling_mode=sampling,
            ),
        ]

    cropped, resized = run_program(build, {"x": X, "box": box}, 17).values()
    np.testing.assert_allclose(cropped, resized, atol=1e-6)


def test_every_box_of_every_picture(run_program: Callable) -> None:
    rois = np.array([[0, 0, 1, 1], [2, 3, 4, 6]], np.float32).reshape(2, 1, 4, 1, 1)
    got = _crop(
        X, rois, 15, run_program, target_height=2, target_width=2, sampling_mode="STRICT_ALIGN_CORNERS"
    )
    np.testing.assert_allclose(got[0], X[:, :, :2, :2], atol=1e-6)
    np.testing.assert_allclose(got[1], X[:, :, 2:5:2, 3:7:3], atol=1e-6)


@pytest.mark.parametrize(
    ("box", "sampling", "message"),
    [
        ([0, 0, 9, 2], "ALIGN_CORNERS", "beyond the picture"),
        ([2, 2, 1, 1], "DEFAULT", "ends before it begins"),
        ([0, 0, 1, 1], "UNALIGN_CORNERS", "UNALIGN_CORNERS"),
    ],
)
def test_boxes_without_defined_result_are_refused(
    run_program: Callable, box: list[float], sampling: str, message: str
) -> None:
    roi = np.array(box, np.float32).reshape(1, 1, 4, 1, 1)
    with pytest.raises(UnsupportedError, match=message):
        _crop(COUNTED, roi, 15, run_program, target_height=3, target_width=3, sampling_mode=sampling)
