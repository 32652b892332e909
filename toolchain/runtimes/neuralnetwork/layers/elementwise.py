"""Sums, products and the like of several inputs with limited broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import need_rank
from toolchain.runtimes.neuralnetwork.weights import decoded

Combine = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _combined(function: Combine, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The inputs combined from left to right.

    These layers broadcast only smaller inputs to the largest one: where no input has the result's shape,
    the format does not say what happens.
    """
    shape = torch.broadcast_shapes(*(x.shape for x in inputs))
    if all(x.shape != shape for x in inputs):
        raise UnsupportedError(
            f"the shapes {[tuple(x.shape) for x in inputs]} do not broadcast to one of them"
        )
    return functools.reduce(function, inputs)


@computes("add")
def add(p: Any) -> Kernel:
    """Sum of the inputs; of a single one, x + alpha."""
    return lambda *inputs: inputs[0] + p.alpha if len(inputs) == 1 else _combined(torch.add, inputs)


@computes("multiply")
def multiply(p: Any) -> Kernel:
    """Product of the inputs; of a single one, x * alpha."""
    return lambda *inputs: inputs[0] * p.alpha if len(inputs) == 1 else _combined(torch.mul, inputs)


@computes("average")
def average(p: Any) -> Kernel:
    """Mean of the inputs."""
    return lambda *inputs: _combined(torch.add, inputs) / len(inputs)


@computes("max")
def maximum(p: Any) -> Kernel:
    """Largest of the inputs."""
    return lambda *inputs: _combined(torch.maximum, inputs)


@computes("min")
def minimum(p: Any) -> Kernel:
    """Smallest of the inputs."""
    return lambda *inputs: _combined(torch.minimum, inputs)


@computes("dot")
def dot(p: Any) -> Kernel:
    """Product of two vectors along axis -3; of the vectors of length one with cosineSimilarity."""

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for vector in (x, y):
            if need_rank(vector, 3).shape[-2:] != (1, 1):
                raise UnsupportedError(f"needs vectors [..., C, 1, 1], got {tuple(vector.shape)}")
        product = (x * y).sum(-3, keepdim=True)
        if not p.cosineSimilarity:
            return product
        return product / (x.square().sum(-3, keepdim=True) * y.square().sum(-3, keepdim=True)).sqrt()

    return run


@computes("bias")
def bias(p: Any) -> Kernel:
    """x + b."""
    offset = _parameter(p.shape, p.bias)
    return lambda x: need_rank(x, 3) + offset


@computes("scale")
def scale(p: Any) -> Kernel:
    """x * s, or x * s + b."""
    factor = _parameter(p.shapeScale, p.scale)
    if not p.hasBias:
        return lambda x: need_rank(x, 3) * factor
    offset = _parameter(p.shapeBias, p.bias)
    return lambda x: need_rank(x, 3) * factor + offset


def _parameter(sizes: Any, weights: Any) -> torch.Tensor:
    """A parameter [1], [C], [1, H, W] or [C, H, W], broadcast to [..., C, H, W]."""
    shape = [int(size) for size in sizes]
    if len(shape) not in (1, 3):
        raise UnsupportedError(f"parameters have shape [1], [C], [1, H, W] or [C, H, W], not {shape}")
    return decoded(weights, shape).reshape(shape if len(shape) == 3 else (-1, 1, 1))
