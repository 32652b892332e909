"""Reductions along axes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import at_least_1d, axis_of, enum_name, need_rank

DEFAULT_EPSILON = 1e-6

Axes = tuple[int, ...]
Reduction = Callable[[torch.Tensor, Axes], torch.Tensor]


def _product(x: torch.Tensor, axes: Axes) -> torch.Tensor:
    return functools.reduce(lambda value, axis: value.prod(axis, keepdim=True), axes, x)


_REDUCTIONS: dict[str, Reduction] = {
    "reduceSum": lambda x, axes: x.sum(axes, keepdim=True),
    "reduceMean": lambda x, axes: x.mean(axes, keepdim=True),
    "reduceMax": lambda x, axes: x.amax(axes, keepdim=True),
    "reduceMin": lambda x, axes: x.amin(axes, keepdim=True),
    "reduceProd": _product,
    "reduceL1": lambda x, axes: x.abs().sum(axes, keepdim=True),
    "reduceL2": lambda x, axes: x.square().sum(axes, keepdim=True).sqrt(),
    "reduceSumSquare": lambda x, axes: x.square().sum(axes, keepdim=True),
    "reduceLogSum": lambda x, axes: x.sum(axes, keepdim=True).log(),
    "reduceLogSumExp": lambda x, axes: torch.logsumexp(x, axes, keepdim=True),
}
"""Each keeps the reduced axes with size 1."""


def _register(name: str, function: Reduction) -> None:
    def factory(p: Any) -> Kernel:
        if not p.reduceAll and not p.axes:
            raise UnsupportedError("names no axes")

        def run(x: torch.Tensor) -> torch.Tensor:
            axes = tuple(range(x.ndim) if p.reduceAll else (axis_of(axis, x.ndim) for axis in p.axes))
            return squeezed(function(x, axes), () if p.keepDims else axes)

        return run

    computes(name)(factory)


for _name, _function in _REDUCTIONS.items():
    _register(_name, _function)


def squeezed(x: torch.Tensor, axes: Axes) -> torch.Tensor:
    """`x` without these axes, all of size 1; one axis always stays."""
    return at_least_1d(x.squeeze(axes)) if axes else x


_MODES: dict[str, Reduction] = {
    "SUM": _REDUCTIONS["reduceSum"],
    "AVG": _REDUCTIONS["reduceMean"],
    "PROD": _REDUCTIONS["reduceProd"],
    "SUMSQUARE": _REDUCTIONS["reduceSumSquare"],
    "L1": _REDUCTIONS["reduceL1"],
    "L2": _REDUCTIONS["reduceL2"],
    "MAX": _REDUCTIONS["reduceMax"],
    "MIN": _REDUCTIONS["reduceMin"],
}
_AXES = {"CHW": (-3, -2, -1), "HW": (-2, -1), "C": (-3,), "H": (-2,), "W": (-1,)}


@computes("reduce")
def reduce(p: Any) -> Kernel:
    """A reduction over channel, height and width, or some of them; the axes stay with size 1."""
    mode = enum_name(p, "mode")
    axes = _AXES[enum_name(p, "axis")]
    epsilon = p.epsilon or DEFAULT_EPSILON
    if mode == "ARGMAX":
        if len(axes) != 1:
            raise UnsupportedError("ARGMAX takes one axis")
        return lambda x: need_rank(x, -axes[0]).argmax(axes[0], keepdim=True).float()
    if mode == "LOGSUM":
        return lambda x: (need_rank(x, -axes[0]) + epsilon).log().sum(axes, keepdim=True)
    return lambda x: _MODES[mode](need_rank(x, -axes[0]), axes)


@computes("argMax")
def arg_max(p: Any) -> Kernel:
    """Index of the largest element along an axis, the first of equal ones."""
    return _arg(p, torch.argmax)


@computes("argMin")
def arg_min(p: Any) -> Kernel:
    """Index of the smallest element along an axis, the first of equal ones."""
    return _arg(p, torch.argmin)


def _arg(p: Any, function: Callable[..., torch.Tensor]) -> Kernel:
    def run(x: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, x.ndim)
        return squeezed(function(x, axis, keepdim=True).float(), (axis,) if p.removeDim else ())

    return run
