"""Runs a neural network layer by layer with torch.

All tensors are float32. Pictures of rank 4 lie channel-last in memory, which is how torch computes
convolutions fastest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from toolchain.errors import Refusal, ToolchainError, UnsupportedError, UnsupportedOpsError
from toolchain.runtimes.base import one_line
from toolchain.runtimes.neuralnetwork.features import Inputs, Outputs
from toolchain.runtimes.neuralnetwork.kernels import Kernel, kernels

NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
TARGET = "the reference runtime"
TRUE = 1e-6
"""A condition holds when its absolute value is larger."""

MOST_PASSES = 100_000
"""Of a loop; one that goes on is taken for one without an end."""

CONTROL = ("branch", "loop", "loopBreak", "loopContinue")

Values = dict[str, torch.Tensor]


class Jump(Enum):
    """What a layer may ask the innermost loop for."""

    BREAK = "loopBreak"
    CONTINUE = "loopContinue"


@contextmanager
def _errors_of(label: str) -> Iterator[None]:
    """Names the layer in errors. What torch says of shapes that do not fit has no common type."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(f"{label}: {error.message}", error.hint) from error
    except ToolchainError:
        raise
    except Exception as error:
        raise UnsupportedError(f"{label} failed: {type(error).__name__}: {one_line(error)}") from error


@dataclass(frozen=True)
class _Step:
    """One layer, ready to run."""

    label: str
    kernel: Kernel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, values: Values) -> None:
        if lost := [name for name in self.inputs if name not in values]:
            raise UnsupportedError(f"{self.label}: its input '{lost[0]}' has not been computed")
        with _errors_of(self.label):
            result = self.kernel(*(values[name] for name in self.inputs))
        made = result if isinstance(result, tuple | list) else (result,)
        if len(made) != len(self.outputs):
            raise UnsupportedError(f"{self.label} has {len(self.outputs)} outputs, {len(made)} were computed")
        values.update(zip(self.outputs, made, strict=True))


@dataclass(frozen=True)
class _Branch:
    """Runs one of two networks, which see and set the values around them."""

    condition: str
    chosen: _Network
    otherwise: _Network

    def run(self, values: Values) -> Jump | None:
        return (self.chosen if _holds(values, self.condition) else self.otherwise).run(values)


@dataclass(frozen=True)
class _Loop:
    """Runs a network again and again: a number of times, while a condition holds, or both."""

    count: str
    limit: int
    variable: str
    condition: _Network | None
    body: _Network

    def run(self, values: Values) -> None:
        limit = int(_number(values, self.count)) if self.count else self.limit
        bounded = bool(self.count or limit or self.condition is None)
        passes = 0
        while self._goes_on(values) and not (bounded and passes >= limit):
            if passes == MOST_PASSES:
                raise UnsupportedError(f"a loop goes on after {MOST_PASSES} passes")
            if self.body.run(values) is Jump.BREAK:
                return
            passes += 1

    def _goes_on(self, values: Values) -> bool:
        if self.condition is None:
            return True
        self.condition.run(values)
        return _holds(values, self.variable)


@dataclass(frozen=True)
class _Leave:
    """Leaves the innermost loop, or its current pass."""

    jump: Jump

    def run(self, values: Values) -> Jump:
        return self.jump


def _holds(values: Values, name: str) -> bool:
    return abs(_number(values, name)) > TRUE


def _number(values: Values, name: str) -> float:
    if name not in values or values[name].numel() != 1:
        raise UnsupportedError(f"'{name}', which steers a branch or loop, is not one number")
    return values[name].item()


class _Network:
    """Layers with decoded weights, in the order in which they run.

    Args:
        layers: NeuralNetworkLayer messages.
        kept: the values that are read after the last layer; None keeps all, as nested networks must.
    """

    def __init__(self, layers: Sequence[Any], kept: Sequence[str] | None = None) -> None:
        forgotten = _forgotten(layers, kept) if kept is not None else [()] * len(layers)
        self.steps = [(_step(layer), names) for layer, names in zip(layers, forgotten, strict=True)]

    def run(self, values: Values) -> Jump | None:
        for step, forgotten in self.steps:
            if jump := step.run(values):
                return jump
            for name in forgotten:
                values.pop(name, None)
        return None


