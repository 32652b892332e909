"""Normalization against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROGRAM = ("mlprogram",)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(1, 2, shape).astype(np.float32)


def positive(*shape):
    return np.abs(normal(*shape)) + np.float32(0.1)


def run(op_type, feeds, parameters, at_run_time, check, make_node_model, opset=18, **attributes):
    """Check a node with its parameters as constants or as inputs; the operators that it became."""
    if at_run_time:
        feeds = {**feeds, **parameters}
        model = make_node_model(op_type, feeds, opset=opset, **attributes)
    else:
        model = make_node_model(op_type, feeds, parameters, opset=opset, **attributes)
    return {name: count for name, count in check(model, feeds).items() if name != "const"}


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 5), (2, 3, 7), (1, 2, 3, 4, 5)])
def test_batch_normalization(shape, at_run_time, check, make_node_model) -> None:
    c = shape[1]
    parameters = {"scale": normal(c), "b": normal(c + 1)[:c], "mean": normal(c), "var": positive(c)}
    feeds = {"x": normal(*shape)}
    ops = run("BatchNormalization", feeds, parameters, at_run_time, check, make_node_model, epsilon=1e-3)
    if not at_run_time:
        assert ops == {"mul": 1, "add": 1}


def test_variance_beyond_float16(run_both, make_node_model) -> None:
    parameters = {"scale": normal(3), "b": normal(3), "mean": normal(3), "var": np.full(3, 1e6, np.float32)}
    feeds = {"x": normal(1, 3, 4, 5) * 1000}
    model = make_node_model("BatchNormalization", feeds, parameters)
    expected, actual, _ = run_both(model, feeds, precision="fp16")
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=5e-3, atol=1e-2)


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 3, 7), (2, 2, 3, 4, 5)])
def test_instance_normalization(shape, at_run_time, check, make_node_model) -> None:
    parameters = {"scale": normal(shape[1]), "b": normal(shape[1])}
    feeds = {"x": normal(*shape)}
    ops = run("InstanceNormalization", feeds, parameters, at_run_time, check, make_node_model, epsilon=1e-3)
    assert ops["instance_norm"] == 1


LAYER_ROWS = [
    ((2, 3, 4), -1, (4,), True),
    ((2, 3, 4), 1, (3, 4), False),
    ((2, 3, 4), 1, (4,), True),
    ((2, 3, 4), -1, (3, 4), True),
    ((1, 3, 4, 5), 1, (3, 4, 5), True),
    ((1, 3, 4, 5), -1, (1, 1, 1, 5), True),
    ((6,), 0, (6,), False),
    ((2, 3, 2, 2, 4), 2, (2, 2, 4), True),
]


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize(("shape", "axis", "scale", "bias"), LAYER_ROWS)
def test_layer_normalization(shape, axis, scale, bias, at_run_time, check, make_node_model) -> None:
    parameters = {"scale": normal(*scale)} | ({"b": normal(*scale)} if bias else {})
    feeds = {"x": normal(*shape)}
    ops = run("LayerNormalization", feeds, parameters, at_run_time, check, make_node_model, axis=axis)
    assert ops["layer_norm"] == 1


def test_layer_normalization_gives_mean_and_deviation(check, make_node_model) -> None:
    feeds, constants = {"x": normal(2, 3, 4)}, {"scale": normal(4)}
    outputs = ("y", "mean", "inverse")
    check(make_node_model("LayerNormalization", feeds, constants, outputs=outputs, epsilon=0.1), feeds)


GROUP_ROWS = [((1, 6, 4, 5), 2), ((2, 6, 7), 6), ((2, 6), 2), ((1, 4, 2, 3, 4), 1)]


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize(("shape", "groups"), GROUP_ROWS)
def test_group_normalization(shape, groups, opset, at_run_time, check, make_node_model) -> None:
    size = groups if opset == 18 else shape[1]
    parameters = {"scale": normal(size), "b": normal(size)}
    named = {"opset": opset, "num_groups": groups, "epsilon": 1e-2}
    run("GroupNormalization", {"x": normal(*shape)}, parameters, at_run_time, check, make_node_model, **named)


@pytest.mark.parametrize(
    ("shape", "axis", "scale"), [((2, 3, 4), -1, (4,)), ((2, 3, 4), 1, (3, 4)), ((5, 6), 0, (5, 6))]
)
def test_rms_normalization(shape, axis, scale, check, make_node_model) -> None:
    feeds, parameters = {"x": normal(*shape)}, {"scale": normal(*scale)}
    run("RMSNormalization", feeds, parameters, False, check, make_node_model, opset=23, axis=axis)


@pytest.mark.parametrize(("op_type", "opset"), [("RMSNormalization", 23), ("LayerNormalization", 18)])
def test_squares_beyond_float16(op_type, opset, run_both, make_node_model) -> None:
    feeds, constants = {"x": normal(2, 8, 16) * 1000}, {"scale": normal(16)}
    model = make_node_model(op_type, feeds, constants, opset=opset)
    expected, actual, _ = run_both(model, feeds, precision="fp16")
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("axes", [[0, 2, 3], [1], [-1]])
def test_mean_variance_normalization(axes, check, make_node_model) -> None:
    feeds = {"x": normal(2, 3, 4, 5)}
    check(make_node_model("MeanVarianceNormalization", feeds, axes=axes), feeds)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0])
def test_lp_normalization(p, axis, check, make_node_model) -> None:
    x = normal(2, 3, 4)
    x[0] = 0
    check(make_node_model("LpNormalization", {"x": x}, p=p, axis=axis), {"x": x})


def test_vectors_of_zeros_stay_in_float16(run_both, make_node_model) -> None:
    x = normal(2, 3, 4)
    x[0, 0] = 0
    expected, actual, _ = run_both(make_node_model("LpNormalization", {"x": x}), {"x": x}, precision="fp16")
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("size", [1, 3, 9])
@pytest.mark.parametrize("shape", [(1, 7, 4, 5), (2, 6, 1, 3)])
def test_lrn(size, shape, check, make_node_model) -> None:
    feeds = {"x": normal(*shape)}
    check(make_node_model("LRN", feeds, size=size, alpha=0.3, beta=0.6, bias=1.5), feeds)


@pytest.mark.parametrize(
    ("op_type", "attributes", "word"), [("LRN", {"size": 4}, "size=4"), ("LpNormalization", {"p": 3}, "p=3")]
)
def test_refusals(op_type, attributes, word, refusals, make_node_model) -> None:
    (reason,) = refusals(make_node_model(op_type, {"x": normal(1, 3, 4, 5)}, **attributes))
    assert word in reason


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), axis=st.integers(-4, 3))
def test_layer_normalization_of_any_shape(shape, axis, check, make_node_model) -> None:
    axis = axis % len(shape)
    # A single element has the variance 0, whose root magnifies rounding.
    shape[-1] += 1
    feeds, constants = {"x": normal(*shape)}, {"scale": normal(*shape[axis:]), "b": normal(*shape[axis:])}
    model = make_node_model("LayerNormalization", feeds, constants, axis=axis)
    check(model, feeds, 1e-3, 1e-4, PROGRAM)
