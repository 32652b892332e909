"""Recurrent layers against torch and, for GRU, the formula of coremltools' tests on devices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError

GENERATOR = np.random.default_rng(31)
S, B, FEATURES, H = 5, 2, 3, 4
ACTIVATIONS = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def _random(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32) * np.float32(0.5)


X = _random(S, B, FEATURES)


def _given(layer: torch.nn.RNNBase, suffix: str, order: list[int]) -> dict[str, np.ndarray]:
    """Weights of a torch layer with the gates in MIL's order and one bias."""

    def parts(name: str) -> np.ndarray:
        chunks = np.split(getattr(layer, name + "_l0" + suffix).detach().numpy(), len(order))
        return np.concatenate([chunks[place] for place in order])

    return {"weight_ih": parts("weight_ih"), "weight_hh": parts("weight_hh")} | {
        "bias": parts("bias_ih") + parts("bias_hh")
    }


def _checked(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for value, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("sequence", [True, False])
def test_rnn(run_program: Callable, direction: str, sequence: bool) -> None:
    layer, h = torch.nn.RNN(FEATURES, H), _random(B, H)

    def build(mb, x, h):
        parameters = _given(layer, "", [0])
        return mb.rnn(x=x, initial_h=h, direction=direction, output_sequence=sequence, **parameters)

    read = X[::-1].copy() if direction == "reverse" else X
    states, last = (
        value.detach().numpy() for value in layer(torch.from_numpy(read), torch.from_numpy(h)[None])
    )
    got = list(run_program(build, {"x": X, "h": h}).values())
    _checked(got, [states if sequence else states[-1:], last[0]])


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_activations(run_program: Callable, activation: str) -> None:
    weight_ih, weight_hh, h = _random(H, FEATURES), _random(H, H), _random(B, H)

    def build(mb, x, h):
        return mb.rnn(x=x, initial_h=h, weight_ih=weight_ih, weight_hh=weight_hh, activation=activation)

    state = h
    for part in X:
        state = ACTIVATIONS[activation](part @ weight_ih.T + state @ weight_hh.T)
    _checked(list(run_program(build, {"x": X, "h": h}).values()), [state[None], state])


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize(("gate", "act"), [("sigmoid", "tanh"), ("hard_sigmoid", "relu")])
def test_gru(run_program: Callable, direction: str, gate: str, act: str) -> None:
    weight_ih, weight_hh, bias, h = _random(3 * H, FEATURES), _random(3 * H, H), _random(3 * H), _random(B, H)

    def build(mb, x, h):
        return mb.gru(
            x=x,
            initial_h=h,
            weight_ih=weight_ih,
            weight_hh=weight_hh,
            bias=bias,
            direction=direction,
            output_sequence=True,
            recurrent_activation=gate,
            activation=act,
        )

    (in_r, in_o, in_z), (from_r, from_o, from_z) = np.split(weight_ih, 3), np.split(weight_hh, 3)
    bias_r, bias_o, bias_z = np.split(bias, 3)
    state, states = h, []
    for part in X[::-1] if direction == "reverse" else X:
        r = ACTIVATIONS[gate](part @ in_r.T + state @ from_r.T + bias_r)
        z = ACTIVATIONS[gate](part @ in_z.T + state @ from_z.T + bias_z)
        o = ACTIVATIONS[act](part @ in_o.T + (r * state) @ from_o.T + bias_o)
        state = (1 - z) * o + z * state
        states.append(state)
    _checked(list(run_program(build, {"x": X, "h": h}).values()), [np.stack(states), state])


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("sequence", [True, False])
def test_lstm(run_program: Callable, direction: str, sequence: bool) -> None:
    layer, h, c = torch.nn.LSTM(FEATURES, H), _random(B, H), _random(B, H)

    def build(mb, x, h, c):
        parameters = _given(layer, "", [0, 1, 3, 2])
        return mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            direction=direction,
            output_sequence=sequence,
            clip=50.0,
            **parameters,
        )

    read = torch.from_numpy(X[::-1].copy() if direction == "reverse" else X)
    states, (last, memory) = layer(read, (torch.from_numpy(h)[None], torch.from_numpy(c)[None]))
    got = list(run_program(build, {"x": X, "h": h, "c": c}).values())
    expected = [states if sequence else states[-1:], last[0], memory[0]]
    _checked(got, [value.detach().numpy() for value in expected])


@pytest.mark.parametrize("sequence", [True, False])
def test_bidirectional_lstm(run_program: Callable, sequence: bool) -> None:
    layer, h, c = torch.nn.LSTM(FEATURES, H, bidirectional=True), _random(2, B, H), _random(2, B, H)
    back = {f"{name}_back": value for name, value in _given(layer, "_reverse", [0, 1, 3, 2]).items()}

    def build(mb, x, h, c):
        parameters = _given(layer, "", [0, 1, 3, 2]) | back
        return mb.lstm(
            x=x, initial_h=h, initial_c=c, direction="bidirectional", output_sequence=sequence, **parameters
        )

    states, (last, memory) = layer(torch.from_numpy(X), (torch.from_numpy(h), torch.from_numpy(c)))
    states, last, memory = (value.detach().numpy() for value in (states, last, memory))
    inputs = {"x": X, "h": np.concatenate(list(h), -1), "c": np.concatenate(list(c), -1)}
    got = list(run_program(build, inputs).values())
    ends = np.concatenate(list(last), -1)
    _checked(got, [states if sequence else ends[None], ends, np.concatenate(list(memory), -1)])


def _peepholes(weights: dict[str, np.ndarray], names: tuple[str, str, str]) -> np.ndarray:
    gate, cell, out = (ACTIVATIONS[name] for name in names)
    look_i, look_f, look_o = np.split(weights["peephole"], 3)
    h = c = np.zeros((B, H), np.float32)
    states = []
    for part in X:
        i, f, o, z = np.split(part @ weights["weight_ih"].T + h @ weights["weight_hh"].T, 4, -1)
        c = gate(f + look_f * c) * c + gate(i + look_i * c) * cell(z)
        h = gate(o + look_o * c) * out(c)
        states.append(h)
    return np.stack(states)


@pytest.mark.parametrize("names", [("sigmoid", "tanh", "tanh"), ("hard_sigmoid", "relu", "linear")])
def test_peepholes(run_program: Callable, names: tuple[str, str, str]) -> None:
    sizes = {"weight_ih": (4 * H, FEATURES), "weight_hh": (4 * H, H), "peephole": (3 * H,)}
    weights = {name: _random(*size) for name, size in sizes.items()}
    zeros = np.zeros((B, H), np.float32)

    def build(mb, x):
        gate, cell, out = names
        return mb.lstm(
            x=x,
            initial_h=zeros,
            initial_c=zeros,
            output_sequence=True,
            recurrent_activation=gate,
            cell_activation=cell,
            activation=out,
            **weights,
        )

    states, *_ = run_program(build, {"x": X}).values()
    np.testing.assert_allclose(states, _peepholes(weights, names), atol=2e-6)


def test_a_clip_that_matters_is_refused(run_program: Callable) -> None:
    layer, zeros = torch.nn.LSTM(FEATURES, H), np.zeros((B, H), np.float32)

    def build(mb, x):
        parameters = _given(layer, "", [0, 1, 3, 2])
        return mb.lstm(x=x, initial_h=zeros, initial_c=zeros, clip=0.01, **parameters)

    with pytest.raises(UnsupportedError, match="clip"):
        run_program(build, {"x": X})
