"""Einsum of one and two operands."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from toolchain.converters.equation import Equation, parse
from toolchain.converters.tflite.layout import NodeLayout, Perm, is_constant, plain_perm, rank_of
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.matmul import batch_matmul, fully_connected, require_float
from toolchain.converters.tflite.program import Op, Tensor


def _equation(node: ir.Node) -> Equation:
    attribute = node.attributes["equation"]
    return parse(attribute.as_string(), [rank_of(value) for value in node.inputs])


def _layout(node: ir.Node, _perms: Sequence[Perm]) -> NodeLayout:
    """Every operand as the matrix product takes it, the result as that makes it: only names change."""
    equation = _equation(node)
    if not equation.supported:
        plain = tuple(plain_perm(rank_of(value)) for value in node.inputs)
        return NodeLayout(plain, (plain_perm(rank_of(node.outputs[0])),))
    orders = [equation.order(index) for index in range(len(node.inputs))]
    perms = [
        tuple(term.index(label) for label in order)
        for term, order in zip(equation.inputs, orders, strict=True)
    ]
    return NodeLayout(tuple(perms), (tuple(equation.output.index(label) for label in equation.result()),))


@lowers("Einsum", layout=_layout)
def einsum(context: NodeContext) -> None:
    """Einsum of one or two operands as a sum, a product or a BATCH_MATMUL."""
    require_float(context)
    equation = _equation(context.node)
    if not equation.supported:
        text = context.string("equation")
        raise Refused(
            f"equation '{text}': more than two operands, or a label twice in one term", "write it as several"
        )
    sizes: dict[str, int] = {}
    for index, term in enumerate(equation.inputs):
        for label, size in zip(term, context.shape(index), strict=True):
            if sizes.setdefault(label, size) != size:
                raise Refused(
                    f"equation '{context.string('equation')}' broadcasts an axis", "expand it first"
                )
    terms = [_summed_alone(context, equation, index) for index in range(len(equation.inputs))]
    y = terms[0] if len(terms) == 1 else _product(context, equation, terms, sizes)
    steps.store(context, steps.reshape(context, y, [sizes[label] for label in equation.result()]))


def _summed_alone(context: NodeContext, equation: Equation, index: int) -> Tensor:
    """An operand without the labels that only it has."""
    x, count = context.input(index), len(equation.alone(index))
    rank = len(x.shape)
    return steps.reduce(context, Op.SUM, x, range(rank - count, rank), keep=False)


def _product(
    context: NodeContext, equation: Equation, terms: Sequence[Tensor], sizes: dict[str, int]
) -> Tensor:
    batch, summed = (
        prod(sizes[label] for label in labels) for labels in (equation.batch(), equation.summed())
    )
    rows, columns = (prod(sizes[label] for label in equation.free(index)) for index in (0, 1))
    a = steps.reshape(context, terms[0], (batch, rows, summed))
    b = steps.reshape(context, terms[1], (batch, columns, summed))
    if not equation.summed():
        b = steps.reshape(context, b, (batch, 1, columns))
        return steps.binary(context, Op.MUL, a, b)
    if not equation.batch() and is_constant(context.onnx(1)):
        left = steps.reshape(context, a, (rows, summed))
        return fully_connected(context, left, steps.reshape(context, b, (columns, summed)))
    return batch_matmul(context, a, b, turn_b=True)
