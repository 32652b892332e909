"""Activation functions against their formulas in NeuralNetwork.proto."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(2)
X = (RNG.standard_normal((2, 3, 4, 5)) * 3).astype(np.float32)
ALPHA = np.array([0.1, 0.5, 2.0], np.float32)
BETA = np.array([1.0, 0.3, 0.7], np.float32)
C = (slice(None), None, None)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("kind", "params", "function"),
    [
        ("RELU", None, lambda x: np.maximum(x, 0)),
        ("LEAKYRELU", [0.3], lambda x: np.where(x >= 0, x, 0.3 * x)),
        ("PRELU", ALPHA, lambda x: np.where(x >= 0, x, ALPHA[C] * x)),
        ("PRELU", np.array([0.25], np.float32), lambda x: np.where(x >= 0, x, 0.25 * x)),
        ("ELU", 0.7, lambda x: np.where(x >= 0, x, 0.7 * (np.exp(x) - 1))),
        ("THRESHOLDEDRELU", 0.5, lambda x: np.where(x >= 0.5, x, 0)),
        ("TANH", None, np.tanh),
        ("SCALED_TANH", [1.5, 0.4], lambda x: 1.5 * np.tanh(0.4 * x)),
        ("SIGMOID", None, sigmoid),
        ("SIGMOID_HARD", [0.3, 0.4], lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
        ("LINEAR", [2.0, -1.0], lambda x: 2 * x - 1),
        ("LINEAR", [-1.0, 0.0], lambda x: -x),
        ("SOFTPLUS", None, lambda x: np.log1p(np.exp(x))),
        ("SOFTSIGN", None, lambda x: x / (1 + np.abs(x))),
        ("PARAMETRICSOFTPLUS", [ALPHA, BETA], lambda x: ALPHA[C] * np.log1p(np.exp(BETA[C] * x))),
    ],
)
def test_activation(check_layers, kind, params, function):
    shape = {"input_shape": X.shape, "input_rank": 4}
    check_layers(lambda b: b.add_activation("a", kind, "x", "y", params, **shape), [X], function(X))


def test_softplus_of_large_numbers(check_layers):
    x = np.array([-200.0, 0.0, 200.0], np.float32)
    check_layers(
        lambda b: b.add_activation("a", "SOFTPLUS", "x", "y"), [x], [np.array([0, math.log(2), 200])]
    )


@pytest.mark.parametrize(
    ("mode", "function"),
    [
        ("EXACT", lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        (
            "TANH_APPROXIMATION",
            lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ),
        ("SIGMOID_APPROXIMATION", lambda x: x * sigmoid(1.702 * x)),
    ],
)
def test_gelu(check_layers, mode, function):
    check_layers(lambda b: b.add_gelu("g", "x", "y", mode), [X], function(X))


def test_clamped_relu(check_layers):
    want = np.minimum(2.0, np.where(X >= 0, X, 0.3 * X))
    check_layers(lambda b: b.add_clamped_relu("a", "x", "y", 0.3, 2.0), [X], want)


def test_parameters_that_do_not_fit_the_channels(run_layers):
    def build(b):
        b.add_activation("a", "PRELU", "x", "y", ALPHA, input_shape=(1, 3, 4, 4), input_rank=4)

    with pytest.raises(UnsupportedError, match=r"activation 'a': 3 parameters do not fit"):
        run_layers(build, [X[:, :2]])


def test_unset_function_is_refused(run_layers):
    def build(b):
        b.add_activation("a", "RELU", "x", "y")
        b.spec.neuralNetwork.layers[0].activation.ClearField("ReLU")
        b.spec.neuralNetwork.layers[0].activation.SetInParent()

    with pytest.raises(UnsupportedError, match="NonlinearityType is not set"):
        run_layers(build, [X])
