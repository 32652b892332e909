"""Activations against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

SHAPES = [(1, 3, 4, 5), (), (1, 2, 3, 2, 2, 3)]

ROWS = [
    # operator, attributes, opset, operators of the file
    ("Relu", {}, 18, {"RELU": 1}),
    ("LeakyRelu", {}, 18, {"LEAKY_RELU": 1}),
    ("LeakyRelu", {"alpha": 0.3}, 18, {"LEAKY_RELU": 1}),
    ("Sigmoid", {}, 18, {"LOGISTIC": 1}),
    ("Tanh", {}, 18, {"TANH": 1}),
    ("HardSwish", {}, 18, {"HARD_SWISH": 1}),
    ("HardSigmoid", {}, 18, {"MUL": 1, "ADD": 1, "MINIMUM": 1}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, 18, {"MUL": 1, "ADD": 1, "MINIMUM": 1}),
    ("Elu", {}, 18, {"ELU": 1}),
    ("Elu", {"alpha": 2.0}, 18, {"ELU": 1, "RELU": 1}),
    ("Selu", {}, 18, {"ELU": 1, "RELU": 1}),
    ("Selu", {"alpha": 2.0, "gamma": 3.0}, 18, {"ELU": 1}),
    ("Celu", {}, 18, {"ELU": 1}),
    ("Celu", {"alpha": 0.5}, 18, {"ELU": 1}),
    ("ThresholdedRelu", {}, 18, {"SELECT_V2": 1}),
    ("ThresholdedRelu", {"alpha": 0.1}, 18, {"SELECT_V2": 1}),
    ("Softplus", {}, 18, {"DIV": 1, "EXP": 1}),
    ("Softsign", {}, 18, {"DIV": 1}),
    ("Mish", {}, 18, {"EXP": 1, "DIV": 1}),
    ("Gelu", {}, 20, {"GELU": 1}),
    ("Gelu", {"approximate": "tanh"}, 20, {"GELU": 1}),
    ("Swish", {}, 24, {"LOGISTIC": 1, "MUL": 1}),
    ("Swish", {"alpha": 0.7}, 24, {"LOGISTIC": 1, "MUL": 2}),
    ("Shrink", {"lambd": 1.5}, 18, {"SELECT_V2": 1}),
    ("Shrink", {"lambd": 0.7, "bias": 0.7}, 18, {"MAXIMUM": 1}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("op_type", "attributes", "opset", "ops"), ROWS)
def test_activation(op_type, attributes, opset, ops, shape, check, make_node_model, rng):
    feeds = {"x": np.asarray(rng.normal(0, 3, shape), np.float32)}
    made = check(make_node_model(op_type, feeds, opset=opset, **attributes), feeds, rtol=1e-5, atol=2e-6)
    assert "TRANSPOSE" not in made
    assert {name: made.get(name) for name in ops} == ops


@pytest.mark.parametrize(
    "op_type", ["Softplus", "Mish", "Softsign", "Sigmoid", "Tanh", "Elu", "Selu", "HardSwish"]
)
def test_large_inputs(op_type, check, make_node_model):
    feeds = {
        "x": np.array(
            [-1e4, -200, -88, -40, -17, -1, -1e-3, 0, 1e-3, 1, 17, 40, 88, 89, 200, 1e4], np.float32
        )
    }
    check(make_node_model(op_type, feeds), feeds, rtol=1e-5, atol=1e-6)


def test_softplus_of_negative_numbers_keeps_its_digits(check, make_node_model):
    feeds = {"x": np.linspace(-60, 3, 200, dtype=np.float32)}
    check(make_node_model("Softplus", feeds), feeds, rtol=1e-5, atol=0)


CLIPS = [
    ((0, 6), {"RELU6": 1}),
    ((-1, 1), {"RELU_N1_TO_1": 1}),
    ((0, None), {"RELU": 1}),
    ((0, np.inf), {"RELU": 1}),
    ((0, 1), {"MAXIMUM": 1, "MINIMUM": 1}),
    ((None, 6), {"MINIMUM": 1}),
    ((0.5, None), {"MAXIMUM": 1}),
    ((2, -2), {"MAXIMUM": 1, "MINIMUM": 1}),
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


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int32, np.int64])
@pytest.mark.parametrize("constant", [True, False])
def test_clip_of_integers(dtype, constant, check, make_node_model, rng):
    feeds = {"x": rng.integers(0, 100, (2, 3, 4)).astype(dtype)}
    bounds = {"low": np.array(3, dtype), "high": np.array(60, dtype)}
    if constant:
        model = make_node_model("Clip", feeds, bounds)
    else:
        feeds |= bounds
        model = make_node_model("Clip", feeds)
    check(model, feeds, rtol=0, atol=0)


def test_clip_with_attributes(check, make_node_model, rng):
    feeds = {"x": rng.normal(0, 4, (1, 3, 4, 5)).astype(np.float32)}
    made = check(make_node_model("Clip", feeds, opset=7, min=0.0, max=6.0), feeds, rtol=0, atol=0)
    assert made == {"RELU6": 1}


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_relu_of_integers(dtype, check, make_node_model, rng):
    feeds = {"x": rng.integers(-100, 100, (2, 3, 4)).astype(dtype)}
    check(make_node_model("Relu", feeds), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("shape", "slope", "ops"),
    [
        ((1, 3, 4, 5), (3, 1, 1), {"PRELU": 1}),
        ((2, 3, 4, 5), (1,), {"PRELU": 1}),
        ((2, 3, 4, 5), (), {"PRELU": 1}),
        ((2, 3, 4, 5), (5,), {"PRELU": 1}),
        ((2, 3, 4, 5), (3, 4, 5), {"PRELU": 1}),
        ((2, 3, 4, 5), (2, 1, 1, 5), {"PRELU": 1}),
        ((2, 6), (6,), {"PRELU": 1}),
        ((2, 3, 2, 4, 5), (3, 1, 1, 1), {"MAXIMUM": 1, "MINIMUM": 1, "MUL": 1}),
    ],
)
def test_prelu(shape, slope, ops, constant, check, make_node_model, rng):
    feeds = {"x": rng.normal(size=shape).astype(np.float32)}
    slopes = {"slope": np.asarray(rng.normal(size=slope), np.float32)}
    model = make_node_model("PRelu", feeds, slopes) if constant else make_node_model("PRelu", feeds | slopes)
    made = check(model, feeds if constant else feeds | slopes)
    wanted = ops if constant else {"MAXIMUM": 1, "MINIMUM": 1, "MUL": 1}
    assert {name: made.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("slope", [(3, 1, 1), (3, 4, 5), (5,)])
@pytest.mark.parametrize("constant", [True, False])
def test_prelu_inside_a_cnn(slope, constant, check, make_model, rng):
    feeds = {"x": rng.normal(size=(1, 3, 6, 7)).astype(np.float32)}
    slopes = {"slope": rng.normal(size=slope).astype(np.float32)}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[3, 3], name="pool"),
        helper.make_node("PRelu", ["p", "slope"], ["y"], name="prelu"),
    ]
    model = make_model(nodes, feeds, constants=slopes) if constant else make_model(nodes, feeds | slopes)
    made = check(model, feeds if constant else feeds | slopes)
    assert constant <= ("TRANSPOSE" not in made)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_prelu_of_integers(dtype, check, make_node_model, rng):
    feeds = {"x": rng.integers(-100, 100, (2, 3, 4)).astype(dtype)}
    check(make_node_model("PRelu", feeds, {"slope": np.array([2, 3, -1, 5], dtype)}), feeds, rtol=0, atol=0)


SOFTMAX_SHAPES = [(2, 5), (1, 3, 4, 5), (2, 3, 4), (7,), (2, 3, 2, 4, 3), (1, 6, 1, 1), (2, 1, 3, 1)]


@pytest.mark.parametrize(
    ("op_type", "opset"),
    [("Softmax", 13), ("LogSoftmax", 13), ("Hardmax", 13), ("Softmax", 11), ("LogSoftmax", 11)],
)
@pytest.mark.parametrize("shape", SOFTMAX_SHAPES)
def test_softmax(op_type, opset, shape, check, make_node_model, rng):
    feeds = {"x": rng.normal(0, 3, shape).astype(np.float32)}
    for axis in [None, *range(-len(shape), len(shape))]:
        if axis is None and opset < 13 and len(shape) < 2:
            continue
        attributes = {} if axis is None else {"axis": axis}
        check(make_node_model(op_type, feeds, opset=opset, **attributes), feeds)


def test_softmax_over_channels_moves_nothing(check, make_model, rng):
    feeds = {"x": rng.normal(size=(1, 3, 6, 7)).astype(np.float32)}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[3, 3], name="pool"),
        helper.make_node("Softmax", ["p"], ["y"], axis=1, name="softmax"),
    ]
    assert check(make_model(nodes, feeds), feeds) == {"MAX_POOL_2D": 1, "SOFTMAX": 1}


def test_softmax_of_large_numbers(check, make_node_model):
    feeds = {"x": np.array([[1e4, -1e4, 9.999e3], [-1e4, -1e4, -1e4]], np.float32)}
    check(make_node_model("Softmax", feeds), feeds)
    check(make_node_model("LogSoftmax", feeds), feeds)


@pytest.mark.parametrize(("shape", "slope"), [((2, 3, 4), (3,)), ((1, 4), (3, 1)), ((4,), (2, 4))])
def test_prelu_refuses_slopes_that_do_not_fit(shape, slope, refusals, make_node_model):
    feeds = {"x": np.ones(shape, np.float32)}
    model = make_node_model("PRelu", feeds, {"slope": np.ones(slope, np.float32)})
    assert "slope" in refusals(model)[0]


REFUSED = [
    ("Celu", {"alpha": -1.0}, np.float32, "alpha"),
    ("Shrink", {"lambd": 1.0, "bias": 0.5}, np.float32, "bias"),
    ("Softmax", {"axis": 0}, np.float64, "float64"),
]


@pytest.mark.parametrize(("op_type", "attributes", "dtype", "word"), REFUSED)
def test_refused(op_type, attributes, dtype, word, refusals, make_model):
    feeds = {"x": np.ones((2, 3), np.float32)}
    nodes = [
        helper.make_node(
            "Cast", ["x"], ["c"], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), name="cast"
        ),
        helper.make_node(op_type, ["c"], ["y"], name="node", **attributes),
    ]
    assert any(word in reason for reason in refusals(make_model(nodes, feeds)))


@settings(max_examples=50, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    data=st.data(),
    op_type=st.sampled_from(["Softmax", "LogSoftmax", "Relu", "Softplus", "Mish", "HardSigmoid", "PRelu"]),
)
def test_any_shape(shape, data, op_type, check, make_node_model):
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(0, 3, shape).astype(np.float32)}
    attributes, constants = {}, {}
    if op_type.endswith("Softmax"):
        attributes["axis"] = data.draw(st.integers(-len(shape), len(shape) - 1))
    if op_type == "PRelu":
        kept = data.draw(st.integers(0, len(shape)))
        slope = [data.draw(st.sampled_from([1, size])) for size in shape[kept:]]
        constants["slope"] = np.asarray(rng.normal(size=slope), np.float32)
    check(make_node_model(op_type, feeds, constants, **attributes), feeds, layouts=("nhwc",))
