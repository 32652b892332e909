"""Functions of each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import enum_name

DEFAULT_EPSILON = 1e-6


@computes("unary")
def unary(p: Any) -> Kernel:
    """A function of scale * x + shift.

    LOG adds epsilon as RSQRT and INVERSE do: NeuralNetwork.proto does not say so, but coremltools translates
    MIL's log(x + epsilon) to it.
    """
    mode = enum_name(p, "type")
    scale, shift = p.scale or 1.0, p.shift
    epsilon, alpha = p.epsilon or DEFAULT_EPSILON, p.alpha
    function = _MODES.get(mode)
    if function is None:
        raise UnsupportedError(f"the function {mode} is not known")
    if scale == 1.0 and not shift:
        return lambda x: function(x, alpha, epsilon)
    return lambda x: function(x * scale + shift, alpha, epsilon)


_MODES: dict[str, Callable[[torch.Tensor, float, float], torch.Tensor]] = {
    "SQRT": lambda x, alpha, epsilon: x.sqrt(),
    "RSQRT": lambda x, alpha, epsilon: (x + epsilon).rsqrt(),
    "INVERSE": lambda x, alpha, epsilon: (x + epsilon).reciprocal(),
    "POWER": lambda x, alpha, epsilon: x**alpha,
    "EXP": lambda x, alpha, epsilon: x.exp(),
    "LOG": lambda x, alpha, epsilon: (x + epsilon).log(),
    "ABS": lambda x, alpha, epsilon: x.abs(),
    "THRESHOLD": lambda x, alpha, epsilon: torch.clamp(x, min=alpha),
}

_PLAIN: dict[str, Kernel] = {
    "ceil": torch.ceil,
    "floor": torch.floor,
    "sign": torch.sign,
    "round": torch.round,
    "exp2": torch.exp2,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "erf": torch.erf,
    "logicalNot": lambda x: (x == 0).float(),
    "copy": lambda x: x,
}
"""Layers without parameters. Halves are rounded to even, as MIL's `round` does."""


def _register(name: str, function: Kernel) -> None:
    computes(name)(lambda p: function)


for _name, _function in _PLAIN.items():
    _register(_name, _function)


@computes("clip")
def clip(p: Any) -> Kernel:
    """min(max(x, minVal), maxVal)."""
    return lambda x: torch.clamp(x, p.minVal, p.maxVal)
