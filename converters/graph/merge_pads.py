"""Padding nodes become attributes of the convolution or pool behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    attribute,
    constant,
    input_at,
    is_op,
    scalar,
    set_attributes,
    shape_of,
)


@dataclass(frozen=True)
class _Padding:
    """A constant Pad of the spatial axes: the padded value, sizes before and after per axis, and the fill."""

    source: ir.Value
    begin: tuple[int, ...]
    end: tuple[int, ...]
    fill: float


def merge_pads(model: ir.Model) -> bool:
    """Move the sizes of a constant Pad into the node that reads it.

    ::

        x -> Pad(1, 1, 1, 1; 0) -> Conv(pads 0) -> y        x -> Conv(pads 1, 1, 1, 1) -> y

    1. Conv: the fill is 0.
    2. AveragePool: the fill is 0 and padded cells count in the mean: either count_include_pad is set, or
       the pool has no padding of its own and gets the attribute.
    3. MaxPool: the fill is -inf or the lowest finite number; or it is 0 and the input is the output of a
       Relu, a Clip from 0 or a Sigmoid, which nothing below 0 leaves.
    4. Only spatial axes are padded, no size is negative, and the reader's auto_pad is NOTSET or VALID.
    5. Pools: no ceil_mode and no dilation, whose windows treat own and foreign padding differently, and
       the sum stays smaller than the window.
    6. Other readers of the Pad keep it.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "Conv", "AveragePool", "MaxPool")]:
        source = node.inputs[0]
        padding = _padding(source.producer()) if source is not None else None
        if padding is None or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        changed |= _merge(node, padding)
    return changed


def _padding(node: ir.Node | None) -> _Padding | None:
    if node is None or not is_op(node, "Pad") or attribute(node, "mode", "constant") != "constant":
        return None
    shape, pads, axes = shape_of(node.inputs[0]), constant(input_at(node, 1)), constant(input_at(node, 3))
    filler = input_at(node, 2)
    fill = 0.0 if filler is None else scalar(filler)
    if shape is None or pads is None or fill is None or (axes is None and input_at(node, 3) is not None):
        return None
    rank = len(shape)
    chosen = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    begin, end = [0] * rank, [0] * rank
    for position, axis in enumerate(chosen):
        begin[axis], end[axis] = int(pads[position]), int(pads[position + len(chosen)])
    if rank < 3 or any(begin[:2]) or any(end[:2]) or min(begin + end) < 0 or node.inputs[0] is None:
        return None
    return _Padding(node.inputs[0], tuple(begin[2:]), tuple(end[2:]), fill)


def _merge(node: ir.Node, padding: _Padding) -> bool:
    rank = len(padding.begin)
    own = (
        [0] * (2 * rank)
        if attribute(node, "auto_pad", "NOTSET") == "VALID"
        else attribute(node, "pads", [0] * 2 * rank)
    )
    total = [size + more for size, more in zip(own, (*padding.begin, *padding.end), strict=True)]
    if node.op_type == "Conv":
        if padding.fill != 0:
            return False
    elif not _pool_allows(node, padding, own, total):
        return False
    set_attributes(node, pads=total, auto_pad=None)
    if node.op_type == "AveragePool":
        set_attributes(node, count_include_pad=1)
    node.replace_input_with(0, padding.source)
    return True


def _pool_allows(node: ir.Node, padding: _Padding, own: list[int], total: list[int]) -> bool:
    window = attribute(node, "kernel_shape")
    plain = not attribute(node, "ceil_mode", 0) and set(attribute(node, "dilations", (1,))) == {1}
    if not plain or any(size >= window[axis % len(window)] for axis, size in enumerate(total)):
        return False
    if node.op_type == "AveragePool":
        return padding.fill == 0 and (bool(attribute(node, "count_include_pad", 0)) or not any(own))
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return False
    return _is_lowest(padding) or (padding.fill == 0 and _is_not_negative(padding.source))


def _is_lowest(padding: _Padding) -> bool:
    dtype = padding.source.dtype
    if padding.fill == -np.inf:
        return True
    return dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16) and padding.fill <= float(
        np.finfo(dtype.numpy()).min
    )


def _is_not_negative(value: ir.Value) -> bool:
    node = value.producer()
    if node is None or not is_op(node, "Relu", "Clip", "Sigmoid"):
        return False
    low = scalar(input_at(node, 1)) if node.op_type == "Clip" else 0.0
    return low is not None and low >= 0
