"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.converters.coreml.lowering import NEURAL_NETWORK, NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.node_view import Refused
from toolchain.converters.window import Window, spatial_lengths, window_of


def padding_of(window: Window) -> dict[str, Any]:
    """The parameters `pad_type` and `pad` of MIL's convolutions and pools."""
    if not window.padded:
        return {"pad_type": "valid"}
    pairs = zip(window.begin, window.end, strict=True)
    return {"pad_type": "custom", "pad": [amount for pair in pairs for amount in pair]}


def refuse_volume(context: NodeContext, lengths: Sequence[int]) -> None:
    """Refuse windows over three spatial axes in neural networks, which have them since iOS 14 only."""
    if context.goal.kind == NEURAL_NETWORK and len(lengths) == 3:
        raise Refused(
            f"{context.node.op_type} over three spatial axes in a neural network", "export with -f coreml"
        )


@lowers("Conv")
def conv(context: NodeContext) -> None:
    """Conv over one to three spatial axes."""
    lengths = spatial_lengths(context, 3)
    refuse_volume(context, lengths)
    groups = context.int("group", 1)
    window = window_of(context, context.shape(1)[2:], lengths)
    x = context.input()
    flat = context.goal.kind == NEURAL_NETWORK and len(lengths) == 1 and context.is_constant(1)
    if flat:
        # coremltools itself would keep the weights a second time, in a layer that nobody reads.
        window, x = window.row(), mb.expand_dims(x=x, axes=[2])
    weight = context.constant(1, "the weight")[:, :, None] if flat else context.input(1)
    named = {"strides": window.strides, "groups": groups, **padding_of(window)}
    if context.is_constant(1):
        named["dilations"] = window.dilations
    else:
        _check_computed_weights(context, window, groups)
    # Only a constant bias is part of the convolution.
    merged = context.given(2) and context.is_constant(2) and context.is_constant(1)
    if merged:
        named["bias"] = context.input(2)
    y = mb.conv(x=x, weight=weight, **named)
    if flat:
        y = mb.squeeze(x=y, axes=[2])
    context.store(y if merged else _add_bias(context, y))


def _check_computed_weights(context: NodeContext, window: Window, groups: int) -> None:
    """Refuse what convolutions cannot do with weights that are computed at run time."""
    hint = "make the weights a constant in the network"
    if window.dilated:
        raise Refused(f"dilations {list(window.dilations)} with weights computed at run time", hint)
    if context.goal.kind == NEURAL_NETWORK and groups > 1:
        raise Refused(f"group={groups} with weights computed at run time", hint)


def _add_bias(context: NodeContext, y: Var) -> Var:
    """The result plus the bias input, where there is one."""
    if not context.given(2):
        return y
    shape = (1, -1, *[1] * (len(context.shape()) - 2))
    if context.is_constant(2):
        return mb.add(x=y, y=context.constant(2, "the bias").reshape(shape))
    return mb.add(x=y, y=mb.reshape(x=context.input(2), shape=shape))


@lowers("ConvTranspose")
def conv_transpose(context: NodeContext) -> None:
    """ConvTranspose over one to three spatial axes.

    Outputs beyond the last window (output_padding, output_shape) come of taps with the weight 0 that are
    appended to the kernel.
    """
    lengths = spatial_lengths(context, 3)
    refuse_volume(context, lengths)
    weights = context.constant(1, "the weight of ConvTranspose")
    window, weights = _transposed(context, lengths, weights)
    merged = context.given(2) and context.is_constant(2)
    named = {"bias": context.input(2)} if merged else {}
    cut = window
    if context.goal.kind == NEURAL_NETWORK:
        # Its layer ignores dilations, and crops both ends alike where it is given the output shape.
        window, weights = _undilated(window, weights)
        window = window if window.begin == window.end else _unpadded(window)
    y = mb.conv_transpose(
        x=context.input(),
        weight=weights,
        strides=window.strides,
        dilations=window.dilations,
        groups=context.int("group", 1),
        **padding_of(window),
        **named,
    )
    y = y if cut.padded == window.padded else _cropped(y, cut)
    context.store(y if merged else _add_bias(context, y))


def _transposed(
    context: NodeContext, lengths: tuple[int, ...], weights: np.ndarray
) -> tuple[Window, np.ndarray]:
    """The window, whose pads are what is cut off the full result, and the weights with appended taps.

    Raises:
        Refused: the graph's output size is not the one that the attributes give.
    """
    window = window_of(context, weights.shape[2:], lengths)
    sizes = context.out_shape()[2:]
    extra = context.ints("output_padding", [0] * len(lengths))
    auto_pad = context.string("auto_pad", "NOTSET")
    automatic = context.ints("output_shape") is not None or auto_pad.startswith("SAME")
    begin, end, taps = list(window.begin), list(window.end), [0] * len(lengths)
    for axis, (length, size) in enumerate(zip(lengths, sizes, strict=True)):
        whole = (length - 1) * window.strides[axis] + window.reach(axis)
        if automatic:
            total = max(whole + extra[axis] - size, 0)
            small, large = total // 2, total - total // 2
            begin[axis] = small if auto_pad == "SAME_UPPER" else large
        elif whole + extra[axis] - begin[axis] - end[axis] != size:
            raise Refused(
                f"pads and output_padding give the output size"
                f" {whole + extra[axis] - begin[axis] - end[axis]}, the graph says {size}",
                "check the file with onnx.checker",
            )
        beyond = size + begin[axis] - whole
        taps[axis] = -(-max(beyond, 0) // window.dilations[axis])
        end[axis] = taps[axis] * window.dilations[axis] - beyond
    weights = np.pad(weights, [(0, 0), (0, 0), *((0, count) for count in taps)])
    return replace(window, kernel=weights.shape[2:], begin=tuple(begin), end=tuple(end)), weights


def _undilated(window: Window, weights: np.ndarray) -> tuple[Window, np.ndarray]:
    """The same window with zeros between its taps instead of dilations."""
    if not window.dilated:
        return window, weights
    sizes = [window.reach(axis) for axis in range(len(window.kernel))]
    spread = np.zeros((*weights.shape[:2], *sizes), weights.dtype)
    places: list[Any] = [slice(None, None, step) for step in window.dilations]
    spread[(..., *places)] = weights
    return replace(window, kernel=tuple(sizes), dilations=(1,) * len(sizes)), spread


def _unpadded(window: Window) -> Window:
    none = (0,) * len(window.kernel)
    return replace(window, begin=none, end=none)


def _cropped(y: Var, window: Window) -> Var:
    """The full result without what the window's pads cut off."""
    pads = zip(y.shape[2:], window.end, strict=True)
    end = [*y.shape[:2], *(int(size) - after for size, after in pads)]
    return mb.slice_by_index(x=y, begin=[0, 0, *window.begin], end=end)
