"""QuantizeLinear and DequantizeLinear against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from toolchain.converters.coreml.convert import convert
from toolchain.converters.coreml.integer_passes import NormalizeAddedScales
from toolchain.errors import UnsupportedError, UsageError

IOS = 17


def pair(x: str, y: str, number: int | str = "", **attributes) -> list[onnx.NodeProto]:
    """The two nodes behind each other, with the constants scale and zero and a number behind both."""
    parameters = [f"scale{number}", f"zero{number}"]
    return [
        helper.make_node("QuantizeLinear", [x, *parameters], [f"{y}_stored"], name=f"{y}_q", **attributes),
        helper.make_node("DequantizeLinear", [f"{y}_stored", *parameters], [y], name=f"{y}_dq", **attributes),
    ]


def parameters(scale, zero, dtype=np.int8, number: int | str = "") -> dict[str, np.ndarray]:
    return {f"scale{number}": np.array(scale, np.float32), f"zero{number}": np.array(zero, dtype)}


def values(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).uniform(-3, 3, shape).astype(np.float32)


ROWS = [
    (parameters(0.02, 0), (1, 3, 5, 4), {}, "int8"),
    (parameters(0.02, -128), (1, 3, 5, 4), {}, "int8"),
    (parameters(0.013, 7), (2, 3), {}, "int8"),
    (parameters(0.02, 0, np.uint8), (1, 3, 5, 4), {}, "uint8"),
    (parameters(0.02, 128, np.uint8), (4,), {}, "uint8"),
    (parameters(0.007, 201, np.uint8), (2, 3, 4), {}, "uint8"),
    (parameters([0.5], [3]), (1, 3, 5, 4), {}, "int8"),
    (parameters([0.01, 0.5, 2], [3, 0, -9]), (2, 3, 4), {}, "int8"),
    (parameters([0.01, 0.5, 2, 0.1], [0, 4, 255, 128], np.uint8), (1, 3, 5, 4), {"axis": -1}, "uint8"),
    (parameters([0.01, 0.5], [-128, -128]), (2, 3, 4), {"axis": 0}, "int8"),
    (parameters(0.02, 5), (), {}, "int8"),
]


@pytest.mark.parametrize(("constants", "shape", "attributes", "dtype"), ROWS)
def test_pairs(constants, shape, attributes, dtype, make_model, run_both):
    # A scalar cannot enter a Core ML file.
    nodes = pair("x", "y", **attributes)
    feeds = {"x": values(shape)}
    if not shape:
        nodes = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), *pair("m", "y")]
        feeds = {"x": values((5,))}
    model = make_model(nodes, feeds, ("y",), constants)
    expected, actual, ops = run_both(model, feeds, ios=IOS)
    np.testing.assert_allclose(actual["y"].reshape(shape), expected["y"], rtol=1e-6)
    assert ops["quantize"] == ops["dequantize"] == 1


def test_without_zero_point(make_model, run_both):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["y"]),
    ]
    feeds = {"x": values((2, 9)) + 2}
    expected, actual, _ = run_both(
        make_model(nodes, feeds, ("y",), {"scale": np.float32(0.03)}), feeds, ios=IOS
    )
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-6)


@settings(max_examples=12, deadline=None)
@given(
    step=st.floats(2.0**-20, 200, width=32),
    zero=st.integers(-128, 127),
    spread=st.floats(0.01, 300),
    seed=st.integers(0, 2**16),
)
def test_float16_loses_at_most_a_step(step, zero, spread, seed, make_model, run_both):
    """Both nodes have the scale that float16 makes of it: values move, but not against each other."""
    feeds = {"x": (np.random.default_rng(seed).standard_normal((3, 40)) * step * spread).astype(np.float32)}
    model = make_model(pair("x", "y"), feeds, ("y",), parameters(step, zero))
    expected, actual, _ = run_both(model, feeds, ios=IOS, precision="int8")
    kept = max(float(np.float16(step)), 2.0**-24)
    moved = abs(kept - np.float32(step)) * (np.abs(zero) + 128)
    error = np.abs(actual["y"] - expected["y"])
    assert (error <= step + moved + 2**-11 * np.abs(expected["y"]) + 2.0**-24).all()


def test_scale_that_float16_would_make_zero(make_model, run_both):
    feeds = {"x": np.array([[0, 3e-7, 1e-6, -1e-6]], np.float32)}
    model = make_model(pair("x", "y"), feeds, ("y",), parameters(1e-8, 0))
    expected, actual, _ = run_both(model, feeds, ios=IOS, precision="int8")
    assert np.isfinite(actual["y"]).all()
    # Float16 itself has steps of 6e-8 there.
    np.testing.assert_allclose(actual["y"], np.clip(feeds["x"], -7.7e-6, 7.7e-6), atol=6e-8)
    assert np.abs(expected["y"]).max() < 1.3e-6


def added(first, second, result, zeros=(0, 0, 0)) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    nodes = [
        *pair("a", "left", 0),
        *pair("b", "right", 1),
        helper.make_node("Add", ["left", "right"], ["sum"]),
        *pair("sum", "y", 2),
    ]
    constants = {
        name: array
        for number, (scale, zero) in enumerate(zip((first, second, result), zeros, strict=True))
        for name, array in parameters(scale, zero, number=number).items()
    }
    return nodes, constants


@pytest.mark.parametrize(
    ("scales", "zeros"),
    [
        ((0.02, 0.05, 0.06), (0, 0, 0)),
        ((0.02, 0.05, 0.06), (-128, 12, -7)),
        # One operand counts in thousands of the other's steps: float16 holds neither of them divided.
        ((50.0, 0.001, 60.0), (0, 0, 0)),
        ((0.001, 50.0, 60.0), (0, 0, 0)),
        ((0.5, 0.001, 0.001), (3, 0, 0)),
    ],
)
def test_additions_with_normalized_scales(scales, zeros, make_model, run_both):
    random = np.random.default_rng(1)
    feeds = {
        name: (random.uniform(-100, 100, (1, 4, 6, 5)) * scale).astype(np.float32)
        for name, scale in zip("ab", scales, strict=False)
    }
    model = make_model(added(*scales, zeros)[0], feeds, ("y",), added(*scales, zeros)[1])
    expected, actual, ops = run_both(model, feeds, ios=IOS, precision="int8")
    assert ops["quantize"] == ops["dequantize"] == 3
    steps = np.abs(actual["y"] - expected["y"]) / scales[2]
    assert (steps <= 1.2).all()
    assert (steps <= 0.2).mean() >= 0.85


@given(
    x=st.floats(2.0**-20, 1e4, width=32),
    y=st.floats(2.0**-20, 1e4, width=32),
    z=st.floats(2.0**-20, 1e4, width=32),
)
def test_normalized_scales_stay_within_float16(x, y, z):
    class Operand:
        axis = None

        def __init__(self, scale: float) -> None:
            self.scale = type("Scale", (), {"val": np.float32(scale)})

    ratio, result = NormalizeAddedScales().try_to_divide(Operand(x), Operand(y), Operand(z))
    if ratio is not None:
        assert ratio * 255 + 255 <= 65504
        assert abs(np.float16(ratio) / ratio - 1) <= 2**-11
        assert abs(np.float16(result) / result - 1) <= 2**-11


def test_reshape_of_integers(make_model, run_both):
    nodes = [*pair("x", "a"), helper.make_node("Reshape", ["a", "shape"], ["b"]), *pair("b", "y")]
    feeds = {"x": values((1, 6, 4))}
    constants = {**parameters(0.02, 0), "shape": np.array([1, 24], np.int64)}
    expected, actual, ops = run_both(make_model(nodes, feeds, ("y",), constants), feeds, ios=IOS)
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-6)
    assert ops == {"quantize": 1, "reshape": 1, "dequantize": 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (parameters(0.02, 0, number=0), parameters(0.04, 0, number=1)),
        (parameters(0.02, 0, number=0), parameters(0.02, 9, number=1)),
        # Both have no zero point left, but are of two types.
        (parameters(0.02, -128, number=0), parameters(0.02, 0, number=1)),
        (parameters(0.02, 0, np.uint8, number=0), parameters(0.02, 0, number=1)),
    ],
)
@pytest.mark.parametrize("between", [True, False], ids=["reshape", "adjacent"])
def test_quantizing_again_is_kept(first, second, between, make_model, run_both):
    view = [helper.make_node("Reshape", ["a", "shape"], ["b"])] if between else []
    nodes = [*pair("x", "a", 0), *view, *pair("b" if between else "a", "y", 1)]
    feeds = {"x": values((1, 6, 4)) * 2}
    shape = {"shape": np.array([1, 24], np.int64)} if between else {}
    model = make_model(nodes, feeds, ("y",), {**first, **second, **shape})
    expected, actual, ops = run_both(model, feeds, ios=IOS)
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-6)
    assert ops["quantize"] == ops["dequantize"] == 2


def quantize_node(dtype, scale=0.1, **attributes) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    return pair("x", "y", **attributes), parameters(scale, np.zeros(np.shape(scale)), dtype)


@pytest.mark.parametrize(
    ("nodes", "ios", "words"),
    [
        (quantize_node(np.int8), 16, "iOS 17"),
        (quantize_node(np.int16), 17, "int16"),
        (quantize_node(np.uint16), 17, "uint16"),
        (quantize_node(np.int8, np.full((2, 3), 0.1), block_size=2, axis=1), 17, "block_size"),
        (quantize_node(np.int8, 0.0), 17, "scale 0"),
        (quantize_node(np.int8, np.inf), 17, "scale inf"),
    ],
)
def test_refusals(nodes, ios, words, make_model, refusals):
    made, constants = nodes
    model = make_model(made, {"x": values((2, 6))}, ("y",), constants, opset=21)
    found = refusals(model, ios=ios)
    assert len(found) == 2
    assert all(words in text for text in found)


def test_scale_computed_at_run_time(make_model, refusals):
    feeds = {"x": values((2, 6)), "scale": np.float32([0.1])}
    model = make_model(pair("x", "y"), feeds, ("y",), {"zero": np.zeros(1, np.int8)})
    assert all("the scale is computed at run time" in text for text in refusals(model, ios=IOS))


def test_integers_that_something_else_reads(make_model, refusals):
    nodes = [
        pair("x", "a")[0],
        helper.make_node("Transpose", ["a_stored"], ["t"], perm=[1, 0], name="turned"),
        helper.make_node("DequantizeLinear", ["t", "scale", "zero"], ["y"], name="left"),
    ]
    found = refusals(make_model(nodes, {"x": values((2, 6))}, ("y",), parameters(0.1, 0)), ios=IOS)
    assert len(found) == 1
    assert "int8, which Core ML does not compute" in found[0]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_ranges_beyond_float16(precision, make_model, to_coreml):
    model = make_model(pair("x", "y"), {"x": values((2, 6))}, ("y",), parameters(1000.0, 0))
    with pytest.raises(UnsupportedError) as caught:
        to_coreml(model, ios=IOS, precision=precision)
    assert "'x' reaches 128000, float16 ends at 65504" in caught.value.refusals[0].reason


def test_neural_networks_have_none(make_model, refusals, to_coreml):
    model = make_model(pair("x", "y"), {"x": values((2, 6))}, ("y",), parameters(0.1, 0))
    assert all("neural networks" in text for text in refusals(model, "neuralnetwork"))
    with pytest.raises(UsageError) as caught:
        to_coreml(model, "neuralnetwork", precision="int8")
    assert "-p w8" in caught.value.hint
    assert "-f coreml" in caught.value.hint


def test_float_network_is_no_int8(make_node_model, to_coreml):
    with pytest.raises(UnsupportedError, match="no quantized values"):
        to_coreml(make_node_model("Relu", {"x": values((2, 6))}), precision="int8")


def test_older_systems(make_model, to_coreml):
    model = make_model(pair("x", "y"), {"x": values((2, 6))}, ("y",), parameters(0.1, 0))
    with pytest.raises(UsageError, match="needs iOS 17"):
        to_coreml(model, precision="int8", ios=16)
    assert to_coreml(model, precision="int8").ios == IOS


def test_integers_at_the_borders_are_refused(make_model):
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], name="node")
    model = make_model(node, {"x": values((2, 6))}, ("y",), parameters(0.1, 0))
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.INT8
    with pytest.raises(UnsupportedError, match="output 'y'"):
        convert(ir.serde.deserialize_model(model), "int8")
