"""Finds HardSwish in the arithmetic that exporters write for it."""

from __future__ import annotations

import onnx_ir as ir

from toolchain.converters.graph.factors import Product, close, is_product, product, sum_with_number
from toolchain.converters.graph.rewrite import (
    attribute,
    bypass,
    input_at,
    insert_before,
    opset_version,
    remove,
    scalar,
    shape_and_type,
    sole_producer,
)

HARD_SWISH_OPSET = 14


def fuse_hard_swish(model: ir.Model) -> bool:
    """Replace x * clip(x + 3, 0, 6) / 6 and x * HardSigmoid(x) by HardSwish.

    ::

        x -+-> Add(3) -> Clip(0, 6) -+-> Mul -> Div(6) -> y        x -> HardSwish -> y
           +-------------------------+

    1. The factors may be multiplied in any order; the division may come first, or be a Mul by 1 / 6.
    2. HardSigmoid must have alpha = 1 / 6 and beta = 0.5.
    3. Nothing else reads the values in between.
    4. HardSwish needs opset 14; older graphs stay as they are.

    Source: arXiv:1905.02244, section 5.2.
    """
    changed = False
    if opset_version(model) < HARD_SWISH_OPSET:
        return False
    for node in reversed(list(model.graph)):
        if node.graph is None or not is_product(node):
            continue
        x = _match(product(node))
        if x is None:
            continue
        shape, dtype = shape_and_type(node.outputs[0])
        bypass(node.outputs[0], insert_before(node, "HardSwish", [x], {}, shape, dtype))
        remove(node)
        changed = True
    return changed


def _match(found: Product) -> ir.Value | None:
    """The value x if the product is x * HardSigmoid(x) or x * clip(x + 3, 0, 6) / 6."""
    if len(found.values) != 2:
        return None
    for x, other in (found.values, found.values[::-1]):
        if close(found.number, 1, x.dtype) and _is_hard_sigmoid(other, x):
            return x
        if close(found.number, 1 / 6, x.dtype) and _is_shifted_relu6(other, x):
            return x
    return None


def _is_hard_sigmoid(value: ir.Value, x: ir.Value) -> bool:
    node = sole_producer(value, "HardSigmoid")
    if node is None or node.inputs[0] is not x:
        return False
    return close(attribute(node, "alpha", 0.2), 1 / 6, None) and attribute(node, "beta", 0.5) == 0.5


def _is_shifted_relu6(value: ir.Value, x: ir.Value) -> bool:
    node = sole_producer(value, "Clip")
    if node is None or (scalar(input_at(node, 1)), scalar(input_at(node, 2))) != (0, 6):
        return False
    shifted = sum_with_number(node.inputs[0]) if node.inputs[0] is not None else None
    return shifted is not None and shifted[0] is x and shifted[1] == 3
