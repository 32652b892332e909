"""Mathematical functions of one operand, element by element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.arithmetic import log as logarithm
from toolchain.converters.coreml.ops.arithmetic import number, require_float


def unary(context: NodeContext, function: Callable[..., Var]) -> None:
    """Lower a node of one float operand to one operator."""
    context.store(function(x=require_float(context)))


@lowers("Sqrt")
def sqrt(context: NodeContext) -> None:
    """Sqrt."""
    unary(context, mb.sqrt)


@lowers("Exp")
def exp(context: NodeContext) -> None:
    """Exp."""
    unary(context, mb.exp)


@lowers("Log")
def log(context: NodeContext) -> None:
    """Log."""
    context.store(logarithm(context, require_float(context)))


@lowers("Sin")
def sin(context: NodeContext) -> None:
    """Sin."""
    unary(context, mb.sin)


@lowers("Cos")
def cos(context: NodeContext) -> None:
    """Cos."""
    unary(context, mb.cos)


@lowers("Tan")
def tan(context: NodeContext) -> None:
    """Tan."""
    unary(context, mb.tan)


@lowers("Floor")
def floor(context: NodeContext) -> None:
    """Floor."""
    unary(context, mb.floor)


@lowers("Ceil")
def ceil(context: NodeContext) -> None:
    """Ceil."""
    unary(context, mb.ceil)


@lowers("Round")
def round_(context: NodeContext) -> None:
    """Round; halves go to the even neighbour in ONNX and in MIL."""
    unary(context, mb.round)


@lowers("Neg")
def neg(context: NodeContext) -> None:
    """Neg as a product."""
    x = context.input()
    context.store(mb.mul(x=x, y=number(x, -1)))


@lowers("Abs")
def abs_(context: NodeContext) -> None:
    """Abs."""
    context.store(mb.abs(x=context.input()))


@lowers("Sign")
def sign(context: NodeContext) -> None:
    """Sign."""
    context.store(mb.sign(x=context.input()))


@lowers("Reciprocal")
def reciprocal(context: NodeContext) -> None:
    """Reciprocal as a quotient; MIL's `inverse` adds 1e-4 to x."""
    context.store(mb.real_div(x=np.float32(1), y=require_float(context)))


@lowers("Erf")
def erf(context: NodeContext) -> None:
    """Erf."""
    unary(context, mb.erf)
