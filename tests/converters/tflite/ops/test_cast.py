"""Changes of the element type."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

TYPES = ["float32", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool"]


def values(source: str, target: str) -> np.ndarray:
    """Values of which ONNX defines the result; fractions, wraparound and non-zero numbers among them."""
    if source == "bool":
        return np.array([True, False])
    if source != "float32":
        limits = np.iinfo(source)
        return np.array([0, 1, 2, 100, 127, limits.max, limits.min, limits.max // 3], source)
    if target in ("float32", "bool"):
        return np.array([0, -0.0, 0.3, -7.5, np.inf, np.nan], source)
    return np.array(
        [0, 0.9, 1.5, 2.5, 100.999] + ([] if target[0] == "u" else [-0.9, -1.5, -100.999]), source
    )


@pytest.mark.parametrize("target", TYPES)
@pytest.mark.parametrize("source", TYPES)
def test_cast(check, make_node_model, source, target):
    feeds = {"x": values(source, target)}
    model = make_node_model("Cast", feeds, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))
    check(model, feeds, rtol=0, atol=0)


def test_cast_like(check, make_node_model):
    feeds = {"x": values("float32", "int32"), "like": np.zeros(1, np.int32)}
    check(make_node_model("CastLike", feeds), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("target", ["float16", "float64"])
def test_types_without_kernels_are_refused(refusals, make_node_model, target):
    feeds = {"x": np.ones(3, np.float32)}
    model = make_node_model("Cast", feeds, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))
    assert target in refusals(model)[0]


def test_uint64_is_refused(refusals, make_node_model):
    feeds = {"x": np.ones(3, np.float32)}
    model = make_node_model("Cast", feeds, to=helper.np_dtype_to_tensor_dtype(np.dtype(np.uint64)))
    assert "uint64" in refusals(model)[0]
