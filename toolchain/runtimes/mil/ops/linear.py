"""Products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag


@computes("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias: x [*, d_in], weight [d_out, d_in], bias [d_out]."""
    return functional.linear(x, weight, bias)


@computes("matmul")
def matmul(
    x: Tensor, y: Tensor, transpose_x: Tensor | bool = False, transpose_y: Tensor | bool = False
) -> Tensor:
    """Return x @ y as numpy's matmul does, the last two axes swapped on request (a vector has but one)."""
    if flag(transpose_x) and x.ndim > 1:
        x = x.transpose(-1, -2)
    if flag(transpose_y) and y.ndim > 1:
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)


@computes("einsum")
def einsum(values: list[Tensor], equation: str) -> Tensor:
    """Sum of products in Einstein's notation; axes of one element broadcast."""
    return torch.einsum(equation, *values)
