"""Operators without an integer kernel, written as others that have one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.program import Op, Operator, Program, Tensor


def rewrite_for_integers(program: Program) -> None:
    """Replace operators whose results have scales, in place.

    ::

        x -> NEG -> y          x -> MUL(-1) -> y
        x -> SQUARE -> y       x -> MUL(x) -> y
        x -> DIV(c) -> y       x -> MUL(1 / c) -> y
    """
    for operator in program.operators:
        change = _CHANGES.get(operator.code)
        if change is not None and operator.outputs[0].quantization is not None:
            change(operator)


def _as_product(operator: Operator, a: Tensor | None, b: Tensor | None) -> None:
    fused = getattr(operator.options, "fusedActivationFunction", 0)
    operator.code, operator.inputs, operator.version = Op.MUL, [a, b], 1
    operator.options = schema.MulOptionsT()
    operator.options.fusedActivationFunction = fused


def _negation(operator: Operator) -> None:
    data = np.array(-1, np.float32)
    factor = Tensor(f"{operator.outputs[0].name}/factor", (), data.dtype, data)
    _as_product(operator, operator.inputs[0], factor)


def _square(operator: Operator) -> None:
    _as_product(operator, operator.inputs[0], operator.inputs[0])


def _quotient(operator: Operator) -> None:
    x, divisor = operator.inputs
    if divisor is None or divisor.data is None or divisor.dtype != np.float32 or (divisor.data == 0).any():
        return
    data = np.asarray(1 / divisor.data, np.float32)
    _as_product(operator, x, Tensor(f"{divisor.name}/reciprocal", data.shape, data.dtype, data))


_CHANGES: dict[int, Callable[[Operator], None]] = {
    Op.NEG: _negation,
    Op.SQUARE: _square,
    Op.DIV: _quotient,
}
