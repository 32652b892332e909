"""Sorting and running sums."""

from __future__ import annotations

from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import axis_of


@computes("topK")
def top_k(p: Any) -> Kernel:
    """The K largest (or smallest) elements along an axis and their indices, sorted; equal ones by index."""

    def run(x: torch.Tensor, given: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        count, axis = int(p.K) if given is None else int(given.item()), axis_of(p.axis, x.ndim)
        if not 1 <= count <= x.shape[axis]:
            raise UnsupportedError(f"cannot take {count} of {x.shape[axis]} elements")
        values, order = torch.sort(x, dim=axis, descending=not p.useBottomK, stable=True)
        return values.narrow(axis, 0, count), order.narrow(axis, 0, count).float()

    return run


@computes("argSort")
def arg_sort(p: Any) -> Kernel:
    """The indices that sort an axis; equal elements keep their order."""

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.argsort(x, dim=axis_of(p.axis, x.ndim), descending=p.descending, stable=True).float()

    return run


@computes("cumSum")
def cumulative_sum(p: Any) -> Kernel:
    """Running sums along an axis, from the start or the end, with or without the element itself."""

    def run(x: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
        axis = axis_of(p.axis if given is None else int(given.item()), x.ndim)
        x = x.flip(axis) if p.reverse else x
        total = x.cumsum(axis)
        if p.excludeFinalSum:
            start = torch.zeros_like(total.narrow(axis, 0, 1))
            total = torch.cat([start, total.narrow(axis, 0, x.shape[axis] - 1)], axis)
        return total.flip(axis) if p.reverse else total

    return run
