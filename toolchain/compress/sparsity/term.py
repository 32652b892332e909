"""The term that makes kernels compete, so that few large ones remain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toolchain.compress.sparsity.kernels import kernel_norms

KINDS = ("l1/l2", "l1", "l2")
SCOPES = ("global", "layer")


def sparsity_term(
    layers: Mapping[str, nn.Conv2d], kind: str = "l1/l2", scope: str = "global", normalised: bool = True
) -> Tensor:
    """The term of the loss that the strength (lambda) is multiplied with.

    N is the vector of n (`kernel_norms`) of all K kernels; every n >= 0. As published:

        "l1/l2"   ||N||_1 / ||N||_2     1 (one kernel has everything) to sqrt(K) (all are equal)
        "l1"      ||N||_1               for comparison: takes all kernels down by the same amount
        "l2"      ||N||_2               for comparison: takes large kernels down, and makes them equal

    The publication's normalised variant first divides N by its length. That cannot be the whole of it: the
    ratio of two norms stays what it is, whatever N is divided by, and the values given there do not follow.
    Here `normalised` takes the size of the network out of each norm, which is what the strength needs to mean
    the same everywhere: ||N||_1 becomes the mean of N, ||N||_2 its root mean square. So "l1/l2" is divided by
    sqrt(K) and lies in [1 / sqrt(K), 1]; a strength of 0.1 adds at most 0.1 to the loss of any network, and
    the term is the square root of the share of kernels that would do if those were equal and all others 0.
    (With weights initialised to keep the variance, the mean of N is of the order 0.1 to 1 in small and large
    networks, but "l1" and "l2" do depend on the scale of the weights; "l1/l2" does not.)

    Args:
        layers: the convolutions that count.
        kind: one of `KINDS`.
        scope: "global": one N over all layers. "layer": one N for each, and the sum of their terms, or,
            normalised, the mean.
        normalised: see above.

    Returns:
        A scalar, float32, differentiable; 0 where all kernels are 0.
    """
    norms = [kernel_norms(layer) for layer in layers.values()]
    vectors = [torch.cat(norms)] if scope == "global" else norms
    terms = torch.stack([_term(vector, kind, normalised) for vector in vectors])
    return terms.mean() if normalised else terms.sum()


def _term(vector: Tensor, kind: str, normalised: bool) -> Tensor:
    count = len(vector)
    l1 = vector.sum() / (count if normalised else 1)
    l2 = torch.linalg.vector_norm(vector) / (math.sqrt(count) if normalised else 1)
    if kind == "l1":
        return l1
    if kind == "l2":
        return l2
    # The smallest divisor leaves a layer that is all zero at 0, with a gradient of 0.
    return l1 / l2.clamp_min(torch.finfo(torch.float32).tiny)
