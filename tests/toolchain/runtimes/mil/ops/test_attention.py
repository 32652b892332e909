"""Attention against torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

GENERATOR = np.random.default_rng(29)


@pytest.mark.parametrize("mask", [None, "float", "bool"])
@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_attention(run_program: Callable, mask: str | None, batch: tuple[int, ...]) -> None:
    sizes = {"query": (*batch, 5, 8), "key": (*batch, 6, 8), "value": (*batch, 6, 4)}
    inputs = {name: GENERATOR.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    scores = GENERATOR.normal(size=(5, 6)).astype(np.float32)

    def build(mb, query, key, value, mask_values=None):
        extra = {}
        if mask == "float":
            extra = {"attn_mask": mask_values}
        elif mask == "bool":
            extra = {"attn_mask": mb.greater(x=mask_values, y=-0.5)}
        return mb.scaled_dot_product_attention(query=query, key=key, value=value, **extra)

    given = None
    if mask is not None:
        given = torch.from_numpy(scores if mask == "float" else scores > -0.5)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(torch.from_numpy(value) for value in inputs.values()), attn_mask=given
    )
    extra = {} if mask is None else {"mask_values": scores}
    (got,) = run_program(build, inputs | extra, 18).values()
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)
