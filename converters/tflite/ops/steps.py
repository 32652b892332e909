"""Single steps: TFLite operators as functions of tensors, out of which handlers are composed.

A step knows the limits of the kernels in TFLite 2.14 and later, without and with XNNPACK: a type that a
kernel lacks is cast to a wider one and back, axes beyond what a kernel takes are merged, and every
operator gets the lowest version that it needs. What cannot be made exact that way is refused.

All axes and shapes here are those of the storage.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.carry import merge_transposed
from toolchain.converters.tflite.flatbuffer import TENSOR_TYPES
from toolchain.converters.tflite.lowering import NodeContext, Refused
from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import OP_NAMES, Op, Tensor

_ARITHMETIC = frozenset({"float32", "int32", "int64"})
_NO_LONG = frozenset({"float32", "int32"})
_FLOAT = frozenset({"float32"})
_MOVED = frozenset({"float32", "int32", "int64", "int8", "uint8", "int16"})
_MOVED_BOOL = _MOVED | {"bool"}
_WHOLE = frozenset({"int8", "uint8", "int16", "uint16", "int32", "uint32"})
_BLOCKS = frozenset({"float32", "int32", "int64", "int8", "uint8"})

# Element types that the kernel of an operator computes without quantization, in every runtime since 2.14.
KERNEL_TYPES: dict[int, frozenset[str]] = {
    Op.ABS: _NO_LONG, Op.ADD: _ARITHMETIC, Op.ARG_MAX: _NO_LONG, Op.ARG_MIN: _NO_LONG,
    Op.BATCH_MATMUL: _FLOAT, Op.BITWISE_XOR: _WHOLE, Op.BROADCAST_TO: _MOVED_BOOL, Op.CEIL: _FLOAT,
    Op.CONCATENATION: _MOVED_BOOL, Op.COS: _FLOAT, Op.CUMSUM: _ARITHMETIC,
    Op.DEPTH_TO_SPACE: _BLOCKS, Op.DIV: _NO_LONG, Op.EQUAL: _ARITHMETIC | {"bool"}, Op.EXP: _FLOAT,
    Op.FLOOR: _FLOAT, Op.FLOOR_MOD: _ARITHMETIC,
    Op.FULLY_CONNECTED: _FLOAT, Op.GATHER: _MOVED_BOOL, Op.GREATER: _ARITHMETIC,
    Op.GREATER_EQUAL: _ARITHMETIC, Op.LESS: _ARITHMETIC, Op.LESS_EQUAL: _ARITHMETIC, Op.LOG: _FLOAT,
    Op.LOGICAL_AND: frozenset({"bool"}), Op.LOGICAL_NOT: frozenset({"bool"}),
    Op.LOGICAL_OR: frozenset({"bool"}), Op.MAXIMUM: _ARITHMETIC, Op.MEAN: _ARITHMETIC,
    Op.MINIMUM: _ARITHMETIC, Op.MIRROR_PAD: _MOVED, Op.MUL: _ARITHMETIC, Op.NEG: _ARITHMETIC,
    Op.NOT_EQUAL: _ARITHMETIC | {"bool"}, Op.PAD: _MOVED, Op.PADV2: _MOVED, Op.POW: _NO_LONG,
    Op.REDUCE_ALL: frozenset({"bool"}), Op.REDUCE_ANY: frozenset({"bool"}), Op.REDUCE_MAX: _ARITHMETIC,
    Op.REDUCE_MIN: _ARITHMETIC, Op.REDUCE_PROD: _ARITHMETIC, Op.REVERSE_V2: _MOVED_BOOL,
    Op.RIGHT_SHIFT: _WHOLE, Op.ROUND: _FLOAT, Op.SCATTER_ND: _BLOCKS, Op.SELECT_V2: _MOVED_BOOL,
    Op.SIGN: _NO_LONG, Op.SIN: _FLOAT, Op.SLICE: _MOVED_BOOL, Op.SPACE_TO_DEPTH: _BLOCKS,
    Op.SPLIT: _MOVED - {"int64"}, Op.SPLIT_V: _MOVED, Op.SQRT: _FLOAT, Op.SQUARE: _FLOAT,
    Op.STRIDED_SLICE: _MOVED_BOOL, Op.SUB: _ARITHMETIC, Op.SUM: _ARITHMETIC,
    Op.TILE: _MOVED_BOOL - {"int16"}, Op.TOPK_V2: _ARITHMETIC, Op.TRANSPOSE: _MOVED_BOOL,
}  # fmt: skip
# What holds every value of a type, best first. Wrapped back, a result is the one of the narrow type.
_WIDER = {
    "bool": ("uint8", "int32"),
    "int8": ("int32",),
    "uint8": ("int32",),
    "int16": ("int32",),
    "uint16": ("int32",),
    "uint32": ("int64",),
}
COMPARISONS = frozenset({Op.EQUAL, Op.NOT_EQUAL, Op.LESS, Op.LESS_EQUAL, Op.GREATER, Op.GREATER_EQUAL})
BROADCAST_AXES = 4
TRANSPOSED_AXES = 6
SLICED_AXES = 5
# XNNPACK takes no tensors of more axes, and then the whole file does not load.
MOST_AXES = 6
# Options tables whose names do not follow from the operator's.
_OPTIONS: dict[int, Any] = {
    Op.MAXIMUM: schema.MaximumMinimumOptionsT,
    Op.MINIMUM: schema.MaximumMinimumOptionsT,
    Op.PADV2: schema.PadV2OptionsT,
    Op.TOPK_V2: schema.TopKV2OptionsT,
}


def _options(code: int) -> Any:
    """The options table of an operator with all defaults, None when it has none."""
    name = "".join(part.capitalize() for part in OP_NAMES[code].split("_"))
    table = _OPTIONS.get(code) or getattr(schema, f"{name}OptionsT", None)
    return None if table is None else table()


def refuse_empty(context: NodeContext, *shapes: Sequence[int]) -> None:
    """Refuse tensors without elements, on which runtimes disagree.

    Raises:
        Refused: an axis has length 0.
    """
    if any(0 in shape for shape in shapes):
        raise Refused(
            f"{context.node.op_type} with an axis of length 0",
            "export with an input shape that gives every axis at least one element",
        )


def emit(
    context: NodeContext,
    code: Any,
    inputs: Sequence[Tensor | None],
    shape: Sequence[int],
    dtype: Any = None,
    options: Any = None,
) -> Tensor:
    """Append an operator with one result of this shape, by default of the type of the first input."""
    first = next(tensor for tensor in inputs if tensor is not None)
    made = context.temp(shape, first.dtype if dtype is None else dtype, "step")
    emit_all(context, code, inputs, [made], options)
    return made


def emit_all(
    context: NodeContext,
    code: Any,
    inputs: Sequence[Tensor | None],
    made: Sequence[Tensor],
    options: Any = None,
) -> None:
    """Append an operator with these results.

    Raises:
        Refused: a result has no elements.
    """
    computed = [tensor.shape for tensor in inputs if tensor is not None and tensor.data is None]
    refuse_empty(context, *(tensor.shape for tensor in made), *computed)
    if options is None:
        options = _options(code)
    context.emit(code, inputs, list(made), options, lowest_version(code, inputs, made, options))


def store(context: NodeContext, tensor: Tensor, index: int = 0) -> None:
    """Make a tensor output `index` of the node; it gets the output's name if this node made it."""
    base = context.node.outputs[0].name or context.node.op_type
    if tensor.data is None and tensor.name.startswith(f"{base}/"):
        tensor.name = context.lowering.unique(context.node.outputs[index].name or "value")
    context.alias(tensor, index)


