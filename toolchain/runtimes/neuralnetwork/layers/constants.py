"""Constants, filled tensors, ranges and broadcasting to a shape."""

from __future__ import annotations

import math
from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import axis_of, integers
from toolchain.runtimes.neuralnetwork.weights import decoded


@computes("loadConstant")
def load_constant(p: Any) -> Kernel:
    """A stored tensor [C, H, W] as [1, 1, C, H, W]."""
    if len(p.shape) != 3:
        raise UnsupportedError(f"the shape is [C, H, W], not {list(p.shape)}")
    value = decoded(p.data, p.shape)[None, None]
    return lambda: value


@computes("loadConstantND")
def load_constant_nd(p: Any) -> Kernel:
    """A stored tensor."""
    value = decoded(p.data, p.shape)
    return lambda: value


@computes("fillLike")
def fill_like(p: Any) -> Kernel:
    """One value in the shape of the input."""
    return lambda like: torch.full_like(like, p.value)


@computes("fillStatic")
def fill_static(p: Any) -> Kernel:
    """One value in a stated shape."""
    shape = [int(size) for size in p.targetShape]
    return lambda: torch.full(shape, p.value)


@computes("fillDynamic")
def fill_dynamic(p: Any) -> Kernel:
    """One value in the shape that the input lists."""
    return lambda shape: torch.full(integers(shape), p.value)


@computes("broadcastToLike")
def broadcast_to_like(p: Any) -> Kernel:
    """The first input in the shape of the second."""
    return lambda x, like: x.broadcast_to(like.shape)


@computes("broadcastToStatic")
def broadcast_to_static(p: Any) -> Kernel:
    """The input in a stated shape."""
    shape = [int(size) for size in p.targetShape]
    return lambda x: x.broadcast_to(shape)


@computes("broadcastToDynamic")
def broadcast_to_dynamic(p: Any) -> Kernel:
    """The first input in the shape that the second input lists."""
    return lambda x, shape: x.broadcast_to(integers(shape))


@computes("rangeStatic")
def range_static(p: Any) -> Kernel:
    """start, start + step, ... before end."""
    return lambda: _range(p.startValue, p.endValue, p.stepSizeValue)


@computes("rangeDynamic")
def range_dynamic(p: Any) -> Kernel:
    """The same; the inputs are end and, where present, start and step."""

    def run(
        end: torch.Tensor, start: torch.Tensor | None = None, step: torch.Tensor | None = None
    ) -> torch.Tensor:
        first = p.startValue if start is None else start.item()
        return _range(first, end.item(), p.stepSizeValue if step is None else step.item())

    return run


def _range(start: float, end: float, step: float) -> torch.Tensor:
    if not step:
        raise UnsupportedError("the step of a range is zero")
    count = max(0, math.ceil((end - start) / step))
    return (start + step * torch.arange(count, dtype=torch.float64)).float()


@computes("oneHot")
def one_hot(p: Any) -> Kernel:
    """onValue at the index that the input holds, offValue elsewhere; a second input gives the size."""

    def run(x: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
        size = int(p.oneHotVectorSize) if given is None else int(given.item())
        axis = axis_of(p.axis, x.ndim + 1)
        places = torch.arange(size).reshape([-1] + [1] * (x.ndim - axis))
        return torch.where(x.long().unsqueeze(axis) == places, p.onValue, p.offValue)

    return run


@computes("lowerTriangular")
def lower_triangular(p: Any) -> Kernel:
    """Zeros above diagonal k."""
    return lambda x: torch.tril(x, p.k)


@computes("upperTriangular")
def upper_triangular(p: Any) -> Kernel:
    """Zeros below diagonal k."""
    return lambda x: torch.triu(x, p.k)


@computes("matrixBandPart")
def matrix_band_part(p: Any) -> Kernel:
    """Zeros outside of numLower diagonals below and numUpper above the main one; negative keeps all."""

    def run(x: torch.Tensor) -> torch.Tensor:
        x = torch.triu(x, -p.numLower) if p.numLower >= 0 else x
        return torch.tril(x, p.numUpper) if p.numUpper >= 0 else x

    return run
