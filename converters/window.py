"""Sliding windows of convolutions and pools, as ONNX's attributes say where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from toolchain.converters.node_view import NodeView, Refused


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

    def sizes(self, lengths: Sequence[int], ceil: bool = False) -> tuple[int, ...]:
        """Output lengths.

        Args:
            lengths: input lengths.
            ceil: round up, as long as the last window starts inside of the input or the padding before it.
        """
        found = []
        for axis, length in enumerate(lengths):
            room = length + self.begin[axis] + self.end[axis] - self.reach(axis)
            stride = self.strides[axis]
            size = (-(-room // stride) if ceil else room // stride) + 1
            if ceil and (size - 1) * stride >= length + self.begin[axis]:
                size -= 1
            found.append(size)
        return tuple(found)

    def covering(self, lengths: Sequence[int], sizes: Sequence[int]) -> Window:
        """The same window with just the padding at the end that outputs of these sizes read."""
        needed = (
            (size - 1) * self.strides[axis] + self.reach(axis) - length - self.begin[axis]
            for axis, (length, size) in enumerate(zip(lengths, sizes, strict=True))
        )
        return replace(self, end=tuple(max(end, 0) for end in needed))

    def is_same(self, lengths: Sequence[int]) -> bool:
        """Whether the pads are those of SAME_UPPER: ceil(length / stride) outputs, the odd one last."""
        for axis, length in enumerate(lengths):
            total = same_padding(length, self.strides[axis], self.reach(axis))
            if (self.begin[axis], self.end[axis]) != (total // 2, total - total // 2):
                return False
        return True

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.begin) or any(self.end)

    @property
    def dilated(self) -> bool:
        """Whether the taps lie apart from each other."""
        return any(step > 1 and taps > 1 for step, taps in zip(self.dilations, self.kernel, strict=True))

    def axes(self, *axes: int) -> Window:
        """The window over some of the axes."""
        fields = (self.kernel, self.strides, self.dilations, self.begin, self.end)
        return Window(*(tuple(values[axis] for axis in axes) for values in fields))

    def row(self) -> Window:
        """A one-dimensional window as a two-dimensional one of height 1."""
        return Window(
            (1, *self.kernel), (1, *self.strides), (1, *self.dilations), (0, *self.begin), (0, *self.end)
        )

    def column(self) -> Window:
        """A one-dimensional window as a two-dimensional one of width 1."""
        return self.row().axes(1, 0)


def same_padding(length: int, stride: int, reach: int) -> int:
    """Padding of both ends together with which an axis has ceil(length / stride) outputs."""
    return max((-(-length // stride) - 1) * stride + reach - length, 0)


def window_of(context: NodeView, kernel: Sequence[int], lengths: Sequence[int]) -> Window:
    """The window of a Conv or pool node, `auto_pad` resolved to explicit pads.

    Raises:
        Refused: the kernel has another rank than the input, negative pads, or an unknown auto_pad.
    """
    rank = len(lengths)
    strides = context.ints("strides", [1] * rank)
    dilations = context.ints("dilations", [1] * rank)
    pads = context.ints("pads", [0] * 2 * rank)
    if len(kernel) != rank or len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        raise Refused(
            f"kernel_shape {list(kernel)}, strides {list(strides)}, dilations {list(dilations)} and pads"
            f" {list(pads)} do not fit {rank} spatial axes",
            "check the file with onnx.checker",
        )
    begin, end = list(pads[:rank]), list(pads[rank:])
    auto_pad = context.string("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for axis, length in enumerate(lengths):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = same_padding(length, strides[axis], reach)
            small, large = total // 2, total - total // 2
            begin[axis], end[axis] = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    elif auto_pad == "VALID":
        begin, end = [0] * rank, [0] * rank
    elif auto_pad not in ("NOTSET", ""):
        raise Refused(f"auto_pad '{auto_pad}' is unknown", "give explicit pads")
    if min(begin + end, default=0) < 0:
        raise Refused(f"negative pads {list(pads)}", "slice the input instead")
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(begin), tuple(end))


def spatial_lengths(context: NodeView, most: int) -> tuple[int, ...]:
    """Lengths of the spatial axes of the first input (N, C, spatial...).

    Raises:
        Refused: there is none, there are more than `most`, or the input has no elements.
    """
    shape = context.shape()
    lengths = shape[2:]
    if not 1 <= len(lengths) <= most:
        raise Refused(
            f"the input has {len(lengths)} spatial axes; 1 to {most} can be lowered",
            "reshape the input to fewer axes",
        )
    if 0 in shape or 0 in context.out_shape():
        raise Refused(
            f"an axis of length 0 (input {list(shape)}, output {list(context.out_shape())})",
            "export with an input shape that gives every axis at least one element",
        )
    return lengths
