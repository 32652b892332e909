"""Operators that `clean` computes; they are left where their result is an output of the network."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

FILLED = numpy_helper.from_array(np.array([2.5], np.float32))


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes"),
    [
        ("Shape", {}, {}),
        ("Shape", {}, {"start": 1, "end": -1}),
        ("Size", {}, {}),
        ("ConstantOfShape", {"shape": np.array([2, 3])}, {}),
        ("ConstantOfShape", {"shape": np.array([2, 3])}, {"value": FILLED}),
        ("Range", {"a": np.array(2), "b": np.array(9), "c": np.array(3)}, {}),
        ("Range", {"a": np.float32(2), "b": np.float32(-1), "c": np.float32(-0.5)}, {}),
    ],
)
def test_outputs_that_are_constant(op_type, constants, attributes, check, make_model, rng):
    feeds = {"x": rng.normal(size=(2, 3, 4, 5)).astype(np.float32)}
    node = helper.make_node(op_type, list(constants) or ["x"], ["y"], name="node", **attributes)
    relu = helper.make_node("Relu", ["x"], ["z"])
    check(make_model([node, relu], feeds, ["y", "z"], constants), feeds, rtol=0, atol=0)
