"""Pad in all its modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import along_axes
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.slice import part
from toolchain.converters.tflite.program import Op, Tensor

MODES = ("constant", "reflect", "edge", "wrap")
Pads = list[tuple[int, int]]


@lowers("Pad", layout=along_axes)
def pad(context: NodeContext) -> None:
    """Pad by constant amounts; negative ones cut elements off.

    constant: PAD, PADV2 for a value other than zero. reflect: MIRROR_PAD. edge and wrap: GATHER with the
    places that the mode says.
    """
    mode = context.string("mode", "constant")
    if mode not in MODES:
        raise Refused(f"mode '{mode}'", f"TFLite can express {', '.join(MODES)}")
    pads = _stored_pads(context)
    x = context.input()
    if mode == "constant":
        kept = [
            range(max(-before, 0), size - max(-after, 0))
            for size, (before, after) in zip(x.shape, pads, strict=True)
        ]
        if any(len(taken) == 0 for taken in kept):
            raise Refused("pads that cut a whole axis off", "make the network's input larger")
        x = part(context, x, kept)
        added = [(max(before, 0), max(after, 0)) for before, after in pads]
        steps.store(context, _constant(context, x, added, _fill(context)))
        return
    if min(amount for pair in pads for amount in pair) < 0:
        raise Refused(f"negative pads in mode '{mode}'", "slice before padding")
    steps.store(context, _repeat(context, x, pads, mode))


def _stored_pads(context: NodeContext) -> Pads:
    """(before, after) for every storage axis."""
    rank = len(context.shape())
    if context.ints("pads") is not None:
        amounts = list(context.ints("pads"))
    else:
        amounts = context.constant(1, "pads").tolist()
    axes: Sequence[int] = range(rank)
    if context.given(3):
        axes = [int(axis) % rank for axis in context.constant(3, "axes").reshape(-1)]
    pads: Pads = [(0, 0)] * rank
    count = len(amounts) // 2
    for axis, before, after in zip(axes, amounts[:count], amounts[count:], strict=True):
        pads[context.axis(axis)] = (int(before), int(after))
    return pads


def _fill(context: NodeContext) -> float:
    if context.given(2):
        return context.constant(2, "constant_value").reshape(-1)[0].item()
    return context.float("value", 0.0)


def _constant(context: NodeContext, x: Tensor, pads: Pads, value: float) -> Tensor:
    """PAD or PADV2; axes that get no padding are merged beyond four."""
    padded = [axis for axis, pair in enumerate(pads) if pair != (0, 0)]
    if not padded:
        return x
    shape = [size + before + after for size, (before, after) in zip(x.shape, pads, strict=True)]
    runs = [[axis] for axis in range(len(pads))]
    if len(pads) > steps.BROADCAST_AXES:
        runs = steps.fold_axes(x.shape, padded)
    if len(runs) > steps.SLICED_AXES:
        # One axis after the other: each alone needs only three.
        for axis in padded:
            x = _constant(
                context, x, [pads[axis] if other == axis else (0, 0) for other in range(len(pads))], value
            )
        return x
    zero = value == 0 and not np.signbit(value)
    code = Op.PAD if zero else Op.PADV2
    dtype = steps.kernel_type(context, code, x.dtype)
    view = [int(np.prod([x.shape[axis] for axis in run])) for run in runs]
    y = steps.reshape(context, steps.cast(context, x, dtype), view)
    amounts = np.array([pads[run[0]] if run[0] in padded else (0, 0) for run in runs], np.int32)
    made = [size + int(before + after) for size, (before, after) in zip(y.shape, amounts, strict=True)]
    inputs = [y, context.const(amounts, "pads")]
    if not zero:
        inputs.append(context.const(np.array([value], dtype), "fill"))
    y = steps.emit(context, code, inputs, made)
    return steps.cast(context, steps.reshape(context, y, shape), x.dtype)


def _repeat(context: NodeContext, x: Tensor, pads: Pads, mode: str) -> Tensor:
    """Padding with elements of the tensor itself."""
    if mode == "reflect":
        return _mirror(context, x, pads)
    for axis, pair in enumerate(pads):
        if pair != (0, 0):
            places = np.pad(np.arange(x.shape[axis], dtype=np.int32), pair, mode=mode)  # type: ignore[call-overload]
            x = steps.gather(context, x, context.int_const(places, "places"), axis)
    return x


def _mirror(context: NodeContext, x: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    if any(max(pair) >= size for pair, size in zip(pads, x.shape, strict=True) if max(pair)):
        raise Refused("pads in mode 'reflect' that are as long as the axis", "pad less, or in mode 'edge'")
    dtype = steps.kernel_type(context, Op.MIRROR_PAD, x.dtype)
    options = schema.MirrorPadOptionsT()
    options.mode = schema.MirrorPadMode.REFLECT
    shape = [size + before + after for size, (before, after) in zip(x.shape, pads, strict=True)]
    inputs = [steps.cast(context, x, dtype), context.const(np.array(pads, np.int32), "pads")]
    y = steps.emit(context, Op.MIRROR_PAD, inputs, shape, options=options)
    return steps.cast(context, y, x.dtype)
