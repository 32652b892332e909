"""Activation functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import number

SIGMOID_GELU = 1.702


def _per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """A vector over the channels (axis 1) in a shape that broadcasts with x."""
    return parameter.reshape(-1, *[1] * (x.ndim - 2))


@computes("relu")
def relu(x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return torch.relu(x)


@computes("relu6")
def relu6(x: Tensor) -> Tensor:
    """Return min(max(x, 0), 6)."""
    return x.clamp(0, 6)


@computes("clamped_relu")
def clamped_relu(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return min(x, beta) where x >= 0, min(alpha * x, beta) elsewhere."""
    highest = number(beta)
    if highest < 0:
        # The documented formula and coremltools' own evaluation differ there.
        raise UnsupportedError(f"clamped_relu: beta {highest} below zero")
    return functional.leaky_relu(x, number(alpha)).clamp(max=highest)


@computes("leaky_relu")
def leaky_relu(x: Tensor, alpha: Tensor) -> Tensor:
    """Return x where x >= 0, alpha * x elsewhere."""
    return functional.leaky_relu(x, number(alpha))


@computes("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """Return x where x > 0, alpha * x elsewhere, with an alpha per channel (axis 1)."""
    return functional.prelu(x, alpha)


@computes("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: Tensor) -> Tensor:
    """Return x where x >= alpha, 0 elsewhere."""
    return x.masked_fill(x < number(alpha), 0)


@computes("elu")
def elu(x: Tensor, alpha: Tensor) -> Tensor:
    """Return x where x > 0, alpha * (e**x - 1) elsewhere."""
    return functional.elu(x, number(alpha))


@computes("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """Return x * (distribution function of the normal distribution), exact or approximated.

    Modes: "EXACT", "TANH_APPROXIMATION" and "SIGMOID_APPROXIMATION" (Hendrycks and Gimpel, arXiv 1606.08415).
    """
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(SIGMOID_GELU * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise UnsupportedError(f"gelu: mode '{mode}'")
    return functional.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


@computes("linear_activation")
def linear_activation(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return alpha * x + beta."""
    return x * number(alpha) + number(beta)


@computes("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + e**-x)."""
    return torch.sigmoid(x)


@computes("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return min(max(alpha * x + beta, 0), 1)."""
    return (x * number(alpha) + number(beta)).clamp_(0, 1)


@computes("silu")
def silu(x: Tensor) -> Tensor:
    """Return x * sigmoid(x)."""
    return functional.silu(x)


@computes("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return alpha * tanh(beta * x)."""
    return torch.tanh(x * number(beta)) * number(alpha)


@computes("softmax")
def softmax(x: Tensor, axis: Tensor | int = -1) -> Tensor:
    """Return e**x over its sum along the axis."""
    return torch.softmax(x, int(number(axis)))


@computes("softplus")
def softplus(x: Tensor) -> Tensor:
    """Return log(1 + e**x)."""
    return functional.softplus(x)


@computes("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return alpha * log(1 + e**(beta * x)), with an alpha and a beta per channel (axis 1)."""
    return _per_channel(alpha, x) * functional.softplus(_per_channel(beta, x) * x)


@computes("softsign")
def softsign(x: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    return functional.softsign(x)
