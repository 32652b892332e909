"""Mathematical functions of one operand, element by element."""

from __future__ import annotations

import numpy as np

from toolchain.converters.tflite.layout import elementwise
from toolchain.converters.tflite.lowering import NodeContext, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.elementwise import absolute
from toolchain.converters.tflite.program import Op, Tensor

# erf(x) = x * P(x^2) / Q(x^2) for |x| <= ERF_RANGE, beyond which it is 1 to within 1.7e-7. Minimax fit
# made for this file by linear programming on |P - Q * erf(x) / x|, lowest power first. In float32 both
# the absolute and the relative error stay below 4e-7 (measured at 4 million points).
ERF_RANGE = 3.7
ERF_NUMERATOR = (1.12837919, 0.18167089, 0.0518183229, 0.00344505833, 0.000287517094, 2.2546553e-06)
ERF_DENOMINATOR = (1.0, 0.494335136, 0.110701055, 0.0143288419, 0.00110243934, 4.03255069e-05)


def _unary(context: NodeContext, code: int) -> None:
    steps.store(context, steps.unary(context, code, context.input()))


@lowers("Sqrt", layout=elementwise)
def sqrt(context: NodeContext) -> None:
    """Sqrt."""
    _unary(context, Op.SQRT)


@lowers("Exp", layout=elementwise)
def exp(context: NodeContext) -> None:
    """Exp."""
    _unary(context, Op.EXP)


@lowers("Log", layout=elementwise)
def log(context: NodeContext) -> None:
    """Log."""
    _unary(context, Op.LOG)


@lowers("Sin", layout=elementwise)
def sin(context: NodeContext) -> None:
    """Sin."""
    _unary(context, Op.SIN)


@lowers("Cos", layout=elementwise)
def cos(context: NodeContext) -> None:
    """Cos."""
    _unary(context, Op.COS)


@lowers("Tan", layout=elementwise)
def tan(context: NodeContext) -> None:
    """Tan as sin / cos."""
    x = context.input()
    sine, cosine = steps.unary(context, Op.SIN, x), steps.unary(context, Op.COS, x)
    steps.store(context, steps.binary(context, Op.DIV, sine, cosine))


@lowers("Floor", layout=elementwise)
def floor(context: NodeContext) -> None:
    """Floor."""
    _unary(context, Op.FLOOR)


@lowers("Ceil", layout=elementwise)
def ceil(context: NodeContext) -> None:
    """Ceil."""
    _unary(context, Op.CEIL)


@lowers("Round", layout=elementwise)
def round_(context: NodeContext) -> None:
    """Round; halves go to the even neighbour in ONNX and in TFLite."""
    _unary(context, Op.ROUND)


@lowers("Neg", layout=elementwise)
def neg(context: NodeContext) -> None:
    """Neg."""
    _unary(context, Op.NEG)


@lowers("Abs", layout=elementwise)
def abs_(context: NodeContext) -> None:
    """Abs."""
    steps.store(context, absolute(context, context.input()))


@lowers("Sign", layout=elementwise)
def sign(context: NodeContext) -> None:
    """Sign; of integers that need int64, for which there is no SIGN, the difference of two comparisons."""
    x = context.input()
    if x.dtype not in (np.int64, np.uint32):
        _unary(context, Op.SIGN)
        return
    above, below = (steps.binary(context, code, x, 0) for code in (Op.GREATER, Op.LESS))
    difference = [steps.cast(context, side, x.dtype) for side in (above, below)]
    steps.store(context, steps.binary(context, Op.SUB, *difference))


@lowers("Reciprocal", layout=elementwise)
def reciprocal(context: NodeContext) -> None:
    """Reciprocal as a quotient."""
    steps.store(context, steps.binary(context, Op.DIV, 1, context.input()))


@lowers("Erf", layout=elementwise)
def erf(context: NodeContext) -> None:
    """Erf as a rational function; TFLite has no operator for it. Error below 4e-7 (see ERF_RANGE)."""
    x = steps.binary(context, Op.MAXIMUM, context.input(), -ERF_RANGE)
    x = steps.binary(context, Op.MINIMUM, x, ERF_RANGE)
    square = steps.unary(context, Op.SQUARE, x)
    above = steps.binary(context, Op.MUL, x, _polynomial(context, square, ERF_NUMERATOR))
    below = _polynomial(context, square, ERF_DENOMINATOR)
    steps.store(context, steps.binary(context, Op.DIV, above, below))


def _polynomial(context: NodeContext, x: Tensor, factors: tuple[float, ...]) -> Tensor:
    """The polynomial with these factors, lowest power first, by Horner's rule."""
    y = steps.binary(context, Op.MUL, x, factors[-1])
    for factor in factors[-2:0:-1]:
        y = steps.binary(context, Op.MUL, steps.binary(context, Op.ADD, y, factor), x)
    return steps.binary(context, Op.ADD, y, factors[0])
