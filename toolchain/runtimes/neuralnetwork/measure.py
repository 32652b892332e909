"""Counts of a neural network: layers and weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

BYTE = 8
HALF = 2
WEIGHTS = "WeightParams"
LAYER = "NeuralNetworkLayer"


def histogram(spec: Any) -> dict[str, int]:
    """Layer type -> count, the most frequent first; layers inside of branches and loops count too.

    Args:
        spec: protobuf message Model that holds a neural network.
    """
    counts = Counter(layer.WhichOneof("layer") or "none" for layer in _layers(spec))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def parameters(spec: Any) -> int:
    """Elements of all weights; single numbers and vectors of zeros (biases) do not count."""
    network = getattr(spec, spec.WhichOneof("Type"))
    return sum(_elements(message) for message in _messages(network, WEIGHTS))


def _layers(spec: Any) -> Iterator[Any]:
    yield from _messages(getattr(spec, spec.WhichOneof("Type")), LAYER)


def _messages(message: Any, name: str) -> Iterator[Any]:
    """All messages of a type inside of another one, at any depth."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        is_list = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        for inner in value if is_list else [value]:
            if not hasattr(inner, "ListFields"):
                continue
            if inner.DESCRIPTOR.name == name:
                yield inner
            yield from _messages(inner, name)


def _elements(weights: Any) -> int:
    if len(weights.floatValue):
        return _counted(np.array(weights.floatValue, np.float32))
    if len(weights.float16Value):
        whole = len(weights.float16Value) // HALF * HALF
        return _counted(np.frombuffer(weights.float16Value[:whole], np.float16))
    if len(weights.rawValue):
        bits = int(weights.quantization.numberOfBits) or BYTE
        return len(weights.rawValue) * BYTE // bits
    return len(weights.int8RawValue)


def _counted(values: np.ndarray) -> int:
    return values.size if values.size > 1 and values.any() else 0
