"""Convolutions against torch, deconvolutions against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def add(builder, weight, bias=None, groups=1, inputs="x", **options):
    """A convolution whose weights [out, in / groups, kh, kw] are given as torch has them."""
    options = {"border_mode": "valid", "stride_height": 1, "stride_width": 1} | options
    out, channels, height, width = weight.shape
    builder.add_convolution(
        "c", channels, out, height, width, groups=groups, W=weight.transpose(2, 3, 1, 0), b=bias,
        has_bias=bias is not None, input_name=inputs, output_name="y", **options,
    )  # fmt: skip


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("weight_shape", "groups", "options", "torch_options"),
    [
        pytest.param((5, 4, 3, 3), 1, {}, {}, id="plain"),
        pytest.param((6, 2, 3, 1), 2, {"stride_height": 2}, {"stride": (2, 1)}, id="groups, stride"),
        pytest.param((4, 1, 3, 3), 4, {}, {}, id="depthwise"),
        pytest.param((8, 1, 2, 3), 4, {"dilation_factors": [2, 3]}, {"dilation": (2, 3)}, id="dilated"),
        pytest.param(
            (3, 4, 3, 3), 1, {"padding_top": 2, "padding_bottom": 2, "padding_left": 1, "padding_right": 1},
            {"padding": (2, 1)}, id="border amounts",
        ),
    ],
)  # fmt: skip
def test_convolution(check_layers, weight_shape, groups, options, torch_options, bias):
    x, weight = normal(2, 4, 9, 11), normal(*weight_shape)
    b = normal(weight_shape[0]) if bias else None
    want = F.conv2d(
        torch.tensor(x),
        torch.tensor(weight),
        None if b is None else torch.tensor(b),
        groups=groups,
        **torch_options,
    )
    check_layers(lambda builder: add(builder, weight, b, groups, **options), [x], want)


def test_unequal_border_amounts(check_layers):
    x, weight = normal(1, 2, 6, 7), normal(3, 2, 3, 3)
    want = F.conv2d(F.pad(torch.tensor(x), (0, 3, 1, 2)), torch.tensor(weight))
    amounts = {"padding_top": 1, "padding_bottom": 2, "padding_left": 0, "padding_right": 3}
    check_layers(lambda builder: add(builder, weight, **amounts), [x], want)


@pytest.mark.parametrize(
    ("mode", "pads"),
    [("BOTTOM_RIGHT_HEAVY", (1, 1, 0, 1)), ("TOP_LEFT_HEAVY", (1, 1, 1, 0))],
)
def test_same_padding(check_layers, mode, pads):
    x, weight = normal(1, 2, 7, 8), normal(3, 2, 3, 3)
    want = F.conv2d(F.pad(torch.tensor(x), (*pads[2:], *pads[:2])), torch.tensor(weight), stride=2)
    options = {
        "border_mode": "same",
        "stride_height": 2,
        "stride_width": 2,
        "same_padding_asymmetry_mode": mode,
    }
    check_layers(lambda builder: add(builder, weight, **options), [x], want)


def test_leading_axes_count_as_batch(check_layers):
    x, weight = normal(2, 3, 4, 5, 6), normal(2, 4, 3, 3)
    want = F.conv2d(torch.tensor(x).reshape(6, 4, 5, 6), torch.tensor(weight)).reshape(2, 3, 2, 3, 4)
    check_layers(lambda builder: add(builder, weight), [x], want)


def test_weights_as_input(check_layers):
    x, weight = normal(1, 4, 6, 6), normal(3, 4, 3, 3)
    want = F.conv2d(torch.tensor(x), torch.tensor(weight))
    check_layers(lambda builder: add(builder, weight, inputs=["x", "x1"]), [x, weight], want)


def add_deconvolution(builder, weight, groups=1, **options):
    """A deconvolution whose weights [in, out / groups, kh, kw] are given as torch has them."""
    options = {"border_mode": "valid", "stride_height": 2, "stride_width": 2, "groups": groups} | options
    channels, out, height, width = weight.shape
    builder.add_convolution(
        "c", channels, out * groups, height, width, W=weight.transpose(2, 3, 0, 1), b=np.arange(out * groups),
        has_bias=True, is_deconv=True, input_name="x", output_name="y", **options,
    )  # fmt: skip


PADS = {"padding_top": 1, "padding_bottom": 1, "padding_left": 1, "padding_right": 1}


@pytest.mark.parametrize(
    ("size", "groups", "options", "crop"),
    [
        pytest.param(3, 1, {}, (0, 0), id="whole"),
        pytest.param(3, 2, {}, (0, 0), id="groups"),
        pytest.param(4, 1, PADS, (1, 1), id="border amounts"),
        pytest.param(4, 1, PADS | {"output_shape": (10, 12)}, (1, 1), id="both say the same"),
        pytest.param(4, 1, {"output_shape": (10, 12)}, (1, 1), id="output shape"),
        pytest.param(4, 1, {"border_mode": "same"}, (1, 1), id="same"),
        pytest.param(3, 1, {"border_mode": "same"}, (0, 1), id="same, odd"),
        pytest.param(
            3, 1, {"border_mode": "same", "output_shape": (10, 12)}, (0, 1), id="same, output shape"
        ),
    ],
)
def test_deconvolution(check_layers, size, groups, options, crop):
    x, weight = normal(1, 4, 5, 6), normal(4, 3, size, size)
    full = F.conv_transpose2d(torch.tensor(x), torch.tensor(weight), stride=2, groups=groups)
    before, after = crop
    full = full[..., before : full.shape[-2] - after, before : full.shape[-1] - after]
    want = full + torch.arange(3 * groups)[:, None, None]
    check_layers(lambda builder: add_deconvolution(builder, weight, groups, **options), [x], want)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"dilation_factors": [2, 2]}, "dilat", id="dilated"),
        pytest.param(PADS | {"output_shape": (10, 12)}, "differently", id="amounts and shape differ"),
        pytest.param({"output_shape": (10, 12)}, "leaves open", id="odd crop"),
        pytest.param({"output_shape": (30, 12)}, "larger", id="larger than possible"),
    ],
)
def test_deconvolution_refuses_what_is_open(run_layers, options, message):
    weight = normal(2, 3, 3, 3)
    with pytest.raises(UnsupportedError, match=rf"convolution 'c': .*{message}"):
        run_layers(lambda builder: add_deconvolution(builder, weight, **options), [normal(1, 2, 5, 6)])


def test_weights_of_another_size_are_refused(run_layers):
    def build(builder):
        add(builder, normal(3, 2, 3, 3))
        builder.spec.neuralNetwork.layers[0].convolution.outputChannels = 4

    with pytest.raises(UnsupportedError, match="convolution 'c': 54 weights are stored"):
        run_layers(build, [normal(1, 2, 5, 6)])


@pytest.mark.parametrize(
    ("mode", "pads"),
    [("valid", (0, 0, 0, 0, 0, 0)), ("same", (1, 1, 1, 1, 0, 1)), ("custom", (2, 0, 1, 1, 0, 1))],
)
def test_convolution_of_volumes(check_layers, mode, pads):
    x, weight, bias = normal(1, 4, 6, 7, 7), normal(6, 2, 3, 3, 3), normal(6)
    names = ("left", "right", "top", "bottom", "front", "back")
    amounts = (
        {f"padding_{name}": size for name, size in zip(names, pads, strict=True)} if mode == "custom" else {}
    )
    want = F.conv3d(
        F.pad(torch.tensor(x), pads), torch.tensor(weight), torch.tensor(bias), stride=2, groups=2
    )

    def build(builder):
        builder.add_convolution3d(
            "c", 4, 6, 3, 3, 3, weight, bias, True, groups=2, stride_depth=2, stride_height=2, stride_width=2,
            padding_mode=mode, input_name="x", output_name="y", **amounts,
        )  # fmt: skip

    check_layers(build, [x], want)
