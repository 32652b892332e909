"""Parameters of operators as Python values.

A program gives every parameter as a tensor; operators call these where torch wants plain numbers.
"""

from __future__ import annotations

from torch import Tensor


def ints(value: Tensor) -> list[int]:
    """The elements of an integer vector (a scalar counts as a vector of one element)."""
    return [int(item) for item in value.reshape(-1).tolist()]


def number(value: Tensor | float) -> float | int:
    """The only element of a tensor, or the default that stands in its place."""
    return value.item() if isinstance(value, Tensor) else value


def flag(value: Tensor | bool) -> bool:
    """A boolean parameter, or the default that stands in its place."""
    return bool(value)
