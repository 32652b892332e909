"""Element-wise operators with two operands; shapes broadcast as in numpy."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes


@computes("add")
def add(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y."""
    return x + y


@computes("sub")
def sub(x: Tensor, y: Tensor) -> Tensor:
    """Return x - y."""
    return x - y


@computes("mul")
def mul(x: Tensor, y: Tensor) -> Tensor:
    """Return x * y."""
    return x * y


@computes("real_div")
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """Return x / y; of integers only where nothing remains, because the rounding is not defined."""
    if x.is_floating_point():
        return x / y
    quotient = torch.div(x, y, rounding_mode="trunc")
    if not torch.equal(quotient * y, x.expand_as(quotient)):
        raise UnsupportedError(
            "real_div: a quotient of integers that is no integer", "use floor_div, or cast first"
        )
    return quotient


@computes("floor_div")
def floor_div(x: Tensor, y: Tensor) -> Tensor:
    """Return x / y rounded towards negative infinity."""
    return torch.div(x, y, rounding_mode="floor")


@computes("mod")
def mod(x: Tensor, y: Tensor) -> Tensor:
    """What remains of floor_div; it has the sign of y."""
    return torch.remainder(x, y)


@computes("pow")
def power(x: Tensor, y: Tensor) -> Tensor:
    """Return x to the power of y."""
    if not y.is_floating_point() and bool((y < 0).any()):
        raise UnsupportedError("pow: an integer to a negative power", "cast to fp32 first")
    return torch.pow(x, y)


@computes("maximum")
def maximum(x: Tensor, y: Tensor) -> Tensor:
    """The larger one."""
    return torch.maximum(x, y)


@computes("minimum")
def minimum(x: Tensor, y: Tensor) -> Tensor:
    """The smaller one."""
    return torch.minimum(x, y)


@computes("equal")
def equal(x: Tensor, y: Tensor) -> Tensor:
    """Whether x == y."""
    return x == y


@computes("not_equal")
def not_equal(x: Tensor, y: Tensor) -> Tensor:
    """Whether x != y."""
    return x != y


@computes("greater")
def greater(x: Tensor, y: Tensor) -> Tensor:
    """Whether x > y."""
    return x > y


@computes("greater_equal")
def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    """Whether x >= y."""
    return x >= y


@computes("less")
def less(x: Tensor, y: Tensor) -> Tensor:
    """Whether x < y."""
    return x < y


@computes("less_equal")
def less_equal(x: Tensor, y: Tensor) -> Tensor:
    """Whether x <= y."""
    return x <= y


@computes("logical_and")
def logical_and(x: Tensor, y: Tensor) -> Tensor:
    """Whether both are true."""
    return x & y


@computes("logical_or")
def logical_or(x: Tensor, y: Tensor) -> Tensor:
    """Whether one or both are true."""
    return x | y


@computes("logical_xor")
def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    """Whether exactly one is true."""
    return x ^ y
