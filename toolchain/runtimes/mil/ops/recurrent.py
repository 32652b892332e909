"""Recurrent layers over (sequence, batch, features).

The reverse direction reads the sequence from its end and gives results in the order in which it computes
them; the backward half of a bidirectional layer gives them in the order of the sequence, as torch does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, number

Activation = Callable[[Tensor], Tensor]


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


def _itself(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "scaled_tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "relu": torch.relu,
    "linear": _itself,
}
"""With the standard parameters, since the operators have none: scaled_tanh is tanh(x)."""


def _activation(name: str) -> Activation:
    if name.lower() not in ACTIVATIONS:
        raise UnsupportedError(f"recurrent layer: activation '{name}' is not known")
    return ACTIVATIONS[name.lower()]


@computes("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor | bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """Next state act(W x + R h + b).

    Args:
        x: (s, b, I).
        initial_h: (b, H).
        weight_ih: W, (H, I).
        weight_hh: R, (H, H).
        bias: b, (H,).
        direction: "forward" or "reverse".
        output_sequence: every h or the last one only.
        activation: its name.

    Returns:
        (s or 1, b, H) states, (b, H) the last one.
    """
    act = _activation(activation)
    state, states = initial_h, []
    for part in _ordered(_inputs(x, weight_ih, bias), direction):
        state = act(part + state @ weight_hh.T)
        states.append(state)
    return _collected(states, output_sequence), state


@computes("gru")
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor | bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """Next state (1 - z) o + z h with o = act(W_o x + R_o (r h) + b_o), gates r and z.

    The reset gate is applied before the product with R_o: so coremltools' device tests compute it, while its
    documentation can be read otherwise (torch's GRU applies it after).

    Args:
        x: (s, b, I).
        initial_h: (b, H).
        weight_ih: (3 H, I), in the order r, o, z.
        weight_hh: (3 H, H), in the same order.
        bias: (3 H,).
        direction: "forward" or "reverse".
        output_sequence: every h or the last one only.
        recurrent_activation: of r and z.
        activation: of o.

    Returns:
        (s or 1, b, H) states, (b, H) the last one.
    """
    gate, act = _activation(recurrent_activation), _activation(activation)
    from_r, from_o, from_z = weight_hh.chunk(3)
    state, states = initial_h, []
    for part in _ordered(_inputs(x, weight_ih, bias), direction):
        part_r, part_o, part_z = part.chunk(3, -1)
        reset = gate(part_r + state @ from_r.T)
        update = gate(part_z + state @ from_z.T)
        made = act(part_o + (reset * state) @ from_o.T)
        state = (1 - update) * made + update * state
        states.append(state)
    return _collected(states, output_sequence), state


@dataclass(frozen=True)
class _Cell:
    """What both directions of an LSTM share."""

    gate: Activation
    cell: Activation
    out: Activation
    clip: float | None

    def run(
        self,
        inputs: Tensor,
        weight_hh: Tensor,
        peephole: Tensor | None,
        state: Tensor,
        memory: Tensor,
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """States of every step and the last state and memory; `inputs` are W x + b, (s, b, 4 H)."""
        looks = torch.zeros(3 * memory.shape[-1]) if peephole is None else peephole
        look_i, look_f, look_o = looks.chunk(3)
        states = []
        for part in inputs:
            given_i, given_f, given_o, given_z = (part + state @ weight_hh.T).chunk(4, -1)
            given_i, given_f = given_i + look_i * memory, given_f + look_f * memory
            made = self.cell(given_z)
            memory = self.gate(given_f) * memory + self.gate(given_i) * made
            given_o = given_o + look_o * memory
            self._check(given_i, given_f, given_o, given_z, made, memory)
            state = self.gate(given_o) * self.out(memory)
            states.append(state)
        return states, state, memory

    def _check(self, *values: Tensor) -> None:
        """Core ML does not say which of these it clips: fine as long as that makes no change."""
        if self.clip is not None and any(bool((value.abs() > self.clip).any()) for value in values):
            raise UnsupportedError(
                f"lstm: values beyond the clip of {self.clip}, whose effect is not defined"
            )


@computes("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor | bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Memory c = f c + i z, state h = o act(c); gates i, f, o see c through the peepholes, o the new one.

    Args:
        x: (s, b, I).
        initial_h: (b, H), or (b, 2 H) forward and backward.
        initial_c: likewise.
        weight_ih: (4 H, I), in the order i, f, o, z.
        weight_hh: (4 H, H), in the same order.
        bias: (4 H,).
        peephole: (3 H,) for i, f, o.
        weight_ih_back: of the backward half, as are the next three.
        weight_hh_back: (4 H, H).
        bias_back: (4 H,).
        peephole_back: (3 H,).
        direction: "forward", "reverse" or "bidirectional".
        output_sequence: every h or the last one only.
        recurrent_activation: of i, f and o.
        cell_activation: of z.
        activation: of c in h.
        clip: bound of the cell.

    Returns:
        (s or 1, b, H or 2 H) states, (b, H or 2 H) the last state, the last memory.
    """
    cell = _Cell(
        _activation(recurrent_activation),
        _activation(cell_activation),
        _activation(activation),
        None if clip is None else float(number(clip)),
    )
    if direction != "bidirectional":
        inputs = _ordered(_inputs(x, weight_ih, bias), direction)
        states, state, memory = cell.run(inputs, weight_hh, peephole, initial_h, initial_c)
        return _collected(states, output_sequence), state, memory
    if weight_ih_back is None or weight_hh_back is None:
        raise UnsupportedError("lstm: a bidirectional layer lacks its backward weights")
    (h_forth, h_back), (c_forth, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    forth = cell.run(_inputs(x, weight_ih, bias), weight_hh, peephole, h_forth, c_forth)
    back = cell.run(
        _inputs(x, weight_ih_back, bias_back).flip(0), weight_hh_back, peephole_back, h_back, c_back
    )
    if flag(output_sequence):
        output = torch.cat([torch.stack(forth[0]), torch.stack(back[0][::-1])], -1)
    else:
        output = torch.cat([forth[1], back[1]], -1)[None]
    return output, torch.cat([forth[1], back[1]], -1), torch.cat([forth[2], back[2]], -1)


def _inputs(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W x + b of every step."""
    return torch.nn.functional.linear(x, weight, bias)


def _ordered(inputs: Tensor, direction: str) -> Tensor:
    if direction not in ("forward", "reverse"):
        raise UnsupportedError(f"recurrent layer: direction '{direction}' is not known")
    return inputs.flip(0) if direction == "reverse" else inputs


def _collected(states: list[Tensor], output_sequence: Tensor | bool) -> Tensor:
    return torch.stack(states) if flag(output_sequence) else states[-1][None]
