"""Einsum of one and two operands."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.matmul import product
from toolchain.converters.equation import Equation, parse
from toolchain.converters.node_view import Refused

# Axes of a tensor less the two of the matrices.
MOST_BATCH_AXES = 3


@lowers("Einsum")
def einsum(context: NodeContext) -> None:
    """Einsum of one or two operands as a sum, a product or a `matmul`."""
    text = context.string("equation")
    if not context.is_float():
        raise Refused("Einsum of int32", "cast to float32 in the network")
    count = len(context.node.inputs)
    equation = parse(text, [len(context.shape(index)) for index in range(count)])
    if not equation.supported:
        raise Refused(
            f"equation '{text}': more than two operands, or a label twice in one term", "write it as several"
        )
    sizes = _sizes(context, equation)
    terms = [_summed_alone(context, equation, index) for index in range(count)]
    if count == 1:
        kept = "".join(label for label in equation.inputs[0] if label in equation.output)
        context.store(_ordered(terms[0], kept, equation.output))
        return
    y = _product(context, equation, terms, sizes)
    y = _reshaped(y, [sizes[label] for label in equation.result()])
    context.store(_ordered(y, equation.result(), equation.output))


def _sizes(context: NodeContext, equation: Equation) -> dict[str, int]:
    """Length of each label."""
    sizes: dict[str, int] = {}
    for index, term in enumerate(equation.inputs):
        for label, size in zip(term, context.shape(index), strict=True):
            if sizes.setdefault(label, size) != size:
                raise Refused(
                    f"equation '{context.string('equation')}' broadcasts an axis", "expand it first"
                )
    return sizes


def _summed_alone(context: NodeContext, equation: Equation, index: int) -> Var:
    """An operand without the labels that only it has."""
    term, alone = equation.inputs[index], equation.alone(index)
    axes = [term.index(label) for label in alone]
    return mb.reduce_sum(x=context.input(index), axes=axes, keep_dims=False) if axes else context.input(index)


def _reshaped(x: Var, shape: Sequence[int]) -> Var:
    if tuple(x.shape) == tuple(shape):
        return x
    # MIL reshapes nothing to a scalar.
    return mb.reshape(x=x, shape=list(shape)) if shape else mb.squeeze(x=x)


def _ordered(x: Var, labels: str, wanted: str) -> Var:
    """Axes from one order of labels to another."""
    return x if labels == wanted else mb.transpose(x=x, perm=[labels.index(label) for label in wanted])


def _product(context: NodeContext, equation: Equation, terms: Sequence[Var], sizes: dict[str, int]) -> Var:
    """The result with its labels in the order of `equation.result()`, neighbours merged."""
    (a, turn_a), (b, turn_b) = (_matrix(equation, terms, index, sizes) for index in (0, 1))
    if equation.summed():
        return product(context, a, b, turn_a, not turn_b)
    # Nothing is summed: a column of rows times a row of columns.
    return mb.mul(x=a, y=_reshaped(b, [*b.shape[:-2], 1, b.shape[-2]]))


def _matrix(equation: Equation, terms: Sequence[Var], index: int, sizes: dict[str, int]) -> tuple[Var, bool]:
    """An operand as (batch..., free, summed), or as (batch..., summed, free) and True where it lies so."""
    alone, batch = equation.alone(index), equation.batch()
    free, summed = equation.free(index), equation.summed()
    labels = "".join(label for label in equation.inputs[index] if label not in alone)
    turned = labels == batch + summed + free and bool(summed) and bool(free)
    order = labels if turned else batch + free + summed
    x = _ordered(terms[index], labels, order)
    merged = [prod(sizes[label] for label in part) for part in (free, summed)]
    front = [sizes[label] for label in batch]
    if len(front) > MOST_BATCH_AXES:
        front = [prod(front)]
    return _reshaped(x, [*front, *(reversed(merged) if turned else merged)]), turned
