"""Convolution and deconvolution over height and width."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.borders import (
    Amounts,
    border_amounts,
    halves,
    heavy_end,
    padded,
    same_amounts,
    spread,
)
from toolchain.runtimes.neuralnetwork.layers.parameters import chosen, pair, per_picture, positive
from toolchain.runtimes.neuralnetwork.weights import decoded

DEFAULT_KERNEL = 3


@computes("convolution")
def convolution(p: Any) -> Kernel:
    """y = W * x + b, or its transpose; a second input takes the place of the stored weights."""
    if p.isDeconvolution:
        return _deconvolution(p)
    kernel = positive(pair(p.kernelSize, DEFAULT_KERNEL), "kernelSize")
    stride = positive(pair(p.stride, 1), "stride")
    dilation = positive(pair(p.dilationFactor, 1), "dilationFactor")
    groups = int(p.nGroups) or 1
    shape = (int(p.outputChannels), int(p.kernelChannels), *kernel)
    stored = _weights(decoded(p.weights, shape)) if p.weights.ByteSize() else None
    bias = decoded(p.bias, shape[:1]) if p.hasBias else None
    fixed = border_amounts(p.valid.paddingAmounts) if chosen(p, "ConvolutionPaddingType") == "valid" else None
    at_end = heavy_end(p.same)

    def run(x: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
        weight = stored if given is None else given
        if weight is None or (given is not None and stored is not None):
            raise UnsupportedError("needs weights, either stored or as the second input")
        if tuple(weight.shape) != shape:
            raise UnsupportedError(f"weights have shape {tuple(weight.shape)}, the parameters say {shape}")

        def picture(x4: torch.Tensor) -> torch.Tensor:
            sizes = x4.shape[-2:]
            amounts = fixed or same_amounts(sizes, spread(dilation, kernel), stride, at_end)
            symmetric = all(before == after for before, after in amounts)
            inside = [before for before, _ in amounts] if symmetric else 0
            x4 = x4 if symmetric else padded(x4, amounts)
            return F.conv2d(x4, weight, bias, stride, inside, dilation, groups)

        return per_picture(picture, 4)(x)

    return run


def _weights(weight: torch.Tensor) -> torch.Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def _deconvolution(p: Any) -> Kernel:
    """The transposed convolution; what exceeds the output's size is cropped at the borders."""
    kernel = positive(pair(p.kernelSize, DEFAULT_KERNEL), "kernelSize")
    stride = positive(pair(p.stride, 1), "stride")
    groups = int(p.nGroups) or 1
    if pair(p.dilationFactor, 1) != (1, 1):
        raise UnsupportedError("a dilated deconvolution: the format says that the dilation is ignored")
    if int(p.outputChannels) % groups:
        raise UnsupportedError(f"{p.outputChannels} channels cannot be split into {groups} groups")
    shape = (int(p.kernelChannels), int(p.outputChannels) // groups, *kernel)
    weight = _weights(decoded(p.weights, shape, axis=1))
    bias = decoded(p.bias, (int(p.outputChannels),)) if p.hasBias else None

    def picture(x: torch.Tensor) -> torch.Tensor:
        crops = _crops(p, x.shape[-2:], kernel, stride)
        y = F.conv_transpose2d(x, weight, bias, stride, 0, 0, groups)
        (top, bottom), (left, right) = crops
        return y[..., top : y.shape[-2] - bottom, left : y.shape[-1] - right]

    return per_picture(picture, 4)


def _crops(p: Any, sizes: Any, kernel: Any, stride: Any) -> Amounts:
    """What to cut off the full result (size - 1) * stride + kernel.

    With a stated output shape the padding is to be ignored, says the format, and coremltools writes both:
    only what is the same under both readings is computed.
    """
    full = [(size - 1) * step + width for size, step, width in zip(sizes, stride, kernel, strict=True)]
    same = chosen(p, "ConvolutionPaddingType") == "same"
    paddings = [(0, 0), (0, 0)] if same else border_amounts(p.valid.paddingAmounts)
    if p.outputShape:
        wanted = pair(p.outputShape, 0)
    elif same:
        wanted = (sizes[0] * stride[0], sizes[1] * stride[1])
    else:
        return paddings
    totals = [have - want for have, want in zip(full, wanted, strict=True)]
    if min(totals) < 0:
        raise UnsupportedError(f"the output {wanted} is larger than what the kernel reaches, {tuple(full)}")
    if same:
        return [halves(total, heavy_end(p.same)) for total in totals]
    for total, padding in zip(totals, paddings, strict=True):
        if sum(padding) not in (0, total) or (sum(padding) == total and padding != halves(total, True)):
            raise UnsupportedError(
                f"the paddings {paddings} and the output shape {wanted} crop {tuple(full)} differently"
            )
        if not sum(padding) and total % 2:
            raise UnsupportedError(
                f"the output shape {wanted} leaves open where the odd row of {tuple(full)} is cut off"
            )
    return [halves(total, True) for total in totals]
