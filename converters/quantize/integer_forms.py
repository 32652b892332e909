"""Writes operators without an integer kernel by others that have one, before ranges are measured."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    add_initializer,
    attribute,
    bypass,
    constant,
    graph_of,
    input_at,
    insert_before,
    is_op,
    remove,
    required,
    set_attributes,
    shape_and_type,
    shape_of,
)

Made = ir.Value | None


def write_integer_forms(model: ir.Model, kept_float: Collection[str] = ()) -> bool:
    """Replace float operators for which TFLite has no int8 kernel but others that compute the same.

    ::

        x -> Neg -> y                     x -> Mul(-1) -> y
        x -> Div(c) -> y                  x -> Mul(1 / c) -> y                         (c constant)
        x -> Swish(alpha) -> y            x -+-> [Mul(alpha)] -> Sigmoid -+-> Mul -> y
                                             +----------------------------+
        x -> HardSigmoid -> y             x -> Mul(alpha) -> Add(beta) -> Clip(0, 1) -> y
        a, b, c -> Sum -> y               a -> Add(b) -> Add(c) -> y
        x -> Gemm(W, c; alpha, beta)      x -> Gemm(alpha * W, beta * c)               (W and c constant)

    Calibration must see the result, since the values between have ranges too. Nodes named in `kept_float`
    stay as they are.
    """
    changed = False
    for node in list(model.graph):
        if not is_op(node, *_FORMS) or node.name in kept_float or node.outputs[0].dtype != ir.DataType.FLOAT:
            continue
        if is_op(node, "Gemm"):
            changed |= _fold_gemm_factors(node)
            continue
        made, name = _FORMS[node.op_type](node), node.outputs[0].name
        if made is not None and bypass(node.outputs[0], made):
            remove(node)
            made.name = name
            changed = True
    return changed


def _neg(node: ir.Node) -> Made:
    return _apply(node, "Mul", required(node), -1.0)


def _div(node: ir.Node) -> Made:
    divisor = constant(node.inputs[1])
    if divisor is None or constant(node.inputs[0]) is not None or not divisor.all():
        return None
    with np.errstate(over="ignore"):
        reciprocal = (1 / divisor.astype(np.float64)).astype(np.float32)
    if not np.isfinite(reciprocal).all():
        return None
    factor = add_initializer(graph_of(node), reciprocal, f"{node.name}.reciprocal")
    return _binary(node, "Mul", required(node), factor)


def _swish(node: ir.Node) -> Made:
    x, alpha = required(node), attribute(node, "alpha", 1.0)
    inner = x if alpha == 1 else _apply(node, "Mul", x, alpha)
    gate = insert_before(node, "Sigmoid", [inner], {}, *shape_and_type(x))
    return _binary(node, "Mul", x, _named(gate, node, "gate"))


def _hard_sigmoid(node: ir.Node) -> Made:
    x = _apply(node, "Mul", required(node), attribute(node, "alpha", 0.2))
    x = _apply(node, "Add", x, attribute(node, "beta", 0.5))
    bounds = [_number(node, bound) for bound in (0.0, 1.0)]
    return _named(insert_before(node, "Clip", [x, *bounds], {}, *shape_and_type(x)), node, "clipped")


def _sum(node: ir.Node) -> Made:
    values = [value for value in node.inputs if value is not None]
    total = values[0]
    for value in values[1:]:
        total = _binary(node, "Add", total, value)
    return total if len(values) > 1 else None


def _fold_gemm_factors(node: ir.Node) -> bool:
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    weights, offset = constant(node.inputs[1]), constant(input_at(node, 2))
    absent = input_at(node, 2) is None
    if (alpha == 1 and (beta == 1 or absent)) or weights is None or (offset is None and not absent):
        return False
    graph = graph_of(node)
    scaled = (weights.astype(np.float64) * alpha).astype(np.float32)
    node.replace_input_with(1, add_initializer(graph, scaled, f"{node.name}.weight"))
    if offset is not None:
        scaled = (offset.astype(np.float64) * beta).astype(np.float32)
        node.replace_input_with(2, add_initializer(graph, scaled, f"{node.name}.bias"))
    set_attributes(node, alpha=None, beta=None)
    return True


def _apply(node: ir.Node, op_type: str, x: ir.Value, number: float) -> ir.Value:
    return _binary(node, op_type, x, _number(node, number))


def _number(node: ir.Node, number: float) -> ir.Value:
    return add_initializer(graph_of(node), np.array(number, np.float32), f"{node.name}.number")


def _binary(node: ir.Node, op_type: str, left: ir.Value, right: ir.Value) -> ir.Value:
    shape = np.broadcast_shapes(shape_of(left) or (), shape_of(right) or ())
    made = insert_before(node, op_type, [left, right], {}, shape, ir.DataType.FLOAT)
    return _named(made, node, op_type.lower())


def _named(value: ir.Value, node: ir.Node, part: str) -> ir.Value:
    """Names from the node's own, with a number where there are several of a kind."""
    taken = {made.name for other in graph_of(node) for made in other.outputs}
    name, number = f"{node.outputs[0].name}.{part}", 1
    while name in taken:
        number += 1
        name = f"{node.outputs[0].name}.{part}_{number}"
    value.name = name
    producer = value.producer()
    if producer is not None:
        producer.name = name
    return value


_FORMS: dict[str, Callable[[ir.Node], Made]] = {
    "Div": _div,
    "Gemm": lambda _node: None,
    "HardSigmoid": _hard_sigmoid,
    "Neg": _neg,
    "Sum": _sum,
    "Swish": _swish,
}
