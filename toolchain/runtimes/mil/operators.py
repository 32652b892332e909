"""Which function computes which MIL operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolchain.registry import Registry

Operator = Callable[..., Any]

_registry: Registry[Operator] = Registry("MIL operator")


def computes(*op_types: str) -> Callable[[Operator], Operator]:
    """Decorator that makes a function the meaning of MIL operators.

    The function's parameters are the operator's inputs under their MIL names, optional ones with MIL's
    default. Numeric values are torch tensors (float16 values are float32 tensors that hold float16
    numbers), strings are `str`, variadic inputs are lists of those. It returns a tensor, or a tuple of
    tensors when the operator has several outputs. A parameter named `blocks` takes the operator's nested
    blocks as functions.
    """

    def decorate(function: Operator) -> Operator:
        for op_type in op_types:
            _registry.add(op_type, function)
        return function

    return decorate


def operators() -> Registry[Operator]:
    """The registry with every family file imported."""
    from toolchain.runtimes.mil import ops  # noqa: F401

    return _registry
