"""Recurrent layers. Sequences are [Seq, Batch, size, 1, 1], states [1, Batch, size, 1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.activation import recurrent_activation
from toolchain.runtimes.neuralnetwork.weights import decoded

CLIP = 50.0
"""The argument of every activation is limited to this."""

CELL_CLIP = 50.0

State = tuple[torch.Tensor, ...]
Cell = Callable[[torch.Tensor, State], State]
"""One step: input and state to the next state, whose first part is the output."""


def _clipped(x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x, -CLIP, CLIP)


class _Gate:
    """clip(W x + R y + b)."""

    def __init__(self, p: Any, names: Sequence[str], sizes: tuple[int, int], has_bias: bool) -> None:
        inputs, outputs = sizes
        weight, recursion, bias = names
        self.weight = decoded(getattr(p, weight), (outputs, inputs)).T
        self.recursion = decoded(getattr(p, recursion), (outputs, outputs)).T
        self.bias = decoded(getattr(p, bias), (outputs,)) if has_bias else torch.zeros(outputs)

    def __call__(self, x: torch.Tensor, y: torch.Tensor, extra: torch.Tensor | float = 0.0) -> torch.Tensor:
        return _clipped(x @ self.weight + y @ self.recursion + extra + self.bias)


def _gate_names(gate: str) -> tuple[str, str, str]:
    return f"{gate}WeightMatrix", f"{gate}RecursionMatrix", f"{gate}BiasVector"


@computes("simpleRecurrent")
def simple_recurrent(p: Any) -> Kernel:
    """y = f(W x + R y + b)."""
    sizes = (int(p.inputVectorSize), int(p.outputVectorSize))
    f = recurrent_activation(p.activation)
    gate = _Gate(p, ("weightMatrix", "recursionMatrix", "biasVector"), sizes, p.hasBiasVector)
    return _layer(lambda x, state: (f(gate(x, state[0])),), p, sizes, p.sequenceOutput, 1)


@computes("gru")
def gru(p: Any) -> Kernel:
    """The gated recurrent unit, whose reset gate acts before the recursion matrix."""
    sizes = (int(p.inputVectorSize), int(p.outputVectorSize))
    f, g = (recurrent_activation(item) for item in _exactly(p.activations, 2))
    update, reset, output = (
        _Gate(p, _gate_names(gate), sizes, p.hasBiasVectors)
        for gate in ("updateGate", "resetGate", "outputGate")
    )

    def cell(x: torch.Tensor, state: State) -> State:
        (y,) = state
        z, r = f(update(x, y)), f(reset(x, y))
        return ((1 - z) * g(output(x, y * r)) + z * y,)

    return _layer(cell, p, sizes, p.sequenceOutput, 1)


@computes("uniDirectionalLSTM")
def unidirectional_lstm(p: Any) -> Kernel:
    """Long short-term memory; the state is the output and the cell."""
    sizes = (int(p.inputVectorSize), int(p.outputVectorSize))
    cell = _lstm_cell(p.weightParams, p.params, p.activations, sizes)
    return _layer(cell, p, sizes, p.params.sequenceOutput, 2)


@computes("biDirectionalLSTM")
def bidirectional_lstm(p: Any) -> Kernel:
    """Two LSTMs, the second from the end to the start; outputs lie side by side at the same time."""
    sizes = (int(p.inputVectorSize), int(p.outputVectorSize))
    pairs = zip(
        _exactly(p.weightParams, 2), (p.activationsForwardLSTM, p.activationsBackwardLSTM), strict=True
    )
    forward, backward = (_lstm_cell(weights, p.params, functions, sizes) for weights, functions in pairs)

    def run(x: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sequence = _sequence(x, sizes[0])
        states = _states(given, 4, sequence.shape[1], sizes[1])
        outputs, last = _unrolled(forward, sequence, states[:2])
        outputs_back, last_back = _unrolled(backward, sequence.flip(0), states[2:])
        if p.params.sequenceOutput:
            y = torch.cat([outputs, outputs_back.flip(0)], -1)
        else:
            y = torch.cat([last[0], last_back[0]], -1)[None]
        return _as_given((y, *(state[None] for state in (*last, *last_back))), given)

    return run


def _lstm_cell(weights: Any, p: Any, activations: Any, sizes: tuple[int, int]) -> Cell:
    f, g, h = (recurrent_activation(item) for item in _exactly(activations, 3))
    gates = {
        gate: _Gate(weights, _gate_names(gate), sizes, p.hasBiasVectors)
        for gate in ("inputGate", "forgetGate", "blockInput", "outputGate")
    }
    if p.forgetBias:
        gates["forgetGate"].bias = gates["forgetGate"].bias + 1
    peepholes = {
        gate: decoded(getattr(weights, f"{gate}PeepholeVector"), sizes[1:])
        if p.hasPeepholeVectors
        else torch.zeros(sizes[1])
        for gate in ("inputGate", "forgetGate", "outputGate")
    }
    limit = p.cellClipThreshold or CELL_CLIP

    def cell(x: torch.Tensor, state: State) -> State:
        y, c = state
        taken = f(gates["inputGate"](x, y, peepholes["inputGate"] * c))
        kept = (
            1 - taken
            if p.coupledInputAndForgetGate
            else f(gates["forgetGate"](x, y, peepholes["forgetGate"] * c))
        )
        c = torch.clamp(c * kept + taken * g(gates["blockInput"](x, y)), -limit, limit)
        return h(c) * f(gates["outputGate"](x, y, peepholes["outputGate"] * c)), c

    return cell


def _exactly(items: Any, count: int) -> Any:
    if len(items) != count:
        raise UnsupportedError(f"needs {count} entries, has {len(items)}")
    return items


def _layer(cell: Cell, p: Any, sizes: tuple[int, int], sequence_output: bool, states: int) -> Kernel:
    """A layer in one direction. In reverse, the order of a sequence of outputs is not specified."""

    def run(x: torch.Tensor, *given: torch.Tensor) -> Any:
        sequence = _sequence(x, sizes[0])
        if p.reverseInput and sequence_output and sequence.shape[0] > 1:
            raise UnsupportedError(
                "reverseInput with sequenceOutput: the order of the outputs is not specified"
            )
        first = _states(given, states, sequence.shape[1], sizes[1])
        outputs, last = _unrolled(cell, sequence.flip(0) if p.reverseInput else sequence, first)
        y = outputs if sequence_output else last[0][None]
        return _as_given((y, *(state[None] for state in last)), given)

    return run


def _sequence(x: torch.Tensor, size: int) -> torch.Tensor:
    if x.ndim != 5 or x.shape[2:] != (size, 1, 1):
        raise UnsupportedError(f"takes [Seq, Batch, {size}, 1, 1], got {tuple(x.shape)}")
    return x[..., 0, 0]


def _states(given: Sequence[torch.Tensor], count: int, batch: int, size: int) -> State:
    """The initial states, zeros when none are given."""
    if not given:
        return tuple(torch.zeros(batch, size) for _ in range(count))
    return tuple(state.reshape(batch, size) for state in _exactly(given, count))


def _unrolled(cell: Cell, sequence: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
    outputs = []
    for x in sequence:
        state = cell(x, state)
        outputs.append(state[0])
    return torch.stack(outputs), state


def _as_given(results: tuple[torch.Tensor, ...], given: Sequence[torch.Tensor]) -> Any:
    """[..., size, 1, 1]; a layer that takes no states gives none."""
    shaped = tuple(result[..., None, None] for result in results)
    return shaped if given else shaped[:1]