def number(context: NodeContext, value: Any, dtype: Any) -> Tensor:
    """A scalar constant."""
    return context.const(np.asarray(value, dtype), "number")


def cast(context: NodeContext, x: Tensor, dtype: Any) -> Tensor:
    """Another element type; integers wrap around, floats are cut towards zero.

    Raises:
        Refused: TFLite has no cast between these types.
    """
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    if x.data is not None:
        return context.const(x.data.astype(dtype), "cast")
    for name in (x.dtype.name, dtype.name):
        if name not in ("float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool"):
            raise Refused(f"{context.node.op_type} of {name}", "cast to float32 or int32 in the network")
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = TENSOR_TYPES[x.dtype.name], TENSOR_TYPES[dtype.name]
    return emit(context, Op.CAST, [x], x.shape, dtype, options)


def kernel_type(context: NodeContext, code: int, dtype: Any) -> np.dtype:
    """The type in which an operator is computed for values of `dtype`.

    Raises:
        Refused: its kernel knows neither this type nor one that holds all its values.
    """
    name = np.dtype(dtype).name
    for candidate in (name, *_WIDER.get(name, ())):
        if candidate in KERNEL_TYPES[code]:
            return np.dtype(candidate)
    raise Refused(
        f"{context.node.op_type} of {name}, which TFLite does not compute",
        "cast to float32 or int32 in the network",
    )


