"""Element-wise operators with one operand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import number

PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
"""Operators that torch has under the same name; halves round to even, as in MIL."""

HOLDERS = {
    "bool": torch.bool,
    "fp16": torch.float32,
    "fp32": torch.float32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int32,
    "int32": torch.int32,
}
"""MIL's name of an element type -> torch type that holds it."""

RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
}
"""Smallest and largest number of the integer types."""


def _register(name: str, function: Callable[[Tensor], Tensor]) -> None:
    def operator(x: Tensor) -> Tensor:
        return function(x)

    operator.__name__ = operator.__qualname__ = name
    computes(name)(operator)


for _name, _function in PLAIN.items():
    _register(_name, _function)


@computes("exp2")
def exp2(x: Tensor) -> Tensor:
    """Return 2 to the power of x."""
    if x.is_floating_point():
        return torch.exp2(x)
    if bool((x < 0).any()):
        raise UnsupportedError("exp2: a negative power as an integer", "cast to fp32 first")
    return truncated(torch.exp2(x.double()), "int32", "exp2")


@computes("clip")
def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return min(max(x, alpha), beta)."""
    return x.clamp(number(alpha), number(beta))


@computes("threshold")
def threshold(x: Tensor, alpha: Tensor) -> Tensor:
    """Return max(x, alpha)."""
    return x.clamp(min=number(alpha))


@computes("inverse")
def inverse(x: Tensor, epsilon: Tensor | float = 1e-4) -> Tensor:
    """Return 1 / (x + epsilon)."""
    return torch.reciprocal(x + number(epsilon))


@computes("log")
def log(x: Tensor, epsilon: Tensor | float = 1e-45) -> Tensor:
    """Natural logarithm of x + epsilon."""
    return torch.log(x + number(epsilon))


@computes("rsqrt")
def rsqrt(x: Tensor, epsilon: Tensor | float = 1e-12) -> Tensor:
    """Return 1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + number(epsilon))


@computes("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    """Return x as another element type.

    Floats lose their fraction on the way to integers; integers lose the bits that the new type has not; every
    number but zero is true.

    Raises:
        UnsupportedError: the type is unknown, or a float lies outside of the integer type.
    """
    if dtype not in HOLDERS:
        raise UnsupportedError(f"cast: element type '{dtype}'")
    if x.is_floating_point() and dtype in RANGES:
        return truncated(x, dtype, "cast")
    if dtype == "uint16":
        return x.to(torch.int32) & RANGES["uint16"][1]
    return x.to(HOLDERS[dtype])


def truncated(x: Tensor, dtype: str, op: str) -> Tensor:
    """Floats without their fraction, as the integer type; numbers outside of it are an error."""
    whole = x.trunc()
    lowest, highest = RANGES[dtype]
    # Not "outside": a comparison with NaN is false.
    if not bool(((whole >= lowest) & (whole < highest + 1)).all()):
        raise UnsupportedError(f"{op}: a number that {dtype} cannot hold")
    return whole.to(HOLDERS[dtype])
