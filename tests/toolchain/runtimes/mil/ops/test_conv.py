"""Convolutions against sums written out in numpy, and their laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import operators

Pads = list[tuple[int, int]]
Sizes = Sequence[int]


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _convolved(
    x: np.ndarray,
    weight: np.ndarray,
    pads: Pads,
    strides: Sizes,
    dilations: Sizes,
    groups: int,
) -> np.ndarray:
    """Every window times the kernel, by definition."""
    axes = tuple(range(2, x.ndim))
    extents = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0)] * 2 + pads), extents, axes)
    windows = windows[
        (..., *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))
    ]
    parts = [
        np.tensordot(part, kernel, axes=([1, *range(part.ndim - len(axes), part.ndim)], range(1, x.ndim)))
        for part, kernel in zip(np.split(windows, groups, 1), np.split(weight, groups, 0), strict=True)
    ]
    return np.moveaxis(np.concatenate(parts, -1), -1, 1)


def _scattered(
    x: np.ndarray,
    weight: np.ndarray,
    crops: Pads,
    strides: Sizes,
    dilations: Sizes,
    groups: int,
) -> np.ndarray:
    """Every element spreads the kernel over the output; crops cut off, negative ones append zeros."""
    sizes = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(x.shape[2:], strides, weight.shape[2:], dilations, strict=True)
    ]
    out = np.zeros((x.shape[0], weight.shape[1] * groups, *sizes))
    inputs, kernels, outputs = np.split(x, groups, 1), np.split(weight, groups, 0), np.split(out, groups, 1)
    for part, kernel, target in zip(inputs, kernels, outputs, strict=True):
        for place in np.ndindex(*x.shape[2:]):
            for tap in np.ndindex(*weight.shape[2:]):
                where = tuple(
                    p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True)
                )
                target[(..., *where)] += part[(..., *place)] @ kernel[(..., *tap)]
    out = np.pad(out, [(0, 0)] * 2 + [(0, max(0, -after)) for _, after in crops])
    kept = (slice(before, -after if after > 0 else None) for before, after in crops)
    return out[(..., *kept)]


# (x, weight, strides, dilations, groups, pad type, pad) -> padding that these stand for.
CONVOLUTIONS = {
    "valid": ((2, 3, 7, 6), (4, 3, 3, 2), [1, 1], [1, 1], 1, "valid", None, [(0, 0), (0, 0)]),
    "same": ((1, 3, 7, 6), (4, 3, 3, 5), [1, 1], [1, 1], 1, "same", None, [(1, 1), (2, 2)]),
    "same, odd padding": ((1, 2, 8, 6), (3, 2, 3, 2), [2, 1], [1, 1], 1, "same", None, [(0, 1), (0, 1)]),
    "same_lower": ((1, 2, 8, 6), (3, 2, 3, 2), [2, 1], [1, 1], 1, "same_lower", None, [(1, 0), (1, 0)]),
    "same, dilated": ((1, 2, 8, 9), (3, 2, 3, 3), [1, 2], [2, 3], 1, "same", None, [(2, 2), (3, 3)]),
    "same, wide strides": ((1, 1, 8, 9), (1, 1, 1, 2), [3, 4], [1, 1], 1, "same", None, [(0, 0), (0, 1)]),
    "custom": ((1, 2, 6, 5), (3, 2, 3, 3), [2, 1], [1, 1], 1, "custom", [1, 1, 2, 2], [(1, 1), (2, 2)]),
    "asymmetric": ((1, 2, 6, 5), (3, 2, 3, 3), [2, 1], [1, 1], 1, "custom", [0, 2, 3, 1], [(0, 2), (3, 1)]),
    "groups": ((1, 4, 5, 5), (6, 2, 3, 3), [1, 1], [1, 1], 2, "same", None, [(1, 1), (1, 1)]),
    "depthwise": ((1, 4, 5, 5), (4, 1, 3, 3), [2, 2], [1, 1], 4, "same", None, [(1, 1), (1, 1)]),
    "one axis": ((2, 3, 9), (4, 3, 4), [2], [2], 1, "custom", [3, 1], [(3, 1)]),
    "three axes": (
        *((1, 2, 4, 5, 6), (3, 2, 2, 3, 3), [1, 1, 2], [1, 1, 1], 1),
        *("same", None, [(0, 1), (1, 1), (0, 1)]),
    ),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_conv(case: tuple, run_program: Callable) -> None:
    shape, kernel, strides, dilations, groups, pad_type, pad, pads = case
    x, weight, bias = _random(*shape), _random(*kernel), _random(kernel[0])
    custom = {} if pad is None else {"pad": pad}

    def build(mb, x):
        settings = {"strides": strides, "dilations": dilations, "groups": groups, "pad_type": pad_type}
        plain = mb.conv(x=x, weight=weight, **settings, **custom)
        return [plain, mb.conv(x=x, weight=weight, bias=bias, **settings, **custom)]

    plain, biased = run_program(build, {"x": x}, ios=17 if pad_type == "same_lower" else 15).values()
    want = _convolved(x, weight, pads, strides, dilations, groups)
    np.testing.assert_allclose(plain, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(biased, want + bias.reshape(-1, *[1] * len(strides)), rtol=1e-4, atol=1e-5)


def test_conv_with_defaults_and_computed_weights(run_program: Callable) -> None:
    x, weight = _random(1, 2, 6, 5), _random(3, 2, 3, 3)
    inputs = {"x": x, "weight": weight}
    [got] = run_program(lambda mb, x, weight: mb.conv(x=x, weight=weight), inputs, ios=17).values()
    want = _convolved(x, weight, [(0, 0)] * 2, [1, 1], [1, 1], 1)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_conv_in_half_precision_accumulates_in_single(run_program: Callable) -> None:
    """2048 + 1 + 1 is 2050; rounding after every addition would leave 2048."""
    weight = np.array([2048, 1, 1], np.float32).reshape(1, 3, 1, 1)

    def build(mb, x):
        return mb.conv(x=x, weight=weight)

    [got] = run_program(build, {"x": np.ones((1, 3, 1, 1), np.float32)}, precision="fp16").values()
    assert got.item() == 2050


# (x, weight, strides, dilations, groups, pad type, pad, output size) -> elements cut off.
TRANSPOSED = {
    "valid": ((2, 3, 4, 3), (3, 2, 3, 2), [2, 1], [1, 1], 1, "valid", None, None, [(0, 0), (0, 0)]),
    "same": ((1, 3, 4, 3), (3, 2, 3, 5), [1, 1], [1, 1], 1, "same", None, None, [(1, 1), (2, 2)]),
    "same, doubled": ((1, 3, 4, 3), (3, 2, 4, 3), [2, 2], [1, 1], 1, "same", None, None, [(1, 1), (0, 1)]),
    "same, sparse": ((1, 1, 4, 3), (1, 1, 2, 1), [3, 2], [1, 1], 1, "same", None, None, [(0, -1), (0, -1)]),
    "custom": ((1, 2, 4, 3), (2, 2, 3, 3), [2, 2], [1, 1], 1, "custom", [1, 1, 0, 2], None, [(1, 1), (0, 2)]),
    "cut in front": (
        (1, 2, 4, 3),
        (2, 2, 3, 3),
        [2, 1],
        [1, 1],
        1,
        "custom",
        [1, 0, 2, 0],
        None,
        [(1, 0), (2, 0)],
    ),
    "groups": ((1, 4, 4, 3), (4, 3, 3, 3), [2, 2], [1, 2], 2, "custom", [1, 1, 1, 1], None, [(1, 1), (1, 1)]),
    "one axis": ((2, 3, 5), (3, 2, 4), [2], [1], 1, "custom", [1, 1], None, [(1, 1)]),
    "three axes": (
        *((1, 2, 2, 3, 2), (2, 1, 2, 3, 2), [2, 1, 2], [1, 1, 1], 1),
        *("custom", [0, 0, 1, 1, 0, 0], None, [(0, 0), (1, 1), (0, 0)]),
    ),
    "valid, size": ((1, 2, 3, 3), (2, 2, 3, 3), [2, 2], [1, 1], 1, "valid", None, [8, 7], [(0, -1), (0, 0)]),
    "same, size": ((1, 2, 3, 3), (2, 2, 3, 3), [2, 2], [1, 1], 1, "same", None, [5, 6], [(1, 1), (0, 1)]),
    "custom, size": (
        *((1, 2, 3, 3), (2, 2, 3, 3), [2, 2], [1, 1], 1),
        *("custom", [1, 1, 1, 1], [5, 6], [(1, 1), (1, 0)]),
    ),
}


@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED)
def test_conv_transpose(case: tuple, run_program: Callable) -> None:
    shape, kernel, strides, dilations, groups, pad_type, pad, size, crops = case
    channels = kernel[1] * groups
    x, weight, bias = _random(*shape), _random(*kernel), _random(channels)
    given = {} if pad is None else {"pad": pad}
    if size is not None:
        given["output_shape"] = [shape[0], channels, *size]

    def build(mb, x):
        settings = {"strides": strides, "dilations": dilations, "groups": groups, "pad_type": pad_type}
        plain = mb.conv_transpose(x=x, weight=weight, **settings, **given)
        return [plain, mb.conv_transpose(x=x, weight=weight, bias=bias, **settings, **given)]

    plain, biased = run_program(build, {"x": x}).values()
    want = _scattered(x, weight, crops, strides, dilations, groups)
    np.testing.assert_allclose(plain, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(biased, want + bias.reshape(-1, *[1] * len(strides)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad_type", ["valid", "same", "custom"])
@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(7, 12),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
)
def test_conv_transpose_is_the_adjoint_of_conv(
    pad_type: str, size: int, kernel: int, stride: int, dilation: int, before: int, after: int
) -> None:
    """<conv(x), y> = <x, conv_transpose(y)> for x of the size `output_shape`."""
    weight = torch.randn(3, 2, kernel, dtype=torch.float64)
    given = {
        "strides": torch.tensor([stride]),
        "dilations": torch.tensor([dilation]),
        "pad_type": pad_type,
        "pad": torch.tensor([before, after]),
    }
    x = torch.randn(1, 2, size, dtype=torch.float64)
    forward = operators().get("conv")(x=x, weight=weight, **given)
    y = torch.randn_like(forward)
    back = operators().get("conv_transpose")(x=y, weight=weight, output_shape=torch.tensor(x.shape), **given)
    assert back.shape == x.shape
    torch.testing.assert_close((forward * y).sum(), (x * back).sum())


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    pad_type=st.sampled_from(["same", "same_lower"]),
)
def test_same_padding_gives_a_stride_th_of_the_size(
    size: int, kernel: int, stride: int, dilation: int, pad_type: str
) -> None:
    weight = torch.ones(1, 1, kernel)
    given = {"strides": torch.tensor([stride]), "dilations": torch.tensor([dilation])}
    got = operators().get("conv")(x=torch.ones(1, 1, size), weight=weight, pad_type=pad_type, **given)
    assert got.shape == (1, 1, -(-size // stride))


@pytest.mark.parametrize(
    ("op", "parameters", "message"),
    [
        ("conv", {"pad_type": "full"}, "'full'"),
        ("conv", {"pad_type": "custom", "pad": torch.tensor([-1, 0])}, "padding"),
        ("conv_transpose", {"pad_type": "same_lower"}, "'same_lower'"),
        ("conv_transpose", {"output_shape": torch.tensor([1, 1, 9])}, "output sizes"),
    ],
)
def test_refusals(op: str, parameters: dict, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        operators().get(op)(x=torch.ones(1, 1, 4), weight=torch.ones(1, 1, 3), **parameters)


def test_channels_last_stays() -> None:
    x = torch.ones(1, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(4, 1, 3, 3).contiguous(memory_format=torch.channels_last)
    given = {"pad_type": "same", "groups": torch.tensor(4), "strides": torch.tensor([2, 2])}
    got = operators().get("conv")(x=x, weight=weight, **given)
    assert got.is_contiguous(memory_format=torch.channels_last)
