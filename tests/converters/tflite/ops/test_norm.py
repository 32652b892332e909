"""Normalization against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(1, 2, shape).astype(np.float32)


def positive(*shape):
    return np.abs(normal(*shape)) + np.float32(0.1)


def run(op_type, feeds, parameters, at_run_time, check, make_node_model, opset=18, **attributes):
    """Check a node with its parameters as constants or as inputs."""
    if at_run_time:
        feeds = {**feeds, **parameters}
        model = make_node_model(op_type, feeds, opset=opset, **attributes)
    else:
        model = make_node_model(op_type, feeds, parameters, opset=opset, **attributes)
    return check(model, feeds, **TOLERANCE)


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 5), (2, 3, 7), (1, 2, 3, 4, 5)])
def test_batch_normalization_computed_at_run_time(shape, check, make_node_model):
    c = shape[1]
    parameters = {"scale": normal(c), "b": normal(c + 1)[:c], "mean": normal(c), "var": positive(c)}
    feeds = {"x": normal(*shape)}
    made = run("BatchNormalization", feeds, parameters, True, check, make_node_model, epsilon=1e-3)
    assert made["RSQRT"] == 1


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 5), (2, 3, 7)])
def test_batch_normalization_of_constants_is_two_operators(shape, check, make_node_model):
    c = shape[1]
    parameters = {"scale": normal(c), "b": normal(c + 1)[:c], "mean": normal(c), "var": positive(c)}
    feeds = {"x": normal(*shape)}
    made = run("BatchNormalization", feeds, parameters, False, check, make_node_model)
    assert made == {"MUL": 1, "ADD": 1}


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 3, 7), (2, 2, 3, 4, 5)])
def test_instance_normalization(shape, at_run_time, check, make_node_model):
    parameters = {"scale": normal(shape[1]), "b": normal(shape[1])}
    feeds = {"x": normal(*shape)}
    made = run("InstanceNormalization", feeds, parameters, at_run_time, check, make_node_model, epsilon=1e-3)
    assert "TRANSPOSE" not in made


LAYER_ROWS = [
    ((2, 3, 4), -1, (4,), True),
    ((2, 3, 4), -1, (4,), False),
    ((2, 3, 4), 1, (3, 4), True),
    ((2, 3, 4), 0, (2, 3, 4), True),
    ((1, 3, 4, 5), 1, (3, 4, 5), True),
    ((1, 3, 4, 5), -1, (5,), True),
    ((6,), 0, (6,), False),
    ((2, 3, 2, 2, 4), 2, (2, 2, 4), True),
]


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize(("shape", "axis", "scale", "bias"), LAYER_ROWS)
def test_layer_normalization(shape, axis, scale, bias, at_run_time, check, make_node_model):
    parameters = {"scale": normal(*scale)} | ({"b": normal(*scale)} if bias else {})
    feeds = {"x": normal(*shape)}
    run("LayerNormalization", feeds, parameters, at_run_time, check, make_node_model, axis=axis)


def test_layer_normalization_gives_mean_and_deviation(check, make_node_model):
    feeds, constants = {"x": normal(2, 3, 4)}, {"scale": normal(4)}
    outputs = ("y", "mean", "inverse")
    model = make_node_model("LayerNormalization", feeds, constants, outputs=outputs, epsilon=0.1)
    check(model, feeds, **TOLERANCE)


@pytest.mark.parametrize("shape", [(5,), (3, 4, 5)])
def test_layer_normalization_of_channel_last_storage(shape, check, make_model):
    feeds = {"x": normal(1, 3, 6, 7)}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[3, 3], name="pool"),
        helper.make_node("LayerNormalization", ["p", "scale", "b"], ["y"], axis=-len(shape), name="norm"),
    ]
    constants = {"scale": normal(*shape), "b": normal(*shape)}
    made = check(make_model(nodes, feeds, constants=constants), feeds, **TOLERANCE)
    assert "TRANSPOSE" not in made


GROUP_ROWS = [((1, 6, 4, 5), 2), ((2, 6, 4, 5), 3), ((2, 6, 7), 6), ((2, 6), 2), ((1, 4, 2, 3, 4), 1)]


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize(("shape", "groups"), GROUP_ROWS)
def test_group_normalization(shape, groups, opset, at_run_time, check, make_node_model):
    size = groups if opset == 18 else shape[1]
    parameters = {"scale": normal(size), "b": normal(size)}
    feeds = {"x": normal(*shape)}
    made = run(
        "GroupNormalization",
        feeds,
        parameters,
        at_run_time,
        check,
        make_node_model,
        opset=opset,
        num_groups=groups,
        epsilon=1e-2,
    )
    assert "TRANSPOSE" not in made


@pytest.mark.parametrize(
    ("shape", "axis", "scale"), [((2, 3, 4), -1, (4,)), ((2, 3, 4), 1, (3, 4)), ((5, 6), 0, (5, 6))]
)
def test_rms_normalization(shape, axis, scale, check, make_node_model):
    feeds, parameters = {"x": normal(*shape)}, {"scale": normal(*scale)}
    run("RMSNormalization", feeds, parameters, False, check, make_node_model, opset=23, axis=axis)


@pytest.mark.parametrize("axes", [[0, 2, 3], [1], [2, 3], [-1]])
def test_mean_variance_normalization(axes, check, make_node_model):
    feeds = {"x": normal(2, 3, 4, 5)}
    check(make_node_model("MeanVarianceNormalization", feeds, axes=axes), feeds, **TOLERANCE)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_lp_normalization(p, axis, check, make_node_model):
    x = normal(2, 3, 4)
    x[0] = 0
    check(make_node_model("LpNormalization", {"x": x}, p=p, axis=axis), {"x": x}, **TOLERANCE)


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(1, 7, 4, 5), (2, 6, 1, 3)])
def test_lrn(size, shape, check, make_node_model):
    feeds = {"x": normal(*shape)}
    made = check(make_node_model("LRN", feeds, size=size, alpha=0.3, beta=0.6, bias=1.5), feeds, **TOLERANCE)
    assert made["LOCAL_RESPONSE_NORMALIZATION"] == 1
    assert "TRANSPOSE" not in made


REFUSED = [
    ("LRN", {"size": 4}, {}, (1, 3, 4, 4), "size=4"),
    ("LpNormalization", {"p": 1, "axis": 0}, {}, (0, 3), "LpNormalization"),
    ("LRN", {"size": 3}, {}, (1, 3, 4), "3 axes"),
    ("InstanceNormalization", {}, {"s": (3,), "b": (3,)}, (0, 3, 4), "shape"),
]


@pytest.mark.parametrize(("op_type", "attributes", "parameters", "shape", "word"), REFUSED)
def test_refused(op_type, attributes, parameters, shape, word, refusals, make_node_model):
    feeds = {"x": np.zeros(shape, np.float32)}
    constants = {name: np.ones(size, np.float32) for name, size in parameters.items()}
    assert word in refusals(make_node_model(op_type, feeds, constants, **attributes))[0]


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.sampled_from([2, 4, 6]), st.integers(2, 5), st.integers(2, 5)),
    op_type=st.sampled_from(["InstanceNormalization", "GroupNormalization", "LayerNormalization"]),
    axis=st.integers(-3, 3),
)
def test_any_shape(shape, op_type, axis, check, make_node_model):
    feeds = {"x": normal(*shape)}
    if op_type == "LayerNormalization":
        attributes, sizes = {"axis": axis}, shape[axis % 4 :]
    elif op_type == "GroupNormalization":
        attributes, sizes = {"num_groups": 2}, (2,)
    else:
        attributes, sizes = {}, (shape[1],)
    parameters = {"scale": normal(*sizes), "b": normal(*sizes)}
    check(make_node_model(op_type, feeds, parameters, **attributes), feeds, **TOLERANCE)
