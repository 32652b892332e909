"""Operators that put tensors together and take them apart."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, ints, number


@computes("concat")
def concat(values: list[Tensor], axis: Tensor, interleave: Tensor | bool = False) -> Tensor:
    """One after the other along `axis`; interleaved: the first slice of each, the second of each, and so on.

    Scalars make a vector.
    """
    if values[0].ndim == 0:
        return torch.stack(values)
    place = int(number(axis)) % values[0].ndim
    if flag(interleave):
        return torch.stack(values, place + 1).flatten(place, place + 1)
    return torch.cat(values, place)


@computes("stack")
def stack(values: list[Tensor], axis: Tensor) -> Tensor:
    """Along a new axis."""
    return torch.stack(values, int(number(axis)))


@computes("split")
def split(
    x: Tensor, axis: Tensor, num_splits: Tensor | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    """`num_splits` equal parts along `axis`, or parts of `split_sizes`."""
    place = int(number(axis))
    size = x.shape[place]
    if split_sizes is not None:
        return x.split(ints(split_sizes), place)
    if num_splits is None:
        raise UnsupportedError("split: neither num_splits nor split_sizes is given")
    count = int(number(num_splits))
    if size % count:
        raise UnsupportedError(f"split: {size} elements are no {count} equal parts")
    return x.split(size // count, place)
