"""Padding and resizing against numpy, torch and the grids that NeuralNetwork.proto describes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(8)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X = normal(1, 2, 5, 6)


@pytest.mark.parametrize("x", [X, X[0], X[0, 0]])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("constant", "constant", {"constant_values": 1.5}),
        ("reflection", "reflect", {}),
        ("replication", "edge", {}),
    ],
)
def test_padding(check_layers, x, kind, mode, options):
    widths = [(0, 0)] * (x.ndim - 2) + [(1, 2), (3, 0)]
    want = np.pad(x, widths, mode, **options)
    check_layers(lambda b: b.add_padding("p", 3, 0, 1, 2, 1.5, "x", "y", kind), [x], want)


def test_constant_pad(check_layers):
    amounts = [1, 0, 0, 2, 3, 0]
    want = np.pad(X[0], [(1, 0), (0, 2), (3, 0)], constant_values=0.5)
    check_layers(lambda b: b.add_constant_pad("p", ["x"], "y", 0.5, pad_amounts=amounts), [X[0]], want)
    given = np.array(amounts, np.float32)
    check_layers(lambda b: b.add_constant_pad("p", ["x", "x1"], "y", 0.5), [X[0], given], want)


def test_constant_pad_to_a_size(check_layers):
    """An example of ConstantPaddingLayerParams."""
    x = normal(20, 10, 5)
    want = np.pad(x, [(0, 0), (7, 0), (0, 9)])
    check_layers(lambda b: b.add_constant_pad("p", ["x"], "y", 0.0, True, [0, 0, 17, 0, 0, 14]), [x], want)


@pytest.mark.parametrize("x", [X, X[0]])
def test_nearest_upsampling(check_layers, x):
    want = x.repeat(2, -2).repeat(3, -1)
    check_layers(lambda b: b.add_upsample("u", 2, 3, "x", "y"), [x], want)


def bilinear(x, rows, columns):
    """Values of a picture at all crossings of these coordinates."""
    out = np.zeros((*x.shape[:-2], len(rows), len(columns)), np.float32)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            top, left = int(r), int(c)
            bottom, right = min(top + 1, x.shape[-2] - 1), min(left + 1, x.shape[-1] - 1)
            upper = x[..., top, left] * (1 - c + left) + x[..., top, right] * (c - left)
            lower = x[..., bottom, left] * (1 - c + left) + x[..., bottom, right] * (c - left)
            out[..., i, j] = upper * (1 - r + top) + lower * (r - top)
    return out


def test_bilinear_upsampling(check_layers):
    grids = [np.minimum(size - 1, np.linspace(0, size - size / (2 * size), 2 * size)) for size in (5, 6)]
    check_layers(lambda b: b.add_upsample("u", 2, 2, "x", "y", "BILINEAR"), [X], bilinear(X, *grids))


@pytest.mark.parametrize("factors", [(2, 3), (1.6, 2.5)])
@pytest.mark.parametrize("corners", [False, True])
def test_bilinear_upsampling_is_that_of_torch(check_layers, corners, factors):
    size = [round(extent * factor) for extent, factor in zip((5, 6), factors, strict=True)]
    want = F.interpolate(torch.tensor(X), size, mode="bilinear", align_corners=corners)
    mode = f"ALIGN_CORNERS_{str(corners).upper()}"
    check_layers(lambda b: b.add_upsample("u", *factors, "x", "y", "BILINEAR", mode), [X], want)


@pytest.mark.parametrize("target", [(9, 4), (1, 1), (5, 6), (10, 12)])
@pytest.mark.parametrize(
    ("mode", "start", "end"),
    [
        ("STRICT_ALIGN_ENDPOINTS_MODE", lambda size, n: 0, lambda size, n: size - 1),
        (
            "ALIGN_ENDPOINTS_MODE",
            lambda size, n: (size - 1) / 2 if n == 1 else 0,
            lambda size, n: (size - 1) / 2 if n == 1 else size - 1,
        ),
        ("UPSAMPLE_MODE", lambda size, n: 0, lambda size, n: size - size / n),
        (
            "ROI_ALIGN_MODE",
            lambda size, n: 0.5 * (size - 1) / n,
            lambda size, n: 0.5 * (size - 1) / n + (n - 1) * (size - 1) / n,
        ),
    ],
)
def test_resize_bilinear(check_layers, mode, start, end, target):
    grids = [
        np.minimum(size - 1, np.linspace(start(size, n), end(size, n), n))
        for size, n in zip((5, 6), target, strict=True)
    ]
    check_layers(lambda b: b.add_resize_bilinear("r", "x", "y", *target, mode), [X], bilinear(X, *grids))


BOXES = np.array([[0.5, 1.0, 3.5, 4.0], [0.0, 0.0, 4.0, 5.0]], np.float32)


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_ENDPOINTS_MODE", "ROI_ALIGN_MODE"])
@pytest.mark.parametrize(
    ("boxes", "options"),
    [
        (BOXES, {"box_indices_mode": "CORNERS_HEIGHT_FIRST"}),
        (BOXES[:, [1, 0, 3, 2]], {"box_indices_mode": "CORNERS_WIDTH_FIRST"}),
        (BOXES / [4, 5, 4, 5], {"box_indices_mode": "CORNERS_HEIGHT_FIRST", "normalized_roi": True}),
        (BOXES * 2, {"box_indices_mode": "CORNERS_HEIGHT_FIRST", "spatial_scale": 0.5}),
        (
            np.concatenate([(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]], 1),
            {"box_indices_mode": "CENTER_SIZE_HEIGHT_FIRST"},
        ),
    ],
)
def test_crop_resize(check_layers, boxes, options, mode):
    x = normal(1, 2, 3, 5, 6)
    want = []
    for top, left, bottom, right in BOXES:
        grids = []
        for low, high in ((top, bottom), (left, right)):
            spacing = max(1, high - low) / 3
            shifted = low + 0.5 * spacing + spacing * np.arange(3)
            grids.append(shifted if mode == "ROI_ALIGN_MODE" else np.linspace(low, high, 3))
        want.append(bilinear(x[0], *grids))
    roi = boxes.astype(np.float32).reshape(2, 1, 4, 1, 1)
    check_layers(
        lambda b: b.add_crop_resize("c", ["x", "x1"], "y", 3, 3, mode, **options), [x, roi], np.stack(want)
    )


def test_crop_resize_of_one_picture_each(check_layers):
    x = normal(1, 2, 3, 5, 6)
    rois = np.array([[1, 0, 0, 4, 5], [0, 0, 0, 4, 5]], np.float32).reshape(2, 1, 5, 1, 1)
    check_layers(lambda b: b.add_crop_resize("c", ["x", "x1"], "y", 5, 6), [x, rois], x[0, [1, 0]][:, None])


def test_box_outside_of_the_picture_is_refused(run_layers):
    roi = np.array([0, 0, 5, 5], np.float32).reshape(1, 1, 4, 1, 1)
    with pytest.raises(UnsupportedError, match="cropResize 'c': a box reaches outside of the picture"):
        run_layers(lambda b: b.add_crop_resize("c", ["x", "x1"], "y", 3, 3), [normal(1, 1, 3, 5, 6), roi])
