"""Elements read from, or written to, places that are given by indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.shape import reshaped, tiled
from toolchain.converters.coreml.ops.slice import part
from toolchain.converters.node_view import Refused

# ONNX reduction -> mode of MIL's scatter operators.
MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def places(context: NodeContext, index: int, sizes: int | Sequence[int]) -> Var | np.ndarray:
    """The indices of an input as int32 and counted from the start: since iOS 17 negative ones are undefined.

    Args:
        context: node being lowered.
        index: which input.
        sizes: length of the axis that is indexed; one per element of the last axis of the indices.

    Returns:
        An array for constant indices.

    Raises:
        Refused: a constant index lies outside.
    """
    lengths = np.asarray(sizes, np.int32)
    if context.is_constant(index):
        given = context.constant(index, "indices")
        if ((given < -lengths) | (given >= lengths)).any():
            raise Refused(f"indices beyond the axis of length {lengths.tolist()}", "correct the indices")
        return np.where(given < 0, given + lengths, given).astype(np.int32)
    found = context.input(index)
    wrapped = mb.add(x=found, y=lengths if lengths.ndim else lengths[()])
    return mb.select(cond=mb.less(x=found, y=np.int32(0)), a=wrapped, b=found)


def moved(context: NodeContext, move: Callable[..., Var], *tensors: Var) -> Var:
    """`move(*tensors)`; booleans, which gather and scatter do not take, go as int32."""
    if context.computed_dtype() != np.bool_:
        return move(*tensors)
    return mb.cast(x=move(*(mb.cast(x=tensor, dtype="int32") for tensor in tensors)), dtype="bool")


@lowers("Gather")
def gather(context: NodeContext) -> None:
    """Gather; constant neighbouring indices as a slice. Negative indices count from the end."""
    x, shape = context.input(), context.out_shape()
    axis = context.int("axis", 0) % x.rank
    found = places(context, 1, x.shape[axis])
    if isinstance(found, np.ndarray):
        chosen = found.reshape(-1).tolist()
        if chosen == list(range(chosen[0], chosen[0] + len(chosen))):
            ranges = [range(size) for size in x.shape]
            ranges[axis] = range(chosen[0], chosen[0] + len(chosen))
            context.store(reshaped(part(x, ranges), shape))
            return
    context.store(moved(context, lambda data: mb.gather(x=data, indices=found, axis=axis), x))


@lowers("GatherElements")
def gather_elements(context: NodeContext) -> None:
    """GatherElements; where the indices end earlier on the other axes, so does what is read."""
    x, shape = context.input(), context.shape(1)
    axis = context.int("axis", 0) % x.rank
    found = places(context, 1, x.shape[axis])
    x = _region(x, shape, axis)
    context.store(moved(context, lambda data: mb.gather_along_axis(x=data, indices=found, axis=axis), x))


def _region(x: Var, shape: Sequence[int], axis: int) -> Var:
    """The first elements along every axis but one."""
    return part(x, [range(x.shape[at] if at == axis else size) for at, size in enumerate(shape)])


@lowers("GatherND")
def gather_nd(context: NodeContext) -> None:
    """GatherND; batch axes are written into the index vectors, which works on every iOS."""
    shape, batch = context.shape(), context.int("batch_dims", 0)
    depth = context.shape(1)[-1]
    found = _with_batch(places(context, 1, shape[batch : batch + depth]), shape[:batch])
    context.store(moved(context, lambda data: mb.gather_nd(x=data, indices=found), context.input()))


def _with_batch(vectors: Var | np.ndarray, batch: Sequence[int]) -> Var | np.ndarray:
    """Index vectors that start with their own place on the batch axes."""
    if not batch:
        return vectors
    own = np.moveaxis(np.indices(batch, np.int32), 0, -1).reshape(
        *batch, *(1,) * (len(vectors.shape) - 1 - len(batch)), len(batch)
    )
    own = np.broadcast_to(own, (*vectors.shape[:-1], len(batch)))
    if isinstance(vectors, np.ndarray):
        return np.concatenate([own, vectors], -1)
    return mb.concat(values=[mb.const(val=np.ascontiguousarray(own)), vectors], axis=vectors.rank - 1)


@lowers("ScatterND")
def scatter_nd(context: NodeContext) -> None:
    """ScatterND with every reduction."""
    mode, shape = _mode(context), context.shape()
    found = places(context, 1, shape[: context.shape(1)[-1]])
    if isinstance(found, np.ndarray):
        vectors = found.reshape(-1, found.shape[-1])
        _refuse_repeats(mode, len(np.unique(vectors, axis=0)), len(vectors))

    def write(data: Var, updates: Var) -> Var:
        return mb.scatter_nd(data=data, indices=found, updates=updates, mode=mode)

    context.store(moved(context, write, context.input(), context.input(2)))


@lowers("ScatterElements", "Scatter")
def scatter_elements(context: NodeContext) -> None:
    """ScatterElements with every reduction; where the updates end earlier, the rest is put round them."""
    mode, x = _mode(context), context.input()
    axis = context.int("axis", 0) % x.rank
    found = places(context, 1, x.shape[axis])
    if isinstance(found, np.ndarray):
        coordinates = [found if at == axis else own for at, own in enumerate(np.indices(found.shape))]
        flat = np.ravel_multi_index(coordinates, tuple(x.shape))
        _refuse_repeats(mode, np.unique(flat).size, flat.size)

    def write(data: Var, updates: Var) -> Var:
        region = _region(data, updates.shape, axis)
        made = mb.scatter_along_axis(data=region, indices=found, updates=updates, axis=axis, mode=mode)
        return _inside(data, made)

    context.store(moved(context, write, x, context.input(2)))


def _inside(data: Var, made: Var) -> Var:
    """`data` with its first elements along every axis replaced by `made`."""
    for axis, size in enumerate(data.shape):
        if made.shape[axis] < size:
            rest = [range(length) for length in made.shape]
            rest[axis] = range(made.shape[axis], size)
            made = mb.concat(values=[made, part(data, rest)], axis=axis)
    return made


def _mode(context: NodeContext) -> str:
    reduction = context.string("reduction", "none")
    if reduction not in MODES:
        raise Refused(f"reduction '{reduction}' is unknown", f"use {', '.join(MODES)}")
    if reduction != "none" and context.computed_dtype() == np.bool_:
        raise Refused(f"reduction '{reduction}' of booleans", "cast to int32 in the network")
    return MODES[reduction]


def _refuse_repeats(mode: str, different: int, count: int) -> None:
    """Which of several values for one place is written last is open."""
    if mode == "update" and different < count:
        raise Refused("several updates for one place with reduction 'none'", "leave one, or use a reduction")


@lowers("OneHot")
def one_hot(context: NodeContext) -> None:
    """OneHot by comparison: indices outside of [-depth, depth) make no element hot."""
    depth = int(context.constant(1, "the depth").item())
    rank = len(context.out_shape())
    axis = context.int("axis", -1) % rank
    column = [*context.shape()]
    column.insert(axis, 1)
    row = [depth if at == axis else 1 for at in range(rank)]
    indices = context.input()
    if context.computed_dtype() != np.int32:
        indices = mb.cast(x=indices, dtype="int32")
    indices = reshaped(indices, column)
    wrapped = mb.select(
        cond=mb.less(x=indices, y=np.int32(0)), a=mb.add(x=indices, y=np.int32(depth)), b=indices
    )
    hot = mb.equal(x=wrapped, y=np.arange(depth, dtype=np.int32).reshape(row))
    off, on = _values(context)
    # SELECT takes its shape from the two values, not from the condition.
    context.store(mb.select(cond=hot, a=_spread(on, row), b=_spread(off, column)))


def _values(context: NodeContext) -> list[Var]:
    """Off and on value as vectors of one element."""
    pair = context.input(2)
    return [part(pair, [range(index, index + 1)]) for index in (0, 1)]


def _spread(value: Var, shape: Sequence[int]) -> Var:
    return tiled(reshaped(value, [1] * len(shape)), shape)
