"""Resizing against the documented grid points, numpy's interpolation and torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.ops.resize import grid_points

GENERATOR = np.random.default_rng(11)
X = GENERATOR.normal(size=(2, 3, 5, 7)).astype(np.float32)
SAMPLING_MODES = ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"]


def _points(size: int, count: int, mode: str) -> np.ndarray:
    """The formulas of coremltools' documentation, written down once more."""
    i = np.arange(count)
    if mode == "ALIGN_CORNERS" and count == 1:
        return np.array([(size - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = i * (size - 1) / max(count - 1, 1)
    elif mode == "DEFAULT":
        points = i * (size - size / count) / max(count - 1, 1)
    elif mode == "OFFSET_CORNERS":
        points = 0.5 * max(1, size - 1) / count + i * max(1, size - 1) / count
    else:
        points = i * size / count + 0.5 * size / count - 0.5
    return np.clip(points, 0, size - 1)


def _linear(x: np.ndarray, axis: int, count: int, mode: str) -> np.ndarray:
    points, places = _points(x.shape[axis], count, mode), np.arange(x.shape[axis])
    return np.apply_along_axis(lambda row: np.interp(points, places, row), axis, x)


@pytest.mark.parametrize(
    ("count", "mode", "points"),
    [
        (5, "UNALIGN_CORNERS", [0, 0.1, 0.5, 0.9, 1]),
        (5, "STRICT_ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
        (5, "ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
        (5, "DEFAULT", [0, 0.4, 0.8, 1, 1]),
        (5, "OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9]),
        (6, "UNALIGN_CORNERS", [0, 0, 1 / 3, 2 / 3, 1, 1]),
        (6, "DEFAULT", [0, 1 / 3, 2 / 3, 1, 1, 1]),
        (6, "OFFSET_CORNERS", [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12]),
        (1, "STRICT_ALIGN_CORNERS", [0]),
        (1, "ALIGN_CORNERS", [0.5]),
    ],
)
def test_grid_points_are_those_of_the_documentation(count: int, mode: str, points: list[float]) -> None:
    got = grid_points(torch.tensor(2, dtype=torch.float64), count, mode)
    np.testing.assert_allclose(got.numpy(), points, atol=1e-12)


@pytest.mark.parametrize("mode", SAMPLING_MODES)
def test_resize_bilinear(run_program: Callable, mode: str) -> None:
    targets = [(5, 7), (12, 4), (3, 15), (1, 9), (8, 1)]

    def build(mb, x, vector):
        made = [
            mb.resize_bilinear(x=x, target_size_height=h, target_size_width=w, sampling_mode=mode)
            for h, w in targets
        ]
        flat = mb.resize_bilinear(x=vector, target_size_height=1, target_size_width=5, sampling_mode=mode)
        return [*made, flat]

    inputs = {"x": X, "vector": X[0, :, :1]}
    *got, flat = run_program(build, inputs).values()
    for (height, width), picture in zip(targets, got, strict=True):
        expected = _linear(_linear(X, 2, height, mode), 3, width, mode)
        np.testing.assert_allclose(picture, expected, atol=2e-6)
    np.testing.assert_allclose(flat, _linear(X[0, :, :1], 2, 5, mode), atol=2e-6)


def test_resize(run_program: Callable) -> None:
    rows = [([9, 14], 2, mode, _linear(_linear(X, 2, 9, mode), 3, 14, mode)) for mode in SAMPLING_MODES] + [
        ([4, 0, 3], 1, "DEFAULT", _linear(X, 3, 3, "DEFAULT")),
        ([4, 0, 3], 3, "DEFAULT", _linear(_linear(X, 1, 4, "DEFAULT"), 3, 3, "DEFAULT")),
    ]

    def build(mb, x):
        return [
            mb.resize(x=x, shape=shape, resized_dims=np.uint32(count), sampling_mode=mode)
            for shape, count, mode, _ in rows
        ]

    got = run_program(build, {"x": X}, 17).values()
    for picture, (*_, expected) in zip(got, rows, strict=True):
        np.testing.assert_allclose(picture, expected, atol=2e-6)


def test_nearest_neighbours_are_under_the_centres(run_program: Callable) -> None:
    # The figures of 2 -> 3 are from coremltools' tests on devices.
    two = np.array([-6.174, 9.371], np.float32).reshape(1, 1, 2, 1)

    def build(mb, x, two):
        return [
            mb.resize(
                x=two, shape=[1, 1, 3, 2], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"
            ),
            mb.resize_nearest_neighbor(x=x, target_size_height=10, target_size_width=4),
            mb.resize(x=x, shape=[10, 4], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
        ]

    small, *pictures = run_program(build, {"x": X, "two": two}, 17).values()
    np.testing.assert_array_equal(small.ravel(), two.ravel()[[0, 0, 1, 1, 1, 1]])
    expected = functional.interpolate(torch.from_numpy(X), (10, 4), mode="nearest-exact").numpy()
    for picture in pictures:
        np.testing.assert_array_equal(picture, expected)


def test_upsampling_repeats_elements(run_program: Callable) -> None:
    # The fractional factors and their results are from coremltools' tests on devices.
    three = np.array([1.5, -2.5, 3.5], np.float32).reshape(1, 1, 1, 3)

    def build(mb, x, three):
        return [
            mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
            mb.upsample_nearest_neighbor(x=x),
            mb.upsample_nearest_neighbor(x=three, scale_factor_height=3.17, scale_factor_width=0.67),
            mb.upsample_nearest_neighbor(x=three, scale_factor_height=2.0, scale_factor_width=1.12),
        ]

    whole, same, fewer, equal = run_program(build, {"x": X, "three": three}).values()
    np.testing.assert_array_equal(whole, X.repeat(2, 2).repeat(3, 3))
    np.testing.assert_array_equal(same, X)
    np.testing.assert_array_equal(fewer, np.tile(three[..., :2], (1, 1, 3, 1)))
    np.testing.assert_array_equal(equal, np.tile(three, (1, 1, 2, 1)))


@pytest.mark.parametrize(
    ("aligned", "centred", "mode"),
    [
        (True, None, "STRICT_ALIGN_CORNERS"),
        (True, False, "STRICT_ALIGN_CORNERS"),
        (False, None, "UNALIGN_CORNERS"),
        (False, True, "UNALIGN_CORNERS"),
        (False, False, "DEFAULT"),
    ],
)
def test_upsample_bilinear(run_program: Callable, aligned: bool, centred: bool | None, mode: str) -> None:
    parameters = {"align_corners": aligned} | ({} if centred is None else {"half_pixel_centers": centred})

    def build(mb, x):
        return [
            mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3, **parameters),
            mb.upsample_bilinear(x=x, scale_factor_height=1.5, scale_factor_width=0.5, **parameters),
        ]

    for picture, (height, width) in zip(
        run_program(build, {"x": X}, 16).values(), [(10, 21), (7, 3)], strict=True
    ):
        np.testing.assert_allclose(picture, _linear(_linear(X, 2, height, mode), 3, width, mode), atol=2e-6)


def test_crop(run_program: Callable) -> None:
    (got,) = run_program(lambda mb, x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 3]), {"x": X}).values()
    np.testing.assert_array_equal(got, X[:, :, 1:3, :4])


@pytest.mark.parametrize(
    ("op", "parameters", "message"),
    [
        ("upsample_bilinear", {"align_corners": True, "half_pixel_centers": True}, "exclude"),
        (
            "resize",
            {
                "shape": [3, 3],
                "resized_dims": np.uint32(2),
                "interpolation_mode": "NEAREST_NEIGHBOR",
                "sampling_mode": "ALIGN_CORNERS",
            },
            "nearest neighbour of ALIGN_CORNERS",
        ),
    ],
)
def test_what_is_not_defined_is_refused(
    run_program: Callable, op: str, parameters: dict, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        run_program(lambda mb, x: getattr(mb, op)(x=x, **parameters), {"x": X}, 17)


def test_integers_have_no_linear_interpolation(run_program: Callable) -> None:
    def build(mb, x):
        return mb.resize(x=x, shape=[3, 3], resized_dims=np.uint32(2))

    with pytest.raises(UnsupportedError, match="integers"):
        run_program(build, {"x": np.ones((1, 2, 2), np.int32)}, 17)
