"""Shapes of operators that onnx's own inference leaves open."""

from __future__ import annotations

import numpy as np
import onnx
import pytest


@pytest.mark.parametrize(
    ("opset", "call"),
    [
        (21, "GroupNormalization<num_groups=2>(x, s, b)"),
        (13, "MeanVarianceNormalization(x)"),
        (18, "MeanVarianceNormalization<axes=[0,2]>(x)"),
        (20, "Gelu(x)"),
        (17, "LayerNormalization(x, w)"),
    ],
)
def test_default_attributes_of_a_definition(graphs, opset, call):
    """They stand in the operator's schema only, and its definition refers to them."""
    constants = {
        "s": np.ones(4, np.float32),
        "b": np.zeros(4, np.float32),
        "w": np.ones(5, np.float32),
    }
    used = {name: array for name, array in constants.items() if f" {name}" in call}
    text = f"(float[2,4,3,5] x) => (float[2,4,3,5] y) {{ h = {call} y = Neg(h) }}"
    model = graphs.clean(graphs.build(text, opset, **used))
    normed = model.graph.node(0).outputs[0]
    assert tuple(normed.shape) == (2, 4, 3, 5)
    assert normed.dtype == onnx.TensorProto.FLOAT
