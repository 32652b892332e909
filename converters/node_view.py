"""What every target's handlers read of an ONNX node, and how they refuse it."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

ONNX_DOMAINS = ("", "ai.onnx")


class Refused(Exception):  # noqa: N818
    """Raised by a handler for what its operator cannot express; collected, never shown as it is."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def rank_of(value: ir.Value | None) -> int:
    """Rank of a value; 0 for an input that is left out."""
    return len(value.shape) if value is not None and value.shape is not None else 0


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Static shape in ONNX order."""
    assert value.shape is not None
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is known while converting."""
    return value is not None and value.const_value is not None


def operator_name(node: ir.Node) -> str:
    """Operator type, with its domain when that is not the ONNX one."""
    return node.op_type if node.domain in ONNX_DOMAINS else f"{node.domain}::{node.op_type}"


class NodeView:
    """The attributes and inputs of an ONNX node.

    Attributes:
        node: the node.
    """

    def __init__(self, node: ir.Node) -> None:
        self.node = node

    def int(self, name: str, default: int | None = None) -> Any:
        """An integer attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_int()

    def ints(self, name: str, default: Sequence[builtins.int] | None = None) -> Any:
        """A list of integers, as a tuple."""
        attribute = self.node.attributes.get(name)
        if attribute is None:
            return None if default is None else tuple(default)
        return tuple(attribute.as_ints())

    def float(self, name: str, default: float = 0.0) -> Any:
        """A float attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_float()

    def string(self, name: str, default: str = "") -> str:
        """A string attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_string()

    def given(self, index: builtins.int) -> bool:
        """Whether the optional input is there."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def onnx(self, index: builtins.int) -> ir.Value:
        """Input `index` of the ONNX node, which must be there."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        if value is None:
            raise Refused(f"input {index} is missing")
        return value

    def shape(self, index: builtins.int = 0) -> tuple[Any, ...]:
        """Shape of an input in ONNX order."""
        return shape_of(self.onnx(index))

    def out_shape(self, index: builtins.int = 0) -> tuple[Any, ...]:
        """Shape of an output in ONNX order."""
        return shape_of(self.node.outputs[index])

    def dtype(self, index: builtins.int = 0) -> np.dtype:
        """Element type of an input."""
        found = self.onnx(index).dtype
        assert found is not None
        return found.numpy()

    def constant(self, index: builtins.int, what: str) -> np.ndarray:
        """Value of an input that must be known while converting, in ONNX order.

        Raises:
            Refused: it is computed at run time.
        """
        value = self.onnx(index)
        if value.const_value is None:
            raise Refused(f"{what} is computed at run time", f"make {what} a constant in the network")
        return value.const_value.numpy()

    def optional_constant(self, index: builtins.int, what: str) -> np.ndarray | None:
        """As `constant`, None when the optional input is left out."""
        return self.constant(index, what) if self.given(index) else None
