"""A TFLite program in memory: tensors and operators, before it becomes a flatbuffer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.graph.quantization import Quantization

Op = schema.BuiltinOperator
Activation = schema.ActivationFunctionType

OP_NAMES: dict[int, str] = {
    value: name for name, value in vars(Op).items() if name.isupper() and isinstance(value, int)
}


@dataclass(eq=False)
class Tensor:
    """A tensor of the program.

    Attributes:
        name: unique within the program once it is serialized.
        shape: static shape in storage order.
        dtype: element type.
        data: the value of a constant in storage order, None for an activation.
        quantization: how the values are stored as integers, None for float values. Until `integerize` has
            run, dtype and data are those of the float values all the same.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    data: np.ndarray | None = None
    quantization: Quantization | None = None


@dataclass(eq=False)
class Operator:
    """One operator.

    Attributes:
        code: value of BuiltinOperator.
        inputs: tensors; None for an optional input that is left out.
        outputs: tensors.
        options: object of the schema's options table, None for operators without options.
        version: lowest operator version that has the features in use, so that old runtimes load the file.
        origin: the ONNX node that it was lowered from, None for operators that no single node stands for.
    """

    code: int
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: Any = None
    version: int = 1
    origin: ir.Node | None = None

    @property
    def name(self) -> str:
        """Name of the operator in the schema, for instance "CONV_2D"."""
        return OP_NAMES[self.code]


@dataclass
class Program:
    """Inputs, outputs and operators in execution order."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def tensors(self) -> list[Tensor]:
        """Every tensor once, in order of first use."""
        seen: dict[int, Tensor] = {}
        for tensor in self.inputs:
            seen.setdefault(id(tensor), tensor)
        for operator in self.operators:
            for used in [*operator.inputs, *operator.outputs]:
                if used is not None:
                    seen.setdefault(id(used), used)
        for tensor in self.outputs:
            seen.setdefault(id(tensor), tensor)
        return list(seen.values())

    def histogram(self) -> dict[str, int]:
        """Operator name to count, most frequent first."""
        return dict(Counter(operator.name for operator in self.operators).most_common())
