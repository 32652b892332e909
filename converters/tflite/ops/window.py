"""Padding of convolutions and pools: ONNX's explicit pads against TFLite's SAME and VALID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.lowering import NodeContext, Refused
from toolchain.converters.tflite.program import Op, Tensor

SAME = schema.Padding.SAME
VALID = schema.Padding.VALID


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes, in ONNX order.

    Attributes:
        kernel: window size.
        strides: step.
        dilations: distance between taps.
        begin: padding before each axis.
        end: padding after each axis.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    def reach(self, axis: int) -> int:
        """Extent of the dilated window."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def size(self, axis: int, length: int) -> int:
        """Output length of an axis, rounded down."""
        padded = length + self.begin[axis] + self.end[axis]
        return (padded - self.reach(axis)) // self.strides[axis] + 1

    def is_same(self, lengths: Sequence[int]) -> bool:
        """Whether the pads are those of TFLite's SAME: output ceil(length / stride), the odd one at the end."""
        for axis, length in enumerate(lengths):
            total = max(
                (-(-length // self.strides[axis]) - 1) * self.strides[axis] + self.reach(axis) - length, 0
            )
            if (self.begin[axis], self.end[axis]) != (total // 2, total - total // 2):
                return False
        return True

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.begin) or any(self.end)


def window_of(context: NodeContext, kernel: Sequence[int], lengths: Sequence[int]) -> Window:
    """The window of a Conv or pool node, `auto_pad` resolved to explicit pads.

    Raises:
        Refused: negative pads or an unknown auto_pad.
    """
    rank = len(kernel)
    strides = context.ints("strides", [1] * rank)
    dilations = context.ints("dilations", [1] * rank)
    pads = context.ints("pads", [0] * 2 * rank)
    begin, end = list(pads[:rank]), list(pads[rank:])
    auto_pad = context.string("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for axis, length in enumerate(lengths):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((-(-length // strides[axis]) - 1) * strides[axis] + reach - length, 0)
            small, large = total // 2, total - total // 2
            begin[axis], end[axis] = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    elif auto_pad == "VALID":
        begin, end = [0] * rank, [0] * rank
    elif auto_pad != "NOTSET":
        raise Refused(f"auto_pad '{auto_pad}' is unknown")
    if min(begin + end, default=0) < 0:
        raise Refused(f"negative pads {pads}", "slice the input instead")
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(begin), tuple(end))


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
    shape = [size + before + after for size, (before, after) in zip(x.shape, paddings, strict=True)]
    made = context.temp(shape, x.dtype, "padded")
    if value is None:
        return context.emit(Op.PAD, [x, context.const(paddings, "pads")], made, schema.PadOptionsT())
    fill = context.const(np.array([value], x.dtype), "pad_value")
    return context.emit(Op.PADV2, [x, context.const(paddings, "pads"), fill], made, schema.PadV2OptionsT())
