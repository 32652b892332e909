"""Weights stored as float16: half the bytes, and exactly the network with rounded weights."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from toolchain.errors import UnsupportedError


def conv_model(make_model, feeds, weights, bias):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    return make_model(nodes, feeds, constants={"w": weights, "b": bias})


@pytest.fixture
def feeds(rng):
    return {"x": rng.normal(size=(1, 8, 9, 9)).astype(np.float32)}


def rounded(array):
    return array.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_computes_with_rounded_weights(layout, feeds, run_both, make_model, rng):
    weights = rng.normal(size=(32, 8, 3, 3)).astype(np.float32)
    bias = rng.normal(size=32).astype(np.float32)
    exact = conv_model(make_model, feeds, weights, bias)
    half = conv_model(make_model, feeds, rounded(weights), rounded(bias))
    expected, _, _ = run_both(half, feeds, layout)
    wrong, actual, ops = run_both(exact, feeds, layout, "fp16")
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-4, atol=1e-5)
    assert np.abs(actual["y"] - wrong["y"]).max() > 1e-4
    assert ops["DEQUANTIZE"] == 2


def test_halves_the_file(feeds, to_tflite, make_model, rng):
    weights = rng.normal(size=(64, 8, 3, 3)).astype(np.float32)
    model = conv_model(make_model, feeds, weights, np.zeros(64, np.float32))
    saved = len(to_tflite(model).data) - len(to_tflite(model, precision="fp16").data)
    assert saved == pytest.approx(weights.nbytes / 2, rel=0.05)


def test_inputs_and_outputs_stay_float32_and_small_constants_too(feeds, to_tflite, make_model, rng):
    weights = rng.normal(size=(4, 8, 3, 3)).astype(np.float32)
    converted = to_tflite(conv_model(make_model, feeds, weights, np.ones(4, np.float32)), precision="fp16")
    assert [spec.dtype for spec in (*converted.inputs, *converted.outputs)] == ["float32", "float32"]
    model = schema.ModelT.InitFromPackedBuf(converted.data, 0)
    types = {tensor.name.decode(): tensor.type for tensor in model.subgraphs[0].tensors}
    half = [name for name, kind in types.items() if kind == schema.TensorType.FLOAT16]
    assert len(half) == 1
    assert types[half[0].removesuffix("/float16")] == schema.TensorType.FLOAT32


def test_shared_weights_are_expanded_once(feeds, run_both, make_model, rng):
    weights = rounded(rng.normal(size=(8, 8, 3, 3)).astype(np.float32))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first"),
        helper.make_node("Conv", ["c", "w"], ["y"], name="second"),
    ]
    expected, actual, ops = run_both(
        make_model(nodes, feeds, constants={"w": weights}), feeds, "nhwc", "fp16"
    )
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-4, atol=1e-4)
    assert ops == {"CONV_2D": 2, "DEQUANTIZE": 1}


def test_integers_stay(run_both, make_node_model, rng):
    feeds = {"x": rng.normal(size=(2, 40)).astype(np.float32)}
    model = make_node_model("Gather", feeds, {"i": rng.integers(0, 40, 30)}, axis=1)
    expected, actual, ops = run_both(model, feeds, "nhwc", "fp16")
    np.testing.assert_array_equal(actual["y"], expected["y"])
    assert "DEQUANTIZE" not in ops


def test_too_large_for_float16(feeds, to_tflite, make_model):
    weights = np.full((8, 8, 3, 3), 1e5, np.float32)
    model = conv_model(make_model, feeds, weights, np.zeros(8, np.float32))
    with pytest.raises(UnsupportedError, match=r"'w.*1e\+05.*65504") as caught:
        to_tflite(model, precision="fp16")
    assert "fp32" in caught.value.hint
