"""Additions of constants behind a matrix product become its bias."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from toolchain.converters.tflite.flatbuffer import serialize
from toolchain.converters.tflite.fuse_bias import fuse_bias
from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import Activation, Op, Operator, Program, Tensor

FLOAT = np.dtype(np.float32)
RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(-1, 1, (2, 3, 4)).astype(np.float32)
WEIGHTS = RANDOM.uniform(-1, 1, (5, 4)).astype(np.float32)


def product_and_sum(other: np.ndarray, swapped=False, activation=Activation.NONE, bias=None) -> Program:
    """A product of x (2, 3, 4) and the weights, plus a constant."""
    x, y = Tensor("x", (2, 3, 4), FLOAT), Tensor("y", (2, 3, 5), FLOAT)
    z = Tensor("z", np.broadcast_shapes(y.shape, other.shape), FLOAT)
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    held = None if bias is None else Tensor("bias", bias.shape, FLOAT, bias)
    inputs = [x, Tensor("w", (5, 4), FLOAT, WEIGHTS), held]
    version = lowest_version(Op.FULLY_CONNECTED, inputs, [y], options)
    product = Operator(Op.FULLY_CONNECTED, inputs, [y], options, version)
    addition = schema.AddOptionsT()
    addition.fusedActivationFunction = activation
    constant = Tensor("c", other.shape, FLOAT, other)
    operands = [constant, y] if swapped else [y, constant]
    return Program([x], [z], [product, Operator(Op.ADD, operands, [z], addition)])


def run(program: Program) -> np.ndarray:
    interpreter = Interpreter(model_content=serialize(program))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], X)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1, 1, 5), (), (1,)])
def test_fused(shape, swapped, activation):
    program = product_and_sum(numbers(*shape), swapped, activation)
    expected = run(program)
    assert fuse_bias(program)
    assert program.histogram() == {"FULLY_CONNECTED": 1}
    np.testing.assert_allclose(run(program), expected, rtol=1e-6, atol=1e-6)
    assert not fuse_bias(program)


@pytest.mark.parametrize("shape", [(3, 1), (3, 5), (2, 1, 5), (4, 1, 1, 5)])
def test_other_shapes_stay(shape):
    assert not fuse_bias(product_and_sum(numbers(*shape)))


def test_a_product_with_a_bias_stays():
    assert not fuse_bias(product_and_sum(numbers(5), bias=numbers(5)))


def test_a_product_with_an_activation_stays():
    program = product_and_sum(numbers(5))
    program.operators[0].options.fusedActivationFunction = Activation.RELU
    assert not fuse_bias(program)


def test_a_product_that_is_read_elsewhere_stays():
    program = product_and_sum(numbers(5))
    program.outputs.append(program.operators[0].outputs[0])
    assert not fuse_bias(program)
