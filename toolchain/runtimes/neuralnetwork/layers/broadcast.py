"""Arithmetic, comparisons and logic of two inputs, broadcast as in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes

Binary = Callable[[torch.Tensor, Any], torch.Tensor]

_ARITHMETIC: dict[str, Binary] = {
    "addBroadcastable": torch.add,
    "subtractBroadcastable": torch.sub,
    "multiplyBroadcastable": torch.mul,
    "divideBroadcastable": torch.div,
    "floorDivBroadcastable": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "modBroadcastable": torch.remainder,
    "powBroadcastable": torch.pow,
    "maxBroadcastable": torch.maximum,
    "minBroadcastable": torch.minimum,
}
"""The remainder has the divisor's sign."""

_LOGIC: dict[str, Binary] = {
    "logicalAnd": lambda x, y: (x != 0) & (y != 0),
    "logicalOr": lambda x, y: (x != 0) | (y != 0),
    "logicalXor": lambda x, y: (x != 0) ^ (y != 0),
}

_COMPARISONS: dict[str, Binary] = {
    "equal": torch.eq,
    "notEqual": torch.ne,
    "lessThan": torch.lt,
    "lessEqual": torch.le,
    "greaterThan": torch.gt,
    "greaterEqual": torch.ge,
}


def _register(name: str, function: Binary) -> None:
    computes(name)(lambda p: lambda x, y: function(x, y).float())


for _name, _function in (_ARITHMETIC | _LOGIC).items():
    _register(_name, _function)


def _register_comparison(name: str, function: Binary) -> None:
    def factory(p: Any) -> Kernel:
        return lambda x, y=None: function(x, p.alpha if y is None else y).float()

    computes(name)(factory)


for _name, _function in _COMPARISONS.items():
    _register_comparison(_name, _function)


@computes("whereBroadcastable")
def where_broadcastable(p: Any) -> Kernel:
    """The second input where the first is not zero, else the third."""
    return lambda condition, x, y: torch.where(condition != 0, x, y)
