"""Recurrent layers against torch's and against their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(9)
SEQUENCE, BATCH, INPUTS, HIDDEN = 4, 2, 3, 5
SHAPES = ((HIDDEN, INPUTS), (HIDDEN, HIDDEN), (HIDDEN,))


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.5).astype(np.float32)


X = normal(SEQUENCE, BATCH, INPUTS, 1, 1)
FLAT = torch.tensor(X[..., 0, 0])
NAMES = ("y", "y1", "y2", "y3", "y4")


def states(count):
    return [normal(1, BATCH, HIDDEN, 1, 1) for _ in range(count)]


def rank5(*tensors):
    return tuple(tensor.detach().numpy()[..., None, None] for tensor in tensors)


def gates(module, suffix=""):
    """W_x, W_h and b of torch's layer by gate; torch adds two biases."""
    weights = [getattr(module, f"weight_{kind}_l0{suffix}").detach().numpy() for kind in ("ih", "hh")]
    bias = sum(getattr(module, f"bias_{kind}_l0{suffix}").detach().numpy() for kind in ("ih", "hh"))
    count = len(bias) // HIDDEN
    return [np.split(values, count) for values in (*weights, bias)]


def in_order(parts, order):
    return [parts[index] for index in order]


IFOZ = (0, 1, 3, 2)
"""torch has the gates i, f, z, o; coremltools takes i, f, o, z."""


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_lstm(check_layers, every, given):
    module = torch.nn.LSTM(INPUTS, HIDDEN)
    w_x, w_h, b = (in_order(parts, IFOZ) for parts in gates(module))
    first = states(2) if given else []
    start = tuple(torch.tensor(state[..., 0, 0]) for state in first)
    y, (h, c) = module(FLAT, start or None)
    want = rank5(y if every else h, *((h, c) if given else ()))

    def build(builder):
        builder.add_unilstm(
            "r", w_h, w_x, b, HIDDEN, INPUTS, ["x", "x1", "x2"][: 1 + len(first)], NAMES[: len(want)],
            output_all=every,
        )  # fmt: skip

    check_layers(build, [X, *first], want)


@pytest.mark.parametrize("every", [False, True])
def test_bidirectional_lstm(check_layers, every):
    module = torch.nn.LSTM(INPUTS, HIDDEN, bidirectional=True)
    w_x, w_h, b = (in_order(parts, IFOZ) for parts in gates(module))
    back_x, back_h, back_b = (in_order(parts, IFOZ) for parts in gates(module, "_reverse"))
    first = states(4)
    h0, c0, h1, c1 = (torch.tensor(state[..., 0, 0]) for state in first)
    y, (h, c) = module(FLAT, (torch.cat([h0, h1]), torch.cat([c0, c1])))
    last = torch.cat([h[:1], h[1:]], -1)
    want = rank5(y if every else last, h[:1], c[:1], h[1:], c[1:])

    def build(builder):
        builder.add_bidirlstm(
            "r", w_h, w_x, b, back_h, back_x, back_b, HIDDEN, INPUTS, ["x", "x1", "x2", "x3", "x4"], NAMES,
            output_all=every,
        )  # fmt: skip

    check_layers(build, [X, *first], want)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("coupled", [False, True])
def test_lstm_with_peepholes_and_limits(check_layers, coupled):
    w_x, w_h, b = (
        [normal(*shape) * 4 for _ in range(4)] for shape in ((HIDDEN, INPUTS), (HIDDEN, HIDDEN), (HIDDEN,))
    )
    peep = [normal(HIDDEN) for _ in range(3)]
    y = c = np.zeros((BATCH, HIDDEN), np.float32)
    for x in X[::-1, ..., 0, 0]:
        i, f, o, z = (x @ w.T + y @ r.T + bias for w, r, bias in zip(w_x, w_h, b, strict=True))
        i = sigmoid(i + peep[0] * c)
        f = 1 - i if coupled else sigmoid(f + peep[1] * c + 1)
        c = np.clip(c * f + i * np.tanh(z), -0.3, 0.3)
        y = np.maximum(c, 0) * sigmoid(o + peep[2] * c)

    def build(builder):
        builder.add_unilstm(
            "r", w_h, w_x, b, HIDDEN, INPUTS, ["x"], ["y"], output_activation="RELU", peep=peep,
            forget_bias=True, coupled_input_forget_gate=coupled, cell_clip_threshold=0.3, reverse_input=True,
        )  # fmt: skip

    check_layers(build, [X], y[None, ..., None, None])


@pytest.mark.parametrize("every", [False, True])
def test_gru(check_layers, every):
    w_x, w_h, b = (
        [normal(*shape) for _ in range(3)] for shape in ((HIDDEN, INPUTS), (HIDDEN, HIDDEN), (HIDDEN,))
    )
    (first,) = states(1)
    y, outputs = first[0, ..., 0, 0], []
    for x in X[..., 0, 0]:
        z, r = (sigmoid(x @ w_x[gate].T + y @ w_h[gate].T + b[gate]) for gate in range(2))
        o = np.tanh(x @ w_x[2].T + (y * r) @ w_h[2].T + b[2])
        y = (1 - z) * o + z * y
        outputs.append(y)
    last = y[None, ..., None, None]

    def build(builder):
        builder.add_gru(
            "r", w_h, w_x, b, HIDDEN, INPUTS, ["x", "x1"], ["y", "y1"], "TANH", "SIGMOID", output_all=every
        )

    check_layers(build, [X, first], (np.stack(outputs)[..., None, None] if every else last, last))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("TANH", np.tanh),
        ("RELU", lambda x: np.maximum(x, 0)),
        ("LINEAR", lambda x: x),
        ("SIGMOID", sigmoid),
        ("SIGMOID_HARD", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        ("SCALED_TANH", lambda x: 1.7159 * np.tanh(2 / 3 * x)),
    ],
)
def test_simple_recurrent(check_layers, name, function):
    w_x, w_h, b = normal(HIDDEN, INPUTS), normal(HIDDEN, HIDDEN), normal(HIDDEN)
    y, outputs = np.zeros((BATCH, HIDDEN), np.float32), []
    for x in X[..., 0, 0]:
        y = function(np.clip(x @ w_x.T + y @ w_h.T + b, -50, 50))
        outputs.append(y)

    def build(builder):
        builder.add_simple_rnn("r", w_h, w_x, b, HIDDEN, INPUTS, name, ["x"], ["y"], output_all=True)

    check_layers(build, [X], np.stack(outputs)[..., None, None])


def test_reversed_sequence_of_outputs_is_refused(run_layers):
    def build(builder):
        builder.add_simple_rnn(
            "r", normal(HIDDEN, HIDDEN), normal(HIDDEN, INPUTS), None, HIDDEN, INPUTS, "TANH", ["x"], ["y"],
            output_all=True, reverse_input=True,
        )  # fmt: skip

    with pytest.raises(UnsupportedError, match="simpleRecurrent 'r': reverseInput with sequenceOutput"):
        run_layers(build, [X])


def test_activation_with_other_parameters_is_refused(run_layers):
    def build(builder):
        builder.add_simple_rnn(
            "r",
            normal(HIDDEN, HIDDEN),
            normal(HIDDEN, INPUTS),
            None,
            HIDDEN,
            INPUTS,
            "SIGMOID_HARD",
            ["x"],
            ["y"],
        )
        builder.spec.neuralNetwork.layers[0].simpleRecurrent.activation.sigmoidHard.alpha = 0.3

    with pytest.raises(
        UnsupportedError, match="simpleRecurrent 'r': recurrent layers have sigmoidHard only with"
    ):
        run_layers(build, [X])
