"""What convolutions and pools share: TFLite's padding schemes, pictures of sequences, explicit padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.lowering import NodeContext
from toolchain.converters.tflite.program import Op, Tensor

SAME = schema.Padding.SAME
VALID = schema.Padding.VALID


def used_output(context: NodeContext, index: int) -> bool:
    """Whether the optional output is there and something reads it."""
    outputs = context.node.outputs
    return index < len(outputs) and bool(outputs[index].uses() or outputs[index].is_graph_output())


def picture(context: NodeContext) -> Tensor:
    """The first input as (N, H, W, C): a sequence (N, C, L) becomes a picture of height 1."""
    x = context.input()
    return context.reshape(x, (x.shape[0], 1, *x.shape[1:]), "row") if len(x.shape) == 3 else x


def picture_output(context: NodeContext) -> Tensor:
    """The tensor (N, H, W, C) to write the result to; `finish` makes it the node's output."""
    size = context.out_shape()
    if len(size) != 3:
        return context.output()
    return context.temp((size[0], 1, size[2], size[1]), context.dtype(), "rows")


def finish(context: NodeContext, y: Tensor) -> None:
    """Make a tensor of `picture_output` the output of the node."""
    if len(context.out_shape()) == 3:
        context.reshape_to_output(y)


def pad_channels_last(
    context: NodeContext, x: Tensor, begin: Sequence[int], end: Sequence[int], value: Any = None
) -> Tensor:
    """Pad the spatial axes of (N, spatial..., C).

    Args:
        context: node being lowered.
        x: tensor to pad.
        begin: padding before each spatial axis.
        end: padding after each spatial axis.
        value: what to pad with; None for zero.
    """
    if not any(begin) and not any(end):
        return x
    paddings = np.array([(0, 0), *zip(begin, end, strict=True), (0, 0)], np.int32)
    shape = [size + before + after for size, (before, after) in zip(x.shape, paddings.tolist(), strict=True)]
    made = context.temp(shape, x.dtype, "padded")
    version = 4 if len(shape) > 4 else 2 if x.dtype == np.int8 else 1
    if value is None:
        return context.emit(Op.PAD, [x, context.const(paddings, "pads")], made, schema.PadOptionsT(), version)
    fill = context.const(np.array([value], x.dtype), "pad_value")
    inputs = [x, context.const(paddings, "pads"), fill]
    return context.emit(Op.PADV2, inputs, made, schema.PadV2OptionsT(), version)
