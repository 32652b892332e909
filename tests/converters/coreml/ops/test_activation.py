"""Activations against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

SHAPES = [(1, 3, 4, 5), (7,), (2, 1, 3, 2, 2)]

ROWS = [
    # operator, attributes, opset, operators of the file for one of three shapes
    ("Relu", {}, 18, ["relu"]),
    ("LeakyRelu", {}, 18, ["leaky_relu"]),
    ("LeakyRelu", {"alpha": 0.3}, 18, ["leaky_relu"]),
    ("Sigmoid", {}, 18, ["sigmoid"]),
    ("Tanh", {}, 18, ["tanh"]),
    ("HardSwish", {}, 18, ["sigmoid_hard", "mul"]),
    ("HardSigmoid", {}, 18, ["sigmoid_hard"]),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, 18, ["sigmoid_hard"]),
    ("Elu", {}, 18, ["elu"]),
    ("Elu", {"alpha": 2.0}, 18, ["elu"]),
    ("Selu", {}, 18, ["elu", "mul"]),
    ("Selu", {"alpha": 2.0, "gamma": 3.0}, 18, ["elu", "mul"]),
    ("Celu", {}, 18, ["elu"]),
    ("Celu", {"alpha": 0.5}, 18, ["elu", "add"]),
    ("ThresholdedRelu", {}, 18, ["select"]),
    ("ThresholdedRelu", {"alpha": -0.1}, 18, ["select"]),
    ("Softplus", {}, 18, ["softplus"]),
    ("Softsign", {}, 18, ["softsign"]),
    ("Mish", {}, 18, ["softplus", "tanh", "mul"]),
    ("Gelu", {}, 20, ["gelu"]),
    ("Gelu", {"approximate": "tanh"}, 20, ["gelu"]),
    ("Swish", {}, 24, ["silu"]),
    ("Swish", {"alpha": 0.7}, 24, ["sigmoid"]),
    ("Shrink", {"lambd": 1.5}, 18, ["select"]),
    ("Shrink", {"lambd": 0.7, "bias": 0.4}, 18, ["select", "add"]),
    ("Softmax", {}, 18, ["softmax"]),
    ("Softmax", {"axis": 0}, 18, ["softmax"]),
    ("LogSoftmax", {}, 18, ["reduce_max", "log"]),
    ("LogSoftmax", {"axis": 0}, 18, ["reduce_max", "log"]),
    ("Hardmax", {}, 18, ["reduce_argmax"]),
    ("Hardmax", {"axis": 0}, 18, ["reduce_argmax"]),
]


def feeds_of(rng, shapes=SHAPES) -> dict[str, np.ndarray]:
    return {f"x{index}": rng.normal(0, 3, shape).astype(np.float32) for index, shape in enumerate(shapes)}


@pytest.mark.parametrize(("op_type", "attributes", "opset", "ops"), ROWS)
def test_activation(op_type, attributes, opset, ops, check, make_model, rng):
    feeds = feeds_of(rng)
    nodes = [
        helper.make_node(op_type, [name], [f"y{index}"], name=f"node{index}", **attributes)
        for index, name in enumerate(feeds)
    ]
    outputs = [f"y{index}" for index in range(len(feeds))]
    made = check(make_model(nodes, feeds, outputs, opset=opset), feeds, rtol=1e-5, atol=2e-6)
    assert all(made[name] >= len(SHAPES) for name in ops)


@pytest.mark.parametrize("axis", [1, 2, -3])
def test_softmax_over_the_axes_of_a_picture(axis, check, make_node_model, rng):
    feeds = {"x": rng.normal(0, 3, (2, 3, 4, 5)).astype(np.float32)}
    assert check(make_node_model("Softmax", feeds, axis=axis), feeds) == {"softmax": 1}


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("attributes", [{}, {"axis": 2}, {"axis": 0}])
def test_softmax_over_all_axes_from_one_on(op_type, attributes, check, make_node_model, rng):
    """Before operator set 13 it runs over the flattened axes from `axis` (1) on."""
    feeds = {"x": rng.normal(0, 3, (2, 3, 4)).astype(np.float32)}
    check(make_node_model(op_type, feeds, opset=11, **attributes), feeds)


def test_large_inputs(check, make_model):
    op_types = ["Softplus", "Mish", "Softsign", "Sigmoid", "Tanh", "Elu", "Selu", "HardSwish", "LogSoftmax"]
    x = np.array([-1e4, -200, -88, -40, -17, -1, -1e-3, 0, 1e-3, 1, 17, 40, 88, 89, 200, 1e4], np.float32)
    nodes = [helper.make_node(op_type, ["x"], [op_type], name=op_type) for op_type in op_types]
    check(make_model(nodes, {"x": x}, op_types), {"x": x}, rtol=1e-5, atol=1e-6)


def test_thresholded_relu_at_its_threshold(check, make_node_model):
    feeds = {"x": np.array([0.5, np.nextafter(np.float32(0.5), np.float32(1)), -0.5], np.float32)}
    check(make_node_model("ThresholdedRelu", feeds, alpha=0.5), feeds, rtol=0, atol=0)


def test_hardmax_of_equal_maxima(check, make_node_model, rng):
    feeds = {"x": rng.integers(0, 3, (3, 8, 2)).astype(np.float32)}
    check(make_node_model("Hardmax", feeds, axis=1), feeds, rtol=0, atol=0)


CLIPS = [
    ((0, 6), {"relu6": 1}),
    ((-1, 1), {"clip": 1}),
    ((0, None), {"relu": 1}),
    ((0, np.inf), {"relu": 1}),
    ((0, float(np.finfo(np.float32).max)), {"relu": 1}),
    ((0, 1), {"clip": 1}),
    ((None, 6), {"minimum": 1}),
    ((0.5, None), {"maximum": 1}),
    ((2, -2), {"maximum": 1, "minimum": 1}),
    ((2, 2), {"maximum": 1, "minimum": 1}),
]


@pytest.mark.parametrize(("bounds", "ops"), CLIPS)
def test_clip(bounds, ops, check, make_node_model, rng):
    feeds = {"x": rng.normal(0, 4, (1, 3, 4, 5)).astype(np.float32)}
    constants = {
        name: np.float32(bound)
        for name, bound in zip(("low", "high"), bounds, strict=True)
        if bound is not None
    }
    order = ["x", *(name if name in constants else "" for name in ("low", "high"))]
    model = make_node_model("Clip", feeds, constants, order=order)
    assert check(model, feeds, rtol=0, atol=0) == ops


@pytest.mark.parametrize("bounds", [(2, 3), (2, 2)])
def test_clip_of_ios_17(bounds, check, make_node_model, rng):
    """Its `clip` refuses bounds of which the lower one is not below the upper one."""
    feeds = {"x": rng.normal(0, 4, (1, 3, 4, 5)).astype(np.float32)}
    constants = dict(zip(("low", "high"), map(np.float32, bounds), strict=True))
    model = make_node_model("Clip", feeds, constants)
    check(model, feeds, rtol=0, atol=0, kinds=["mlprogram"], ios=17)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("constant", [True, False])
def test_clip_of_integers(dtype, constant, check, make_node_model, make_model, rng):
    feeds = {"x": rng.integers(0, 100, (2, 3, 4)).astype(dtype)}
    if constant:
        bounds = {"low": np.array(3, dtype), "high": np.array(np.iinfo(dtype).max)}
        check(make_node_model("Clip", feeds, bounds), feeds, rtol=0, atol=0)
        return
    feeds |= {"low": np.array([3], dtype), "high": np.array([60], dtype)}
    nodes = [
        helper.make_node("Squeeze", ["low"], ["a"]),
        helper.make_node("Squeeze", ["high"], ["b"]),
        helper.make_node("Clip", ["x", "a", "b"], ["y"]),
    ]
    check(make_model(nodes, feeds), feeds, rtol=0, atol=0)


def test_clip_beyond_int32_is_refused(refusals, make_node_model):
    model = make_node_model("Clip", {"x": np.ones(3, np.int64)}, {"low": np.array(2**40)})
    assert str(2**40) in refusals(model)[0]


def test_clip_with_attributes(check, make_node_model, rng):
    feeds = {"x": rng.normal(0, 4, (1, 3, 4, 5)).astype(np.float32)}
    made = check(make_node_model("Clip", feeds, opset=7, min=0.0, max=6.0), feeds, rtol=0, atol=0)
    assert made == {"relu6": 1}


def test_relu_of_integers(check, make_node_model, rng):
    feeds = {"x": rng.integers(-100, 100, (2, 3, 4)).astype(np.int32)}
    check(make_node_model("Relu", feeds), feeds, rtol=0, atol=0, kinds=["mlprogram"])


PRELUS = [
    ((1, 3, 4, 5), (3, 1, 1), {"prelu": 1}),
    ((2, 3, 4, 5), (1,), {"leaky_relu": 1}),
    ((2, 3, 4, 5), (1, 3, 1, 1), {"prelu": 1}),
    ((2, 3, 4, 5), (5,), {"mul": 1, "relu": 1}),
    ((2, 3, 4, 5), (2, 3, 4, 5), {"mul": 1, "relu": 1}),
    ((2, 3, 4), (3, 1), {"mul": 1, "relu": 1}),
    ((6,), (6,), {"mul": 1, "relu": 1}),
    ((1, 3, 2, 2, 2), (3, 1, 1, 1), {"mul": 1, "relu": 1}),
]


@pytest.mark.parametrize(("shape", "sizes", "ops"), PRELUS)
def test_prelu(shape, sizes, ops, check, make_node_model, rng):
    feeds = {"x": rng.normal(0, 3, shape).astype(np.float32)}
    slope = rng.normal(0, 1, sizes).astype(np.float32)
    made = check(make_node_model("PRelu", feeds, {"slope": slope}), feeds)
    assert {name: made.get(name) for name in ops} == ops


def test_prelu_with_a_slope_of_run_time(check, make_node_model, rng):
    feeds = {"x": rng.normal(0, 3, (2, 3, 4)).astype(np.float32)}
    feeds["slope"] = rng.normal(0, 1, (3, 1)).astype(np.float32)
    check(make_node_model("PRelu", feeds), feeds)


def test_prelu_of_integers(check, make_node_model, rng):
    feeds = {"x": rng.integers(-9, 9, (2, 3, 4)).astype(np.int32)}
    model = make_node_model("PRelu", feeds, {"slope": np.array([3], np.int32)}, opset=16)
    check(model, feeds, rtol=0, atol=0, kinds=["mlprogram"])


REFUSED = [
    ("Celu", {"alpha": -1.0}, np.float32, 18, "alpha=-1"),
    ("Gelu", {"approximate": "sigmoid"}, np.float32, 20, "approximate='sigmoid'"),
    ("Shrink", {}, np.int32, 18, "Shrink of int32"),
]


@pytest.mark.parametrize(("op_type", "attributes", "dtype", "opset", "reason"), REFUSED)
def test_refused(op_type, attributes, dtype, opset, reason, refusals, make_node_model):
    model = make_node_model(op_type, {"x": np.ones((2, 3), dtype)}, opset=opset, **attributes)
    assert reason in refusals(model)[0]


def test_a_slope_that_is_larger_than_its_input_is_refused(refusals, make_model):
    feeds = {"x": np.ones((1, 3, 1), np.float32)}
    node = helper.make_node("PRelu", ["x", "slope"], ["y"], name="node")
    model = make_model(node, feeds, constants={"slope": np.ones((1, 3, 4), np.float32)})
    assert "(1, 3, 4)" in refusals(model)[0]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_softmax(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    op_type = data.draw(st.sampled_from(["Softmax", "LogSoftmax"]))
    feeds = {"x": np.random.default_rng(len(shape)).normal(0, 9, shape).astype(np.float32)}
    check(make_node_model(op_type, feeds, axis=axis), feeds, atol=1e-6)