def _step(layer: Any) -> Any:
    kind = layer.WhichOneof("layer")
    label = f"{kind} '{layer.name}'"
    parameters = getattr(layer, kind)
    _refuse_unknown_fields(parameters, label)
    if kind == "branch":
        if len(layer.input) != 1:
            raise UnsupportedError(f"{label} needs one input")
        branches = (_Network(parameters.ifBranch.layers), _Network(parameters.elseBranch.layers))
        return _Branch(layer.input[0], *branches)
    if kind == "loop":
        return _loop(layer, label)
    if kind in (Jump.BREAK.value, Jump.CONTINUE.value):
        return _Leave(Jump(kind))
    with _errors_of(label):
        # A message of its own: a kernel that holds a part of the file's would keep all weights in memory.
        kernel = kernels().get(kind)(deepcopy(parameters))
    return _Step(label, kernel, tuple(layer.input), tuple(layer.output))


def _loop(layer: Any, label: str) -> _Loop:
    p = layer.loop
    condition = _Network(p.conditionNetwork.layers) if p.conditionVar else None
    if bool(p.conditionVar) != bool(p.conditionNetwork.layers) or len(layer.input) > 1:
        raise UnsupportedError(f"{label} has a condition without its network, or more than one input")
    count = layer.input[0] if layer.input else ""
    return _Loop(count, int(p.maxLoopIterations), p.conditionVar, condition, _Network(p.bodyNetwork.layers))


def _nested(layer: Any) -> list[Any]:
    """The networks inside a layer."""
    if layer.WhichOneof("layer") == "branch":
        return [layer.branch.ifBranch, layer.branch.elseBranch]
    if layer.WhichOneof("layer") == "loop":
        return [layer.loop.conditionNetwork, layer.loop.bodyNetwork]
    return []


def _all_layers(layers: Iterable[Any]) -> Iterator[Any]:
    for layer in layers:
        yield layer
        for network in _nested(layer):
            yield from _all_layers(network.layers)


def _reads(layer: Any) -> set[str]:
    names = {name for inner in _all_layers([layer]) for name in inner.input}
    return names | {inner.loop.conditionVar for inner in _all_layers([layer])}


def _forgotten(layers: Sequence[Any], kept: Sequence[str]) -> list[tuple[str, ...]]:
    """Per layer the values that no later one reads."""
    last = {name: index for index, layer in enumerate(layers) for name in _reads(layer)}
    found: list[list[str]] = [[] for _ in layers]
    for name, index in last.items():
        if name not in kept:
            found[index].append(name)
    return [tuple(names) for names in found]


def _refuse_unknown_fields(message: Message, label: str) -> None:
    """A parameter of a newer format would be ignored silently."""
    for unknown in UnknownFieldSet(message):
        raise UnsupportedError(
            f"{label} has a parameter that this version does not know (field {unknown.field_number} of"
            f" {message.DESCRIPTOR.name})",
            "update coremltools",
        )
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in value if field.is_repeated else (value,):
            if isinstance(inner, Message) and inner.DESCRIPTOR.name not in (
                "NeuralNetwork",
                "NeuralNetworkLayer",
            ):
                _refuse_unknown_fields(inner, label)


class NeuralNetwork:
    """A neural network that is ready to run.

    Args:
        spec: protobuf message Model with a neuralNetwork, neuralNetworkClassifier or neuralNetworkRegressor.

    Raises:
        UnsupportedOpsError: layer types that are not known, all of them.
        UnsupportedError: a layer cannot be computed exactly, or the model is of another kind.
    """

    def __init__(self, spec: Any) -> None:
        kind = spec.WhichOneof("Type")
        if kind not in NETWORKS:
            raise UnsupportedError(f"a model of kind {kind} is no neural network")
        network = getattr(spec, kind)
        _check_layers(network.layers)
        with torch.inference_mode():
            self._inputs = Inputs(deepcopy(spec.description), network)
            self._outputs = Outputs(spec, network)
            self._body = _Network(network.layers, self._outputs.needed)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One pass.

        Args:
            inputs: array by input name. A picture is (1, 3, H, W) or (1, 1, H, W), values 0 to 255, channels
                in the order that the description names; the network's own preprocessing is applied here.

        Returns:
            float32 array by name of the model's outputs. A classifier gives its label (str or int) and the
            probability by label besides.

        Raises:
            UsageError: an input is missing or no such picture.
            UnsupportedError: a layer cannot compute these shapes, or an output has not the shape that the
                description states.
        """
        with torch.inference_mode():
            values = self._inputs(inputs)
            self._body.run(values)
            return self._outputs(values)


def _check_layers(layers: Iterable[Any]) -> None:
    known = kernels()
    unknown = []
    for layer in _all_layers(layers):
        kind = layer.WhichOneof("layer")
        if kind in known or kind in CONTROL:
            continue
        name = f"custom ({layer.custom.className})" if kind == "custom" else kind or "none that is known"
        unknown.append(Refusal(name, layer.name, f"{TARGET} does not know this layer", ""))
    if unknown:
        raise UnsupportedOpsError(unknown, TARGET, "run by")