def reshape(context: NodeContext, x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same data under another shape."""
    if tuple(shape) == x.shape:
        return x
    if x.data is not None:
        return context.const(x.data.reshape(shape), "view")
    refuse_empty(context, shape)
    return context.reshape(x, [int(size) for size in shape], "view")


def unary(context: NodeContext, code: Any, x: Tensor) -> Tensor:
    """An operator of one operand that keeps the shape."""
    dtype = kernel_type(context, code, x.dtype)
    y = cast(context, x, dtype)
    flat = reshape(context, y, (prod(x.shape),)) if len(x.shape) > MOST_AXES else y
    y = emit(context, code, [flat], flat.shape)
    return cast(context, reshape(context, y, x.shape), x.dtype)


def binary(context: NodeContext, code: Any, a: Tensor | float, b: Tensor | float) -> Tensor:
    """An operator of two operands that broadcasts; a number takes the type of the other operand."""
    if not isinstance(a, Tensor):
        assert isinstance(b, Tensor)
        a = number(context, a, b.dtype)
    if not isinstance(b, Tensor):
        b = number(context, b, a.dtype)
    dtype = kernel_type(context, code, a.dtype)
    y = _broadcasting(context, code, [cast(context, a, dtype), cast(context, b, dtype)])
    return y if code in COMPARISONS else cast(context, y, a.dtype)


def select(context: NodeContext, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Elements of `a` where the condition holds, of `b` elsewhere, with broadcasting."""
    dtype = kernel_type(context, Op.SELECT_V2, a.dtype)
    operands = [condition, cast(context, a, dtype), cast(context, b, dtype)]
    return cast(context, _broadcasting(context, Op.SELECT_V2, operands), a.dtype)


def _broadcasting(context: NodeContext, code: int, operands: Sequence[Tensor]) -> Tensor:
    shape = np.broadcast_shapes(*(tensor.shape for tensor in operands))
    dtype = np.dtype(bool) if code in COMPARISONS else operands[-1].dtype
    shapes = [tensor.shape for tensor in operands]
    merged: Sequence[int] = shape
    alike = len(set(shapes)) == 1
    if len(shape) > (MOST_AXES if alike else BROADCAST_AXES):
        shapes, merged = merge_broadcast(shapes)
        alike = len(set(shapes)) == 1
    if not alike and len(merged) > BROADCAST_AXES:
        operands = [broadcast(context, tensor, shape) for tensor in operands]
        shapes, merged = [(prod(shape),)] * len(operands), (prod(shape),)
    operands = [reshape(context, tensor, view) for tensor, view in zip(operands, shapes, strict=True)]
    return reshape(context, emit(context, code, operands, merged, dtype), shape)


def merge_broadcast(shapes: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Merge neighbouring axes that are broadcast alike.

    Returns:
        The shapes of the operands and of the result with as few axes as possible.
    """
    whole = np.broadcast_shapes(*(tuple(shape) for shape in shapes))
    padded = [(1,) * (len(whole) - len(shape)) + tuple(shape) for shape in shapes]
    runs: list[tuple[tuple[bool, ...], list[int]]] = []
    for axis, size in enumerate(whole):
        if size == 1 and runs:
            runs[-1][1].append(axis)
            continue
        spread = tuple(shape[axis] != size for shape in padded)
        if runs and (runs[-1][0] == spread or all(whole[before] == 1 for before in runs[-1][1])):
            runs[-1] = (spread, [*runs[-1][1], axis])
        else:
            runs.append((spread, [axis]))
    views = [tuple(prod(shape[axis] for axis in axes) for _, axes in runs) for shape in padded]
    return views, tuple(prod(whole[axis] for axis in axes) for _, axes in runs)


def broadcast(context: NodeContext, x: Tensor, shape: Sequence[int]) -> Tensor:
    """The elements repeated along axes of length 1 and new leading axes."""
    if x.shape == tuple(shape):
        return x
    dtype = kernel_type(context, Op.BROADCAST_TO, x.dtype)
    view, made = x.shape, tuple(shape)
    if len(shape) > MOST_AXES:
        (view, _), made = merge_broadcast([x.shape, shape])
    y = reshape(context, cast(context, x, dtype), view)
    y = emit(context, Op.BROADCAST_TO, [y, context.int_const(made, "shape")], made)
    return reshape(context, cast(context, y, x.dtype), shape)


def fold_axes(shape: Sequence[int], active: Collection[int], together: bool = False) -> list[list[int]]:
    """Runs of neighbouring axes that an operator on the `active` axes leaves alone.

    Args:
        shape: sizes of all axes.
        active: axes that the operator works on; each stands alone.
        together: neighbouring active axes form one run too, as a reduction allows.
    """
    runs: list[list[int]] = []
    for axis in range(len(shape)):
        joins = axis and (axis in active) == (axis - 1 in active) and (together or axis not in active)
        if joins:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def transpose(context: NodeContext, x: Tensor, order: Sequence[int]) -> Tensor:
    """Axes in another order: axis i of the result is axis order[i]."""
    shape = [x.shape[axis] for axis in order]
    view, turned = merge_transposed(x.shape, order)
    if len(turned) < 2:
        return reshape(context, x, shape)
    if len(turned) > TRANSPOSED_AXES:
        raise Refused(f"a transposition of {len(turned)} axes", f"TFLite moves up to {TRANSPOSED_AXES}")
    if len(order) <= BROADCAST_AXES:
        view, turned = x.shape, tuple(order)
    y = cast(context, x, kernel_type(context, Op.TRANSPOSE, x.dtype))
    y = reshape(context, y, view)
    made = [y.shape[axis] for axis in turned]
    y = emit(context, Op.TRANSPOSE, [y, context.int_const(turned, "order")], made)
    return reshape(context, cast(context, y, x.dtype), shape)


def around(shape: Sequence[int], axis: int, axes: int = 1) -> tuple[int, ...]:
    """The shape seen as (before, axis, after)."""
    return prod(shape[:axis]), *shape[axis : axis + axes], prod(shape[axis + axes :])


def concat(context: NodeContext, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors one behind the other along an axis; those without elements are left out."""
    tensors = [tensor for tensor in tensors if tensor.shape[axis]]
    if not tensors:
        raise Refused("Concat of tensors without elements", "remove the branch from the network")
    if len(tensors) == 1:
        return tensors[0]
    first, source = tensors[0], tensors[0].dtype
    shape = list(first.shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    dtype = kernel_type(context, Op.CONCATENATION, source)
    tensors = [cast(context, tensor, dtype) for tensor in tensors]
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    made = shape
    if len(shape) > MOST_AXES:
        tensors = [reshape(context, tensor, around(tensor.shape, axis)) for tensor in tensors]
        made, options.axis = list(around(shape, axis)), 1
    y = emit(context, Op.CONCATENATION, tensors, made, dtype, options)
    return reshape(context, cast(context, y, source), shape)


def gather(context: NodeContext, x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Elements of an axis at places that are not negative; the axes of `indices` take its place."""
    dtype = kernel_type(context, Op.GATHER, x.dtype)
    shape = [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]
    options = schema.GatherOptionsT()
    options.axis = axis
    y, made = cast(context, x, dtype), shape
    if max(len(x.shape), len(shape)) > MOST_AXES:
        y = reshape(context, y, around(x.shape, axis))
        indices = reshape(context, indices, (prod(indices.shape),))
        made, options.axis = [y.shape[0], indices.shape[0], y.shape[2]], 1
    y = emit(context, Op.GATHER, [y, indices], made, dtype, options)
    return reshape(context, cast(context, y, x.dtype), shape)


def reduce(context: NodeContext, code: Any, x: Tensor, axes: Collection[int], keep: bool) -> Tensor:
    """A reduction over axes, which stay with length 1 when `keep` is set."""
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keep or axis not in axes]
    if not axes:
        return x
    dtype = kernel_type(context, code, x.dtype)
    y, over = cast(context, x, dtype), sorted(axes)
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    made = shape
    if len(x.shape) > BROADCAST_AXES:
        runs = fold_axes(x.shape, axes, together=True)
        if len(runs) > MOST_AXES:
            return _reduce_one_by_one(context, code, x, [run for run in runs if run[0] in axes], shape)
        y = reshape(context, y, [prod(x.shape[axis] for axis in run) for run in runs])
        over = [place for place, run in enumerate(runs) if run[0] in axes]
        made = [size for place, size in enumerate(y.shape) if place not in over]
        options.keepDims = False
    y = emit(context, code, [y, context.int_const(over, "axes")], made, dtype, options)
    return cast(context, reshape(context, y, shape), x.dtype)


def _reduce_one_by_one(
    context: NodeContext, code: Any, x: Tensor, runs: Sequence[Sequence[int]], shape: Sequence[int]
) -> Tensor:
    """A reduction over many parted axes; means of integers, which are rounded, cannot be taken in turns."""
    if code == Op.MEAN and x.dtype != np.float32:
        raise Refused(f"{context.node.op_type} of {x.dtype} over {len(runs)} parted axes", "cast to float32")
    for run in runs:
        x = reduce(context, code, x, run, keep=True)
    return reshape(context, x, shape)
