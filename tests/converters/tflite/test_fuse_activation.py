"""Activations are fused into the operator before, and nowhere where that would change a result."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from toolchain.converters.tflite.fuse_activation import fuse_activation
from toolchain.converters.tflite.program import Activation, Op, Operator, Program, Tensor

WEIGHTS = np.random.default_rng(1).normal(size=(4, 4, 3, 3)).astype(np.float32)
DEPTHWISE = np.random.default_rng(2).normal(size=(4, 1, 3, 3)).astype(np.float32)
LIMITS = {"zero": np.float32(0), "one": np.float32(1), "six": np.float32(6), "minus": np.float32(-1)}
CONSTANTS = {"w": WEIGHTS, "d": DEPTHWISE, "c": np.float32([[[0.5]], [[-1]], [[2]], [[1]]]), **LIMITS}


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], name=f"n_{output}", **attributes)


@pytest.fixture
def feeds(rng):
    return {"x": rng.normal(0, 2, (1, 4, 8, 8)).astype(np.float32)}


PRODUCERS = [
    (node("Conv", ["x", "w"], "p"), "CONV_2D"),
    (node("Conv", ["x", "d"], "p", group=4), "DEPTHWISE_CONV_2D"),
    (node("Add", ["x", "c"], "p"), "ADD"),
    (node("Sub", ["x", "c"], "p"), "SUB"),
    (node("Mul", ["x", "c"], "p"), "MUL"),
    (node("Div", ["c", "x"], "p"), "DIV"),
    (node("MaxPool", ["x"], "p", kernel_shape=[2, 2]), "MAX_POOL_2D"),
    (node("AveragePool", ["x"], "p", kernel_shape=[2, 2]), "AVERAGE_POOL_2D"),
]
ACTIVATIONS = [
    node("Relu", ["p"], "y"),
    node("Clip", ["p", "zero", "six"], "y"),
    node("Clip", ["p", "minus", "one"], "y"),
]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("producer", "kernel"), PRODUCERS)
def test_fused(producer, kernel, activation, feeds, check, make_model):
    made = check(make_model([producer, activation], feeds, constants=CONSTANTS), feeds, rtol=1e-4)
    assert made == {kernel: 1}


def test_other_bounds_are_not_fused(feeds, check, make_model):
    nodes = [PRODUCERS[0][0], node("Clip", ["p", "zero", "one"], "y")]
    made = check(make_model(nodes, feeds, constants=CONSTANTS), feeds, rtol=1e-4)
    assert made == {"CONV_2D": 1, "MAXIMUM": 1, "MINIMUM": 1}


def test_a_value_with_another_reader_stays(feeds, check, make_model):
    nodes = [PRODUCERS[0][0], node("Relu", ["p"], "r"), node("Add", ["p", "r"], "y")]
    made = check(make_model(nodes, feeds, constants=CONSTANTS), feeds, rtol=1e-4)
    assert made == {"CONV_2D": 1, "RELU": 1, "ADD": 1}


def test_an_output_stays(feeds, check, make_model):
    nodes = [PRODUCERS[0][0], node("Relu", ["p"], "y")]
    made = check(make_model(nodes, feeds, ["p", "y"], CONSTANTS), feeds, rtol=1e-4)
    assert made["RELU"] == 1


def test_the_activation_of_an_input_stays(feeds, check, make_model):
    nodes = [node("Relu", ["x"], "r"), node("Mul", ["r", "c"], "y")]
    made = check(make_model(nodes, feeds, constants=CONSTANTS), feeds)
    assert made == {"RELU": 1, "MUL": 1}


def test_operators_without_the_field_stay(feeds, check, make_model):
    nodes = [node("ConvTranspose", ["x", "w"], "p"), node("Relu", ["p"], "y")]
    made = check(make_model(nodes, feeds, constants=CONSTANTS), feeds, rtol=1e-4)
    assert made == {"TRANSPOSE_CONV": 1, "RELU": 1}


def test_a_second_activation_is_not_fused_over_the_first():
    from ai_edge_litert import schema_py_generated as schema

    a, b, c, d = (Tensor(name, (2,), np.dtype(np.float32)) for name in "abcd")
    program = Program([a], [d])
    program.operators = [
        Operator(Op.ADD, [a, a], [b], schema.AddOptionsT()),
        Operator(Op.RELU6, [b], [c]),
        Operator(Op.RELU_N1_TO_1, [c], [d]),
    ]
    assert fuse_activation(program)
    assert [operator.name for operator in program.operators] == ["ADD", "RELU_N1_TO_1"]
    assert program.operators[0].options.fusedActivationFunction == Activation.RELU6
    assert program.operators[0].outputs == [c]
    assert not fuse_activation(program)
