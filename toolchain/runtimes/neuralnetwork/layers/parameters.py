"""Parameters of layers as Python values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from toolchain.errors import UnsupportedError

PICTURE_AXES = 3


def pair(values: Sequence[int], default: int) -> tuple[int, int]:
    """A field "[H, W]" that may be left out."""
    if not values:
        return default, default
    if len(values) != 2:
        raise UnsupportedError(f"needs two values, height and width, not {list(values)}")
    return int(values[0]), int(values[1])


def positive(values: Sequence[int], what: str) -> tuple[int, ...]:
    """The values, none of which is zero or negative."""
    if any(value < 1 for value in values):
        raise UnsupportedError(f"{what} must be positive, not {list(values)}")
    return tuple(int(value) for value in values)


def enum_name(message: Any, field: str) -> str:
    """The name of an enumeration's value.

    Raises:
        UnsupportedError: the format knows no such value.
    """
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    number = getattr(message, field)
    if number not in enum.values_by_number:
        raise UnsupportedError(f"{field} {number} is not known")
    return str(enum.values_by_number[number].name)


def chosen(message: Any, oneof: str) -> str:
    """The member of a oneof that is set.

    Raises:
        UnsupportedError: none of those that are known is.
    """
    name = message.WhichOneof(oneof)
    if name is None:
        raise UnsupportedError(f"{oneof} is not set, or to one that is not known")
    return str(name)


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front; a negative one counts from the end."""
    if not -rank <= axis < rank:
        raise UnsupportedError(f"axis {axis} does not exist in rank {rank}")
    return axis % rank


def need_rank(x: torch.Tensor, least: int) -> torch.Tensor:
    """`x`, which must have at least `least` axes."""
    if x.ndim < least:
        raise UnsupportedError(f"needs rank {least} or more, got shape {tuple(x.shape)}")
    return x


def integers(x: torch.Tensor) -> list[int]:
    """The values of a vector that holds sizes or indices."""
    return [int(value) for value in x.reshape(-1).tolist()]


def at_least_1d(x: torch.Tensor) -> torch.Tensor:
    """`x`; a scalar becomes a vector of one element, since Core ML's tensors have at least one axis."""
    return x.reshape(1) if x.ndim == 0 else x


def per_picture(function: Callable[[torch.Tensor], torch.Tensor], least: int = PICTURE_AXES) -> Any:
    """`function`, which takes [N, C, H, W], for any rank of at least `least`: leading axes count as batch."""

    def apply(x: torch.Tensor) -> torch.Tensor:
        need_rank(x, least)
        if x.ndim == PICTURE_AXES + 1:
            return function(x)
        lead = x.shape[:-PICTURE_AXES]
        channels = x.shape[-3] if x.ndim >= PICTURE_AXES else 1
        y = function(x.reshape(-1, channels, *x.shape[-2:]))
        if x.ndim < PICTURE_AXES:
            return y.reshape(y.shape[-2:])
        return y.reshape(*lead, *y.shape[1:])

    return apply
