"""In-graph softmax or arg max, only on request: `export --head softmax`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.converters.graph.append_head import CLASSES_AXIS, HEADS
from toolchain.errors import UsageError
from toolchain.runtimes.base import Arrays, Runtime
from toolchain.source import Source
from toolchain.spec import TensorSpec


def with_head(source: Source, head: str | None) -> Source:
    """The network with a softmax or arg max over the classes of its first output.

    Args:
        source: a network whose first output holds scores of the shape (N, classes, ...).
        head: "softmax", "argmax", or None for the network as it is.

    Raises:
        UsageError: unknown head, or the first output has no axis of classes.
    """
    if head is None:
        return source
    if head not in HEADS:
        raise UsageError(f"unknown head '{head}'", f"use {' or '.join(HEADS)}")
    scores = source.spec.outputs[0]
    if len(scores.shape) < 2 or np.dtype(scores.dtype).kind != "f":
        raise UsageError(
            f"output '{scores.name}' ({scores.dtype} {scores.shape}) holds no scores with classes on axis 1",
            "leave --head out",
        )
    name = HEADS[head][1]
    taken = {tensor.name for tensor in (*source.spec.inputs, *source.spec.outputs)}
    if name in taken:
        raise UsageError(f"the network has a tensor '{name}' already", "leave --head out, or rename it")
    made = replace(scores, name=name) if head == "softmax" else _labels(scores, name)
    spec = replace(source.spec, outputs=(made, *source.spec.outputs[1:]))
    return replace(source, spec=spec, head=head)


def _labels(scores: TensorSpec, name: str) -> TensorSpec:
    shape = scores.shape[:CLASSES_AXIS] + scores.shape[CLASSES_AXIS + 1 :]
    layout = scores.layout.replace("C", "") if scores.layout else ""
    return TensorSpec(name, shape, "int64", layout)


class HeadRuntime(Runtime):
    """A network with its head computed by numpy: the reference of files that have the head inside.

    Args:
        network: the network without a head; closed together with this.
        source: with `head` set.
    """

    def __init__(self, network: Runtime, source: Source) -> None:
        self._network = network
        self._head = source.head
        self.inputs = network.inputs
        self.outputs = source.spec.outputs

    def _execute(self, arrays: Arrays) -> Arrays:
        made = list(self._network.run(arrays).values())
        scores = made[0]
        if self._head == "argmax":
            made[0] = scores.argmax(CLASSES_AXIS)
        else:
            exponents = np.exp(scores - scores.max(CLASSES_AXIS, keepdims=True))
            made[0] = exponents / exponents.sum(CLASSES_AXIS, keepdims=True)
        return dict(zip((tensor.name for tensor in self.outputs), made, strict=True))

    def _release(self) -> None:
        self._network.close()
