"""Which function computes which layer type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolchain.registry import Registry

Kernel = Callable[..., Any]
"""A layer ready to run: float32 tensors in, one tensor or a sequence of tensors out."""

Factory = Callable[[Any], Kernel]
"""Makes a kernel of the layer's parameters (a message of NeuralNetwork.proto)."""

_registry: Registry[Factory] = Registry("neural network layer")


def computes(*layer_types: str) -> Callable[[Factory], Factory]:
    """Decorator that makes a function the meaning of layer types.

    The function gets the message of the layer's parameters, checks it, decodes its weights once, and
    returns the kernel: a function of the layer's inputs. All values are float32 tensors, indices and truth
    values too; a tensor has at least one axis. "Channel", "height" and "width" are the axes -3, -2 and -1.

    The function raises UnsupportedError for parameters that it cannot compute exactly; the message needs no
    layer name, the executor adds it.
    """

    def decorate(factory: Factory) -> Factory:
        for layer_type in layer_types:
            _registry.add(layer_type, factory)
        return factory

    return decorate


def kernels() -> Registry[Factory]:
    """The registry with every family file imported."""
    from toolchain.runtimes.neuralnetwork import layers  # noqa: F401

    return _registry
