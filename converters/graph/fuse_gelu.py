"""Finds the Gaussian error linear unit in the arithmetic that exporters write for it."""

from __future__ import annotations

import math

import onnx_ir as ir

from toolchain.converters.graph.factors import (
    Product,
    close,
    is_product,
    product,
    product_of,
    sum_with_number,
)
from toolchain.converters.graph.rewrite import (
    STANDARD,
    attribute,
    bypass,
    insert_before,
    is_op,
    opset_version,
    remove,
    shape_and_type,
    sole_producer,
)

GELU_OPSET = 20


def fuse_gelu(model: ir.Model) -> bool:
    """Replace 0.5 * x * (1 + erf(x / sqrt(2))) and its tanh form by Gelu.

    ::

        x -+-> Div(sqrt 2) -> Erf -> Add(1) -+-> Mul -> Mul(0.5) -> y        x -> Gelu -> y
           +---------------------------------+

    1. The factors may be multiplied in any order, and divided by as well.
    2. tanh form (approximate="tanh"): tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)) in place of erf; the cube
       is a Pow or two Mul.
    3. Constants may differ from these by the rounding of the tensor's type, no more.
    4. Nothing else reads the values in between.
    5. Gelu came with opset 20. A graph of opset 18 or 19 is declared to be of opset 20, unless it has
       nodes whose meaning changed in between (GridSample, DFT, AveragePool with ceil_mode and
       count_include_pad, control flow);
       then it stays as it is, and so does a graph of an older opset.

    Source: arXiv:1606.08415.
    """
    if not _has_gelu(model):
        return False
    changed = False
    for node in reversed(list(model.graph)):
        if node.graph is None or not is_product(node):
            continue
        found = _match(product(node))
        if found is None:
            continue
        x, approximate = found
        model.opset_imports[STANDARD] = max(opset_version(model), GELU_OPSET)
        shape, dtype = shape_and_type(node.outputs[0])
        y = insert_before(node, "Gelu", [x], {"approximate": approximate}, shape, dtype)
        bypass(node.outputs[0], y)
        remove(node)
        changed = True
    return changed


def _has_gelu(model: ir.Model) -> bool:
    """Whether the graph may hold a Gelu, after a change of its opset if need be."""
    version = opset_version(model)
    return version >= GELU_OPSET or (version >= 18 and not any(_is_versioned(node) for node in model.graph))


def _is_versioned(node: ir.Node) -> bool:
    ceil = is_op(node, "AveragePool") and attribute(node, "ceil_mode", 0)
    return bool(ceil and attribute(node, "count_include_pad", 0)) or is_op(
        node, "GridSample", "DFT", "If", "Loop", "Scan"
    )


def _match(found: Product) -> tuple[ir.Value, str] | None:
    """The value x and that of `approximate` if the product is 0.5 * x * (1 + f(x))."""
    if len(found.values) != 2 or not close(found.number, 0.5, found.values[0].dtype):
        return None
    for x, other in (found.values, found.values[::-1]):
        bell = sum_with_number(other)
        if bell is None or bell[1] != 1:
            continue
        inner = sole_producer(bell[0], "Erf", "Tanh")
        if inner is None or inner.inputs[0] is None:
            continue
        if inner.op_type == "Erf" and _is_scaled(inner.inputs[0], x, math.sqrt(0.5)):
            return x, "none"
        if inner.op_type == "Tanh" and _is_cubic(inner.inputs[0], x):
            return x, "tanh"
    return None


def _is_scaled(value: ir.Value, x: ir.Value, factor: float) -> bool:
    found = product_of(value)
    return found.count(x) == len(found.values) == 1 and close(found.number, factor, x.dtype)


def _is_cubic(value: ir.Value, x: ir.Value) -> bool:
    """Whether the value is sqrt(2 / pi) * (x + 0.044715 * x ** 3)."""
    outer = product_of(value)
    if len(outer.values) != 1 or not close(outer.number, math.sqrt(2 / math.pi), x.dtype):
        return False
    total = sole_producer(outer.values[0], "Add")
    if total is None:
        return False
    for linear, cubic in (total.inputs, total.inputs[::-1]):
        if linear is not x or cubic is None:
            continue
        cube = product_of(cubic)
        if cube.count(x) == len(cube.values) == 3 and close(cube.number, 0.044715, x.dtype):
            return True
    return False
