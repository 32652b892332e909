"""Elements by index."""

from __future__ import annotations

from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import axis_of


def indices_within(indices: torch.Tensor, size: int) -> torch.Tensor:
    """Indices as integers from the front; negative ones count from the end.

    Raises:
        UnsupportedError: one lies outside of the axis.
    """
    index = indices.long()
    if index.numel() and (index.min() < -size or index.max() >= size):
        raise UnsupportedError(f"an index lies outside of an axis of {size} elements")
    return index % size if size else index


@computes("gather")
def gather(p: Any) -> Kernel:
    """Slices of an axis by index; the indices' axes replace the axis."""

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, x.ndim)
        index = indices_within(indices, x.shape[axis])
        return x.index_select(axis, index.reshape(-1)).unflatten(axis, index.shape)

    return run


@computes("gatherAlongAxis")
def gather_along_axis(p: Any) -> Kernel:
    """Elements along an axis by index, as numpy.take_along_axis."""

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, x.ndim)
        _check_along(x, indices, axis)
        return torch.gather(x, axis, indices_within(indices, x.shape[axis]))

    return run


def _check_along(x: torch.Tensor, indices: torch.Tensor, axis: int) -> None:
    others = [size for index, size in enumerate(x.shape) if index != axis]
    if x.ndim != indices.ndim or others != [
        size for index, size in enumerate(indices.shape) if index != axis
    ]:
        raise UnsupportedError(f"indices of shape {tuple(indices.shape)} do not fit {tuple(x.shape)}")


@computes("gatherND")
def gather_nd(p: Any) -> Kernel:
    """Slices by multi-index, which lies in the last axis of the second input."""
    return lambda x, indices: x[multi_index(x, indices)]


def multi_index(x: torch.Tensor, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """One tensor of indices per leading axis of `x`."""
    if indices.shape[-1] > x.ndim:
        raise UnsupportedError(f"{indices.shape[-1]} indices do not fit the shape {tuple(x.shape)}")
    return tuple(indices_within(indices[..., axis], x.shape[axis]) for axis in range(indices.shape[-1]))


@computes("whereNonZero")
def where_non_zero(p: Any) -> Kernel:
    """Multi-indices of the elements that are not zero, one per row."""
    return lambda x: x.nonzero().float()
