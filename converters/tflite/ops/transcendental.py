"""Inverse trigonometric and hyperbolic functions, written out to the precision of float32.

TFLite has only ATAN2 and TANH of them. The formulas avoid differences of nearly equal numbers and squares
that overflow; they are those of any text on floating point arithmetic (Kahan, "Branch cuts for complex
elementary functions", 1987).
"""

from __future__ import annotations

from math import factorial

from toolchain.converters.tflite.layout import elementwise
from toolchain.converters.tflite.lowering import NodeContext, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.activation import float_input, log_of_one_more
from toolchain.converters.tflite.ops.expression import Expression
from toolchain.converters.tflite.program import Op

# Where 1 + x * x is x * x, far from overflow.
LARGE = 1e9
# sinh(x) / x as a polynomial in x * x up to 1, to the resolution of float32.
SINH_SERIES = [1 / factorial(2 * power + 1) for power in range(5)]


def _select(condition: Expression, a: Expression, b: Expression) -> Expression:
    """Elements of `a` where the condition holds, of `b` elsewhere."""
    return Expression(a.context, steps.select(a.context, condition.tensor, a.tensor, b.tensor))


def _angle(y: Expression, x: Expression) -> Expression:
    """The angle of the point (x, y), from -pi to pi."""
    return Expression(y.context, steps.emit(y.context, Op.ATAN2, [y.tensor, x.tensor], y.tensor.shape))


def _opposite(x: Expression) -> Expression:
    """sqrt(1 - x * x): the other side of a right triangle; NaN beyond 1."""
    return ((x + 1) * (x * -1 + 1)).unary(Op.SQRT)


def _log_above_one(u: Expression) -> Expression:
    """log(1 + u) for u from 0; NaN below -1 and for NaN."""
    small = Expression(u.context, steps.binary(u.context, Op.LESS_EQUAL, u.magnitude().tensor, 1))
    return _select(small, log_of_one_more(u.minimum(1).maximum(0)), (u + 1).unary(Op.LOG))


@lowers("Atan", layout=elementwise)
def atan(context: NodeContext) -> None:
    """Atan: the angle of (1, x)."""
    x = float_input(context)
    _angle(x, x.minimum(1).maximum(-1) * 0 + 1).store()


@lowers("Asin", layout=elementwise)
def asin(context: NodeContext) -> None:
    """Asin: the angle of (sqrt(1 - x^2), x)."""
    x = float_input(context)
    _angle(x, _opposite(x)).store()


@lowers("Acos", layout=elementwise)
def acos(context: NodeContext) -> None:
    """Acos: the angle of (x, sqrt(1 - x^2))."""
    x = float_input(context)
    _angle(_opposite(x), x).store()


@lowers("Sinh", layout=elementwise)
def sinh(context: NodeContext) -> None:
    """Sinh: (exp(x) - exp(-x)) / 2, and its series where that would cancel."""
    x = float_input(context)
    square = x.minimum(1).maximum(-1).unary(Op.SQUARE)
    series = square * SINH_SERIES[-1]
    for coefficient in SINH_SERIES[-2:0:-1]:
        series = (series + coefficient) * square
    size = x.magnitude()
    half = (size * 0.5).exp()
    far = (half * 0.5 * half - (size * -1).exp() * 0.5) * x.unary(Op.SIGN)
    _select(size > 1, far, x * (series + 1)).store()


@lowers("Cosh", layout=elementwise)
def cosh(context: NodeContext) -> None:
    """Cosh: (exp(x) + exp(-x)) / 2; exp(|x|) is a square, so that it overflows no sooner than the result."""
    size = float_input(context).magnitude()
    half = (size * 0.5).exp()
    (half * 0.5 * half + (size * -1).exp() * 0.5).store()


@lowers("Asinh", layout=elementwise)
def asinh(context: NodeContext) -> None:
    """Asinh: the sign of x times log(|x| + sqrt(x^2 + 1))."""
    x = float_input(context)
    size = x.magnitude()
    bounded = size.minimum(LARGE)
    ratio = bounded / ((bounded.unary(Op.SQUARE) + 1).unary(Op.SQRT) + 1)
    (_log_above_one(size + size * ratio) * x.unary(Op.SIGN)).store()


@lowers("Acosh", layout=elementwise)
def acosh(context: NodeContext) -> None:
    """Acosh: log(x + sqrt(x^2 - 1)) times the sign of x; NaN below 1."""
    x = float_input(context)
    above = x - 1
    root = above.unary(Op.SQRT) * (above + 2).unary(Op.SQRT)
    # The logarithm of XNNPACK makes a number of NaN on processors without AVX-512; the sign keeps it.
    (_log_above_one(above + root) * x.unary(Op.SIGN)).store()


@lowers("Atanh", layout=elementwise)
def atanh(context: NodeContext) -> None:
    """Atanh: log((1 + x) / (1 - x)) / 2; NaN beyond 1."""
    x = float_input(context)
    size = x.magnitude()
    (_log_above_one(size * 2 / (size * -1 + 1)) * 0.5 * x.unary(Op.SIGN)).store()
