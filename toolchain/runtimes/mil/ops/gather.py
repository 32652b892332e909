"""Operators that read or write elements at computed indices.

Up to iOS 16 negative indices count from the end. Programs for iOS 17 carry `validate_indices`, and their
indices must lie in the tensor: Core ML leaves open what others do, so they are refused.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import number

REDUCTIONS = {"add": "sum", "sub": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@computes("gather")
def gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | int = 0,
    batch_dims: Tensor | int = 0,
    validate_indices: Tensor | None = None,
) -> Tensor:
    """Slices of x along `axis`: shape x[:axis] + indices[batch_dims:] + x[axis + 1:]."""
    place, batch = int(number(axis)) % x.ndim, int(number(batch_dims))
    if batch > place:
        raise UnsupportedError(f"gather: axis {place} is one of the {batch} batch axes")
    known = _inside(indices, x.shape[place], "gather", validate_indices)
    result_shape = x.shape[:place] + indices.shape[batch:] + x.shape[place + 1 :]
    if batch == 0:
        return x.index_select(place, known.reshape(-1)).reshape(result_shape)
    groups, outer, inner = prod(x.shape[:batch]), prod(x.shape[batch:place]), prod(x.shape[place + 1 :])
    rows = known.reshape(groups, 1, -1, 1).expand(-1, outer, -1, inner)
    return x.reshape(groups, outer, x.shape[place], inner).gather(2, rows).reshape(result_shape)


@computes("gather_along_axis")
def gather_along_axis(
    x: Tensor, indices: Tensor, axis: Tensor | int = 0, validate_indices: Tensor | None = None
) -> Tensor:
    """For every place of `indices` the element of x at that place, with the index in place of `axis`."""
    place = int(number(axis)) % x.ndim
    return x.gather(place, _inside(indices, x.shape[place], "gather_along_axis", validate_indices))


@computes("gather_nd")
def gather_nd(
    x: Tensor, indices: Tensor, batch_dims: Tensor | int = 0, validate_indices: Tensor | None = None
) -> Tensor:
    """Slices of x at the index vectors that lie along the last axis of `indices`."""
    batch, depth = int(number(batch_dims)), indices.shape[-1]
    addressed = x.shape[batch : batch + depth]
    flat = _flat(indices, addressed, "gather_nd", validate_indices)
    groups, inner = prod(x.shape[:batch]), prod(x.shape[batch + depth :])
    rows = flat.reshape(groups, -1, 1).expand(-1, -1, inner)
    picked = x.reshape(groups, prod(addressed), inner).gather(1, rows)
    return picked.reshape(indices.shape[:-1] + x.shape[batch + depth :])


@computes("scatter")
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Tensor | int = 0,
    mode: str = "add",
    validate_indices: Tensor | None = None,
) -> Tensor:
    """Slices of `updates` written to `data` at indices along `axis`; `mode` says how they meet data."""
    place = int(number(axis)) % data.ndim
    known = _inside(indices, data.shape[place], "scatter", validate_indices)
    sizes = [len(known) if number == place else 1 for number in range(data.ndim)]
    return _write(data, place, known.reshape(sizes).expand(updates.shape), updates, mode)


@computes("scatter_along_axis")
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Tensor | int = 0,
    mode: str = "add",
    validate_indices: Tensor | None = None,
) -> Tensor:
    """Every element of `updates` written to its own place of `data`, with the index in place of `axis`."""
    place = int(number(axis)) % data.ndim
    known = _inside(indices, data.shape[place], "scatter_along_axis", validate_indices)
    return _write(data, place, known, updates, mode)


@computes("scatter_nd")
def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: Tensor | None = None
) -> Tensor:
    """Slices of `updates` written at the index vectors that lie along the last axis of `indices`."""
    depth = indices.shape[-1]
    addressed, inner = data.shape[:depth], prod(data.shape[depth:])
    flat = _flat(indices, addressed, "scatter_nd", validate_indices).reshape(-1, 1).expand(-1, inner)
    table = data.reshape(prod(addressed), inner)
    return _write(table, 0, flat, updates.reshape(flat.shape), mode).reshape(data.shape)


def _inside(indices: Tensor, size: int, op: str, validate: Tensor | None) -> Tensor:
    """Indices as int64 from 0 to size - 1; others are refused."""
    known = indices.to(torch.int64)
    lowest = -size if validate is None else 0
    if known.numel() and (known.min() < lowest or known.max() >= size):
        raise UnsupportedError(
            f"{op}: indices from {int(known.min())} to {int(known.max())} for {size} elements"
        )
    return torch.where(known < 0, known + size, known)


def _flat(indices: Tensor, sizes: torch.Size, op: str, validate: Tensor | None) -> Tensor:
    """Index vectors along the last axis as one index into the axes that they address, made one."""
    if len(sizes) != indices.shape[-1]:
        raise UnsupportedError(f"{op}: index vectors of {indices.shape[-1]} for {len(sizes)} axes")
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for column, size in enumerate(sizes):
        flat = flat * size + _inside(indices[..., column], size, op, validate)
    return flat


def _write(data: Tensor, axis: int, indices: Tensor, updates: Tensor, mode: str) -> Tensor:
    """`updates` met with `data` at `indices`, both of one shape, along `axis`.

    What comes last to one place wins in Core ML, and which one is last is open: refused, also where dividing
    twice would round.
    """
    if mode in REDUCTIONS:
        values = -updates if mode == "sub" else updates
        return data.scatter_reduce(axis, indices, values, REDUCTIONS[mode])
    if mode not in ("update", "div"):
        raise UnsupportedError(f"scatter: mode '{mode}' is not known")
    visits = torch.zeros(data.shape, dtype=torch.int32)
    visits = visits.scatter_add(axis, indices, torch.ones_like(indices, dtype=torch.int32))
    if visits.numel() and visits.max() > 1:
        raise UnsupportedError(
            f"scatter: mode '{mode}' with several updates for one place has no defined result"
        )
    if mode == "update":
        return data.scatter(axis, indices, updates)
    if not data.is_floating_point():
        raise UnsupportedError("scatter: mode 'div' of integers has no defined rounding")
    return data.scatter(axis, indices, data.gather(axis, indices) / updates)
