"""Pad in all its modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb, types
from toolchain.converters.node_view import Refused

MODES = ("constant", "reflect", "edge", "wrap")
# MIL's names of modes that its operator has for the last two axes.
LAYERS = {"reflect": "reflect", "edge": "replicate"}
Pads = list[tuple[int, int]]


@lowers("Pad")
def pad(context: NodeContext) -> None:
    """Pad by constant amounts; negative ones cut elements off.

    reflect and edge are MIL's own on the last two axes; else the elements are gathered from the places that
    the mode says.
    """
    mode = context.string("mode", "constant")
    if mode not in MODES:
        raise Refused(f"mode '{mode}'", f"Core ML can express {', '.join(MODES)}")
    pads = _pads(context)
    x = context.input()
    kept = mb.cast(x=x, dtype="int32") if context.computed_dtype() == np.bool_ else x
    if mode == "constant":
        y = constant_pad(_cut(kept, pads), [(max(a, 0), max(b, 0)) for a, b in pads], _fill(context))
    elif min((amount for pair in pads for amount in pair), default=0) < 0:
        raise Refused(f"negative pads in mode '{mode}'", "slice before padding")
    else:
        y = _repeat(kept, pads, mode)
    y = mb.identity(x=y) if y is x else y
    context.store(mb.cast(x=y, dtype="bool") if kept is not x else y)


def _pads(context: NodeContext) -> Pads:
    """(before, after) for every axis."""
    rank = len(context.shape())
    if context.ints("pads") is not None:
        amounts = list(context.ints("pads"))
    else:
        amounts = context.constant(1, "pads").reshape(-1).tolist()
    axes: Sequence[int] = range(rank)
    if context.given(3):
        axes = [int(axis) % rank for axis in context.constant(3, "axes").reshape(-1)]
    pads: Pads = [(0, 0)] * rank
    count = len(amounts) // 2
    for axis, before, after in zip(axes, amounts[:count], amounts[count:], strict=True):
        pads[axis] = (int(before), int(after))
    return pads


def _fill(context: NodeContext) -> float:
    if context.given(2):
        return context.constant(2, "constant_value").reshape(-1)[0].item()
    return context.float("value", 0.0)


def _cut(x: Var, pads: Pads) -> Var:
    """The tensor without what negative pads cut off."""
    begin = [max(-before, 0) for before, _ in pads]
    end = [size - max(-after, 0) for size, (_, after) in zip(x.shape, pads, strict=True)]
    if any(start >= stop for start, stop in zip(begin, end, strict=True)):
        raise Refused("pads that cut a whole axis off", "make the network's input larger")
    if not any(begin) and tuple(end) == tuple(x.shape):
        return x
    return mb.slice_by_index(x=x, begin=begin, end=end)


def constant_pad(x: Var, pads: Pads, value: float) -> Var:
    """Padding with one value: MIL's operator, which computes floats only; integers are joined from parts."""
    padded = [axis for axis, pair in enumerate(pads) if pair != (0, 0)]
    if not padded:
        return x
    if types.is_float(x.dtype):
        flat = [amount for pair in pads[padded[0] :] for amount in pair]
        return mb.pad(x=x, pad=flat, mode="constant", constant_val=np.float32(value))
    for axis in padded:
        before, after = (_filled(x, axis, amount, value) for amount in pads[axis])
        x = mb.concat(values=[*before, x, *after], axis=axis)
    return x


def _filled(x: Var, axis: int, amount: int, value: float) -> list[np.ndarray]:
    """What stands before or after an axis of integers: one array, or none for an amount of 0."""
    shape = (*x.shape[:axis], amount, *x.shape[axis + 1 :])
    return [np.full(shape, value, np.int32)] if amount else []


def _repeat(x: Var, pads: Pads, mode: str) -> Var:
    """Padding with elements of the tensor itself."""
    padded = [axis for axis, pair in enumerate(pads) if pair != (0, 0)]
    if mode == "reflect" and any(max(pads[axis]) >= x.shape[axis] for axis in padded):
        raise Refused("pads in mode 'reflect' that are as long as the axis", "pad less, or in mode 'edge'")
    if _is_layer(x, pads, mode):
        flat = [amount for pair in pads[-2:] for amount in pair]
        return mb.pad(x=x, pad=flat, mode=LAYERS[mode])
    for axis in padded:
        places = np.pad(np.arange(x.shape[axis], dtype=np.int32), pads[axis], mode=mode)  # type: ignore[call-overload]
        x = mb.gather(x=x, indices=places, axis=axis)
    return x


def _is_layer(x: Var, pads: Pads, mode: str) -> bool:
    """Whether MIL's operator does it: pictures of floats, padded at the sides by at most their size."""
    return (
        types.is_float(x.dtype)
        and mode in LAYERS
        and len(pads) in (3, 4)
        and all(pair == (0, 0) for pair in pads[:-2])
        and any(pair != (0, 0) for pair in pads)
        and all(max(pair) <= size for pair, size in zip(pads, x.shape, strict=True))
    )
