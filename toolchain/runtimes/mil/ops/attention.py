"""Attention, from iOS 18 on."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from toolchain.runtimes.mil.operators import computes


@computes("scaled_dot_product_attention")
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """Weighted values softmax(Q K^T / sqrt(E) + mask) V.

    Args:
        query: (B, ..., L, E).
        key: (B, ..., S, E).
        value: (B, ..., S, EV).
        attn_mask: broadcasts to (B, ..., L, S): numbers that are added, or booleans that are true where an
            element takes part.

    Returns:
        (B, ..., L, EV).
    """
    scores = query @ key.mT / sqrt(query.shape[-1])
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        else:
            scores = scores + attn_mask
    return scores.softmax(-1) @ value
