"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import chosen, enum_name, need_rank
from toolchain.runtimes.neuralnetwork.weights import decoded


@computes("activation")
def activation(p: Any) -> Kernel:
    """One of the functions of the message ActivationParams."""
    name = chosen(p, "NonlinearityType")
    if name not in _FUNCTIONS:
        raise UnsupportedError(f"the activation {name} is not known")
    return _FUNCTIONS[name](getattr(p, name))


@computes("clampedReLU")
def clamped_relu(p: Any) -> Kernel:
    """min(beta, x), with x scaled by alpha where it is negative."""
    return lambda x: torch.clamp(torch.where(x >= 0, x, p.alpha * x), max=p.beta)


@computes("gelu")
def gelu(p: Any) -> Kernel:
    """x * P(X <= x) of the normal distribution, or one of its two approximations."""
    mode = enum_name(p, "mode")
    if mode == "SIGMOID_APPROXIMATION":
        return lambda x: x * torch.sigmoid(1.702 * x)
    return lambda x: F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _linear(p: Any) -> Kernel:
    return lambda x: x * p.alpha + p.beta if p.beta else x * p.alpha


def _prelu(p: Any) -> Kernel:
    alpha = _per_channel(p.alpha)
    return lambda x: torch.where(x >= 0, x, fitting(x, alpha) * x)


def _parametric_softplus(p: Any) -> Kernel:
    alpha, beta = _per_channel(p.alpha), _per_channel(p.beta)
    return lambda x: fitting(x, alpha) * softplus(fitting(x, beta) * x)


def _per_channel(weights: Any) -> torch.Tensor:
    """A parameter of one value, or of one value per channel, along axis -3."""
    return decoded(weights, (_count(weights),)).reshape(-1, 1, 1)


def _count(weights: Any) -> int:
    """How many values are stored; quantized ones of less than a byte do not say it."""
    if weights.floatValue:
        return len(weights.floatValue)
    if weights.float16Value:
        return len(weights.float16Value) // 2
    if weights.quantization.numberOfBits == 8:
        return len(weights.rawValue) + len(weights.int8RawValue)
    raise UnsupportedError("the number of an activation's quantized parameters is not stated")


def fitting(x: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The parameter, when it is one value or has one value per channel of `x`."""
    count = parameter.shape[0]
    if count == 1:
        return parameter.reshape(())
    if need_rank(x, 3).shape[-3] != count:
        raise UnsupportedError(f"{count} parameters do not fit the shape {tuple(x.shape)}")
    return parameter


def softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x) without overflow."""
    return torch.clamp(x, min=0) + torch.log1p(torch.exp(-x.abs()))


def _elu(p: Any) -> Kernel:
    return lambda x: torch.where(x >= 0, x, p.alpha * torch.expm1(x))


_FUNCTIONS: dict[str, Callable[[Any], Kernel]] = {
    "linear": _linear,
    "ReLU": lambda p: F.relu,
    "leakyReLU": lambda p: lambda x: torch.where(x >= 0, x, p.alpha * x),
    "thresholdedReLU": lambda p: lambda x: torch.where(x >= p.alpha, x, 0.0),
    "PReLU": _prelu,
    "tanh": lambda p: torch.tanh,
    "scaledTanh": lambda p: lambda x: p.alpha * torch.tanh(p.beta * x),
    "sigmoid": lambda p: torch.sigmoid,
    "sigmoidHard": lambda p: lambda x: torch.clamp(p.alpha * x + p.beta, 0, 1),
    "ELU": _elu,
    "softsign": lambda p: F.softsign,
    "softplus": lambda p: softplus,
    "parametricSoftplus": _parametric_softplus,
}


RECURRENT: dict[str, tuple[dict[str, float], Kernel]] = {
    "linear": ({"alpha": 1.0, "beta": 0.0}, lambda x: x),
    "sigmoid": ({}, torch.sigmoid),
    "tanh": ({}, torch.tanh),
    "ReLU": ({}, F.relu),
    "scaledTanh": ({"alpha": 1.7159, "beta": 2 / 3}, lambda x: 1.7159 * torch.tanh(2 / 3 * x)),
    "sigmoidHard": ({"alpha": 0.2, "beta": 0.5}, lambda x: torch.clamp(0.2 * x + 0.5, 0, 1)),
}
"""Activations of recurrent layers: the only parameters that the format allows, and the function."""


def recurrent_activation(p: Any) -> Kernel:
    """The activation of a recurrent layer, whose parameters may be left out (all zero)."""
    name = chosen(p, "NonlinearityType")
    if name not in RECURRENT:
        raise UnsupportedError(f"the activation {name} is not known in recurrent layers")
    allowed, function = RECURRENT[name]
    given = {field: getattr(getattr(p, name), field) for field in allowed}
    left_out = not any(given.values())
    if not left_out and any(
        not math.isclose(given[field], allowed[field], abs_tol=1e-4) for field in allowed
    ):
        raise UnsupportedError(f"recurrent layers have {name} only with {allowed}, not with {given}")
    return function
