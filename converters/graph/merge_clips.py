"""Chains of Relu, Clip, Min and Max with constant bounds become one Relu or Clip."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    add_initializer,
    bypass,
    graph_of,
    input_at,
    is_op,
    remove,
    required,
    scalar,
    set_inputs,
    shape_of,
    sole_producer,
)

Bounds = tuple[float, float]


def merge_clips(model: ir.Model) -> bool:
    """Write every limiter in one form, and two in a row as one.

    ::

        x -> Relu -> Clip(0, 6) -> y          x -> Clip(0, 6) -> y
        x -> Max(0) -> y                      x -> Relu -> y
        x -> Clip(-inf, inf) -> y             x -> y

    1. Max or Min with one constant number is a Clip with one bound.
    2. A Clip of the output of a limiter (l1, h1) that nothing else reads has the bounds
       (clip(l1), clip(h1)): limiters are monotone.
    3. Bounds (0, inf) are a Relu; a bound at the end of the float range is no bound; a Clip without
       bounds goes away.
    4. Floating point only; a Clip whose lower bound lies above the upper one is left alone, and so is one
       that only lets an infinity through.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "Relu", "Clip", "Min", "Max")]:
        limits = _bounds(node)
        if limits is None:
            continue
        data, (low, high) = limits
        before = sole_producer(data, "Relu", "Clip", "Min", "Max")
        earlier = _bounds(before) if before is not None else None
        if before is not None and earlier is not None:
            data = earlier[0]
            low, high = (min(max(bound, low), high) for bound in earlier[1])
        elif _is_canonical(node, low, high):
            continue
        changed |= _write(node, data, low, high)
        if earlier is not None and before is not None and not before.outputs[0].uses():
            remove(before)
    return changed


def _bounds(node: ir.Node) -> tuple[ir.Value, Bounds] | None:
    """The limited value and the limits, if they are constant numbers."""
    dtype = node.outputs[0].dtype
    if dtype is None or not dtype.is_floating_point():
        return None
    found = _limits(node)
    if found is None:
        return None
    data, (low, high) = found
    plain = dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
    largest = float(np.finfo(dtype.numpy()).max) if plain else math.inf
    low = -math.inf if low <= -largest else low
    high = math.inf if high >= largest else high
    valid = low <= high and low != math.inf and high != -math.inf
    return (data, (low, high)) if valid else None


def _limits(node: ir.Node) -> tuple[ir.Value, Bounds] | None:
    """The same as the node states them."""
    if node.op_type in ("Min", "Max"):
        found = _one_number(node)
        if found is None:
            return None
        data, number = found
        return (data, (number, math.inf)) if node.op_type == "Max" else (data, (-math.inf, number))
    if node.op_type == "Relu":
        return required(node), (0.0, math.inf)
    limits = [-math.inf, math.inf]
    for index in (1, 2):
        bound = scalar(input_at(node, index))
        if bound is not None:
            limits[index - 1] = bound
        elif input_at(node, index) is not None:
            return None
    return required(node), (limits[0], limits[1])


def _one_number(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The operands of a Min or Max of a tensor and a number that does not broaden it."""
    if len(node.inputs) != 2:
        return None
    for data, other in (node.inputs, node.inputs[::-1]):
        number = scalar(other)
        if (
            number is not None
            and data is not None
            and shape_of(data) == shape_of(node.outputs[0]) is not None
        ):
            return data, number
    return None


def _is_canonical(node: ir.Node, low: float, high: float) -> bool:
    """Whether the node already has the form that `_write` would give it."""
    if node.op_type == "Relu":
        return True
    if node.op_type != "Clip" or (low, high) in ((0, math.inf), (-math.inf, math.inf)):
        return False
    given = (input_at(node, 1) is not None, input_at(node, 2) is not None)
    return given == (low != -math.inf, high != math.inf)


def _write(node: ir.Node, data: ir.Value, low: float, high: float) -> bool:
    """Make `node` limit `data`; True if the graph changed."""
    if (low, high) == (-math.inf, math.inf):
        if bypass(node.outputs[0], data):
            remove(node)
        else:
            node.op_type = "Identity"
            set_inputs(node, [data])
        return True
    if (low, high) == (0, math.inf):
        node.op_type = "Relu"
        set_inputs(node, [data])
        return True
    graph, dtype = graph_of(node), node.outputs[0].dtype or ir.DataType.FLOAT
    node.op_type = "Clip"
    bounds = [
        add_initializer(graph, np.array(bound, dtype.numpy()), f"{node.name}.{kind}")
        if math.isfinite(bound)
        else None
        for bound, kind in ((low, "min"), (high, "max"))
    ]
    set_inputs(node, [data, bounds[0]] if bounds[1] is None else [data, *bounds])
    return True
