"""Pooling against a loop over the windows, and against torch where torch has it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(1)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def windows(x, kernel, stride, pads, function, padding):
    """`function` of each window of [N, C, H, W]; `padding` None leaves elements outside out."""
    (top, bottom), (left, right) = pads
    height, width = x.shape[2:]
    rows = range(-top, height + bottom - kernel[0] + 1, stride[0])
    columns = range(-left, width + right - kernel[1] + 1, stride[1])
    out = np.zeros((*x.shape[:2], len(rows), len(columns)), np.float32)
    for (i, r), (j, c) in itertools.product(enumerate(rows), enumerate(columns)):
        inside = x[
            :,
            :,
            max(r, 0) : max(0, min(r + kernel[0], height)),
            max(c, 0) : max(0, min(c + kernel[1], width)),
        ]
        values = inside.reshape(*x.shape[:2], -1)
        if padding is not None:
            missing = kernel[0] * kernel[1] - values.shape[-1]
            values = np.concatenate([values, np.full((*x.shape[:2], missing), padding, np.float32)], -1)
        out[:, :, i, j] = function(values, axis=-1)
    return out


def l2(values, axis):
    return np.sqrt((values**2).sum(axis))


def build(kind, kernel, stride, padding_type, **options):
    return lambda builder: builder.add_pooling("p", *kernel, *stride, kind, padding_type, "x", "y", **options)


@pytest.mark.parametrize(("kind", "function"), [("MAX", np.max), ("AVERAGE", np.mean), ("L2", l2)])
@pytest.mark.parametrize(
    ("padding_type", "options", "pads"),
    [
        ("VALID", {}, ((0, 0), (0, 0))),
        (
            "VALID",
            {"padding_top": 1, "padding_bottom": 0, "padding_left": 1, "padding_right": 2},
            ((1, 0), (1, 2)),
        ),
        ("SAME", {}, ((1, 1), (0, 1))),
        ("SAME", {"same_padding_asymmetry_mode": "TOP_LEFT_HEAVY"}, ((1, 1), (1, 0))),
    ],
)
def test_pooling(check_layers, kind, function, padding_type, options, pads):
    x = normal(2, 3, 7, 8)
    want = windows(x, (3, 3), (2, 2), pads, function, None)
    check_layers(build(kind, (3, 3), (2, 2), padding_type, **options), [x], want)


def test_average_that_counts_the_padding(check_layers):
    x = normal(1, 2, 6, 7)
    want = windows(x, (3, 2), (1, 2), ((1, 1), (1, 0)), np.mean, 0.0)
    options = {"padding_top": 1, "padding_bottom": 1, "padding_left": 1, "exclude_pad_area": False}
    check_layers(build("AVERAGE", (3, 2), (1, 2), "VALID", **options), [x], want)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize("padding", [0, 1])
def test_include_last_pixel_is_the_ceil_mode_of_torch(check_layers, size, padding):
    x = normal(1, 2, size, size + 1)
    options = {f"padding_{edge}": padding for edge in ("top", "bottom", "left", "right")}
    want = F.max_pool2d(torch.tensor(x), 3, 2, padding, ceil_mode=True)
    check_layers(build("MAX", (3, 3), (2, 2), "INCLUDE_LAST_PIXEL", **options), [x], want)
    want = F.avg_pool2d(torch.tensor(x), 3, 2, padding, ceil_mode=True, count_include_pad=False)
    check_layers(build("AVERAGE", (3, 3), (2, 2), "INCLUDE_LAST_PIXEL", **options), [x], want)


def test_average_beyond_the_padding_is_refused(run_layers):
    options = {"exclude_pad_area": False}
    with pytest.raises(UnsupportedError, match="pooling 'p': an average that counts the padding"):
        run_layers(build("AVERAGE", (3, 3), (2, 2), "INCLUDE_LAST_PIXEL", **options), [normal(1, 2, 6, 6)])


def test_window_in_the_padding_is_refused(run_layers):
    with pytest.raises(UnsupportedError, match="wholly in the padding"):
        run_layers(build("AVERAGE", (2, 2), (2, 2), "VALID", padding_top=2), [normal(1, 1, 4, 4)])


@pytest.mark.parametrize(("kind", "function"), [("MAX", np.max), ("AVERAGE", np.mean), ("L2", l2)])
def test_global_pooling(check_layers, kind, function):
    x = normal(2, 3, 5, 6)
    want = function(x.reshape(2, 3, 30), axis=-1)[..., None, None]
    check_layers(build(kind, (0, 0), (0, 0), "VALID", is_global=True), [x], want)


@pytest.mark.parametrize("rank5", [False, True])
def test_unknown_type_is_refused(run_layers, rank5):
    def unknown(builder):
        build("MAX", (2, 2), (1, 1), "VALID")(builder)
        builder.spec.neuralNetwork.layers[0].pooling.type = 7

    with pytest.raises(UnsupportedError, match="pooling 'p': type 7 is not known"):
        run_layers(unknown, [normal(*([1] * rank5), 1, 1, 4, 4)])


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(
    ("mode", "amounts", "pads"),
    [
        ("VALID", {}, (0, 0, 0, 0, 0, 0)),
        ("SAME", {}, (1, 1, 0, 1, 0, 1)),
        ("CUSTOM", {"front": 1, "bottom": 1, "right": 1}, (0, 1, 0, 1, 1, 0)),
    ],
)
def test_pooling_of_volumes(check_layers, mode, amounts, pads, exclude):
    x = normal(1, 2, 6, 6, 7)
    options = {f"custom_padding_{edge}": size for edge, size in amounts.items()}

    def volume(kind):
        return lambda builder: builder.add_pooling3d(
            "p",
            "x",
            "y",
            kind,
            3,
            3,
            3,
            2,
            2,
            2,
            mode,
            average_pooling_count_excludes_padding=exclude,
            **options,
        )

    extended = F.pad(torch.tensor(x), pads, value=-math.inf)
    check_layers(volume("MAX"), [x], F.max_pool3d(extended, 3, 2))
    total = F.avg_pool3d(F.pad(torch.tensor(x), pads), 3, 2, divisor_override=1)
    count = F.avg_pool3d(F.pad(torch.ones(x.shape), pads), 3, 2, divisor_override=1) if exclude else 27
    check_layers(volume("AVERAGE"), [x], total / count)


@pytest.mark.parametrize(("kind", "function"), [("MAX", np.max), ("AVERAGE", np.mean)])
def test_global_pooling_of_volumes(check_layers, kind, function):
    x = normal(2, 3, 4, 5, 6)
    want = function(x, axis=(2, 3, 4), keepdims=True)
    check_layers(lambda builder: builder.add_global_pooling3d("p", "x", "y", kind), [x], want)
