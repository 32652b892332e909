"""Reads a tree of multiplications as one product: a number times some values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import is_op, required, scalar, shape_of, sole_producer

SIZE_LIMIT = 6
"""Factors after which a product is not one of an activation function."""


@dataclass
class Product:
    """number * values[0] * values[1] * ..., and the nodes that compute it."""

    number: float = 1.0
    values: list[ir.Value] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)

    def count(self, value: ir.Value) -> int:
        """How many factors are this very value."""
        return sum(factor is value for factor in self.values)


def product(node: ir.Node) -> Product:
    """The product that a Mul, or a Div by a number, computes with the Mul, Div and Pow nodes below it.

    Nodes below are taken in only if nothing else reads them and nothing broadcasts.
    """
    result = Product()
    _take(node, result)
    return result


def product_of(value: ir.Value) -> Product:
    """The same, starting from a value; of other nodes' outputs, the value itself."""
    result = Product()
    _take_value(value, result)
    return result


def close(number: float, expected: float, dtype: ir.DataType | None) -> bool:
    """Whether a constant of the graph is `expected`, but for the rounding of its type."""
    tolerance = 1e-3 if dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) else 1e-6
    return bool(np.isclose(number, expected, rtol=tolerance, atol=0))


def _take(node: ir.Node, result: Product) -> None:
    result.nodes.append(node)
    first, second = required(node, 0), required(node, 1)
    if node.op_type == "Pow":
        result.values += [first] * int(scalar(second) or 0)
        return
    for index, value in enumerate((first, second)):
        number = scalar(value)
        if number is not None:
            result.number *= 1 / number if node.op_type == "Div" and index == 1 else number
        else:
            _take_value(value, result)


def _take_value(value: ir.Value, result: Product) -> None:
    node = sole_producer(value, "Mul", "Div", "Pow")
    if node is not None and len(result.values) < SIZE_LIMIT and _is_product(node):
        _take(node, result)
    else:
        result.values.append(value)


def _is_product(node: ir.Node) -> bool:
    """Whether the node multiplies values of the shape of its output, with each other or with numbers."""
    shape = shape_of(node.outputs[0])
    if shape is None:
        return False
    left, right = node.inputs[:2]
    numbers = (scalar(left), scalar(right))
    if node.op_type == "Pow":
        return numbers[1] in (2, 3) and shape_of(left) == shape
    if node.op_type == "Div":
        return numbers[1] not in (None, 0) and numbers[0] is None and shape_of(left) == shape
    return all(
        number is not None or shape_of(value) == shape
        for value, number in zip((left, right), numbers, strict=True)
    )


def is_product(node: ir.Node | None) -> bool:
    """Whether `product` can read the node."""
    return node is not None and is_op(node, "Mul", "Div") and _is_product(node)


def sum_with_number(value: ir.Value) -> tuple[ir.Value, float] | None:
    """(x, c) if the value is x + c for a number c, and nothing else reads it."""
    node = sole_producer(value, "Add")
    if node is None:
        return None
    for source, other in (node.inputs, node.inputs[::-1]):
        number = scalar(other)
        if (
            number is not None
            and source is not None
            and shape_of(source) == shape_of(node.outputs[0]) is not None
        ):
            return source, number
    return None
