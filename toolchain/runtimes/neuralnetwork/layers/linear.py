"""Matrix products and look-ups."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.weights import decoded

DYNAMIC = "int8DynamicQuantize: how the input is rounded at run time is not specified"


@computes("innerProduct")
def inner_product(p: Any) -> Kernel:
    """y = W x + b; in ranks 4 and 5 the last three axes are the vector."""
    if p.int8DynamicQuantize:
        raise UnsupportedError(DYNAMIC, "quantize only the weights")
    outputs = int(p.outputChannels)
    weight = decoded(p.weights, (outputs, int(p.inputChannels)))
    bias = decoded(p.bias, (outputs,)) if p.hasBias else None

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.ndim <= 3:
            return F.linear(x, weight, bias)
        if x.ndim > 5:
            raise UnsupportedError(f"takes rank 1 to 5, got shape {tuple(x.shape)}")
        return F.linear(x.flatten(-3), weight, bias)[..., None, None]

    return run


@computes("batchedMatmul")
def batched_matmul(p: Any) -> Kernel:
    """Products of matrices in the last two axes, or of rows with a stored matrix."""
    if p.int8DynamicQuantize:
        raise UnsupportedError(DYNAMIC, "quantize only the weights")
    rows, columns = int(p.weightMatrixFirstDimension), int(p.weightMatrixSecondDimension)
    # The stored matrix [rows, columns] is column-major.
    weight = decoded(p.weights, (columns, rows)) if p.weights.ByteSize() else None
    bias = decoded(p.bias, (columns,)) if p.hasBias else None

    def run(a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        if b is None:
            if weight is None:
                raise UnsupportedError("has one input and no weights")
            return F.linear(a, weight, bias)
        a = a[None, :] if a.ndim == 1 else a
        b = b[:, None] if b.ndim == 1 else b
        return (a.mT if p.transposeA else a) @ (b.mT if p.transposeB else b)

    return run


@computes("embedding")
def embedding(p: Any) -> Kernel:
    """Vectors by index; input [..., 1, 1, 1], output [..., outputChannels, 1, 1]."""
    look_up = _look_up(p, int(p.outputChannels), int(p.inputDim))

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.ndim not in (4, 5) or x.shape[-3:] != (1, 1, 1):
            raise UnsupportedError(f"takes [..., 1, 1, 1] of rank 4 or 5, got {tuple(x.shape)}")
        return look_up(x[..., 0, 0, 0])[..., None, None]

    return run


@computes("embeddingND")
def embedding_nd(p: Any) -> Kernel:
    """Vectors by index; input [..., 1], output [..., embeddingSize]."""
    look_up = _look_up(p, int(p.embeddingSize), int(p.vocabSize))

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.ndim < 2 or x.shape[-1] != 1:
            raise UnsupportedError(f"takes [..., 1] of rank 2 or more, got {tuple(x.shape)}")
        return look_up(x[..., 0])

    return run


def _look_up(p: Any, size: int, count: int) -> Kernel:
    table = decoded(p.weights, (size, count)).T.contiguous()
    if p.hasBias:
        table = table + decoded(p.bias, (size,))

    def run(indices: torch.Tensor) -> torch.Tensor:
        index = indices.long()
        if index.numel() and (index.min() < 0 or index.max() >= count):
            raise UnsupportedError(f"an index lies outside of 0 to {count - 1}")
        return table[index]

    return run
