"""Inverse trigonometric and hyperbolic functions.

MIL has all of them but two, asinh and acosh, whose formulas are those of any text on floating point
arithmetic (Kahan, "Branch cuts for complex elementary functions", 1987).
"""

from __future__ import annotations

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.arithmetic import log, require_float
from toolchain.converters.coreml.ops.unary import unary

ONE, TWO = np.float32(1), np.float32(2)


@lowers("Atan")
def atan(context: NodeContext) -> None:
    """Atan."""
    unary(context, mb.atan)


@lowers("Asin")
def asin(context: NodeContext) -> None:
    """Asin."""
    unary(context, mb.asin)


@lowers("Acos")
def acos(context: NodeContext) -> None:
    """Acos."""
    unary(context, mb.acos)


@lowers("Sinh")
def sinh(context: NodeContext) -> None:
    """Sinh."""
    unary(context, mb.sinh)


@lowers("Cosh")
def cosh(context: NodeContext) -> None:
    """Cosh."""
    unary(context, mb.cosh)


@lowers("Atanh")
def atanh(context: NodeContext) -> None:
    """Atanh."""
    unary(context, mb.atanh)


def _log_of_sum(size: Var, root: Var, context: NodeContext) -> Var:
    """log(size + size * root) without a sum that overflows."""
    return mb.add(x=log(context, size), y=log(context, mb.add(x=root, y=ONE)))


@lowers("Asinh")
def asinh(context: NodeContext) -> None:
    """Asinh: the sign of x times log(|x| + sqrt(x^2 + 1)), up to 1 as 2 * atanh(x / (1 + sqrt(x^2 + 1)))."""
    x = require_float(context)
    size = mb.abs(x=x)
    near, far = mb.minimum(x=size, y=ONE), mb.maximum(x=size, y=ONE)
    root = mb.sqrt(x=mb.add(x=mb.mul(x=near, y=near), y=ONE))
    small = mb.mul(x=mb.atanh(x=mb.real_div(x=near, y=mb.add(x=root, y=ONE))), y=TWO)
    inverse = mb.real_div(x=ONE, y=far)
    large = _log_of_sum(far, mb.sqrt(x=mb.add(x=mb.mul(x=inverse, y=inverse), y=ONE)), context)
    y = mb.select(cond=mb.greater(x=size, y=ONE), a=large, b=small)
    context.store(mb.mul(x=y, y=mb.sign(x=x)))


@lowers("Acosh")
def acosh(context: NodeContext) -> None:
    """Acosh: log(x + sqrt(x^2 - 1)), up to 2 as 2 * atanh(sqrt((x - 1) / (x + 1))); NaN below 1."""
    x = require_float(context)
    near, far = mb.minimum(x=x, y=TWO), mb.maximum(x=x, y=TWO)
    ratio = mb.real_div(x=mb.sub(x=near, y=ONE), y=mb.add(x=near, y=ONE))
    small = mb.mul(x=mb.atanh(x=mb.sqrt(x=ratio)), y=TWO)
    inverse = mb.real_div(x=ONE, y=far)
    square = mb.mul(x=mb.sub(x=ONE, y=inverse), y=mb.add(x=ONE, y=inverse))
    large = _log_of_sum(far, mb.sqrt(x=square), context)
    context.store(mb.select(cond=mb.greater(x=x, y=TWO), a=large, b=small))
