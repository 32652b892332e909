"""Read a .tflite file back, for inspection; the file is untrusted."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.flatbuffer import IDENTIFIER, TENSOR_TYPES
from toolchain.converters.tflite.program import OP_NAMES, Op
from toolchain.errors import UnsupportedError
from toolchain.spec import TensorSpec

TYPE_NAMES = {code: name for name, code in TENSOR_TYPES.items()}
PARAMETER_TYPES = {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.INT8}
# Position of the bias among the inputs; some runtimes want one, so that networks without have zeros there.
BIAS_INPUT = {
    Op.CONV_2D: 2,
    Op.DEPTHWISE_CONV_2D: 2,
    Op.FULLY_CONNECTED: 2,
    Op.CONV_3D: 2,
    Op.TRANSPOSE_CONV: 3,
    Op.CONV_3D_TRANSPOSE: 3,
}
LEFT_OUT = -1


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it."""

    name: str
    shape: tuple[int, ...]
    type: int
    constant: bool


@dataclass(frozen=True)
class StoredOperator:
    """An operator as the file describes it; tensor -1 is an optional input left out.

    Attributes:
        code: value of BuiltinOperator.
        inputs: indices of tensors.
        outputs: indices of tensors.
        macs: multiply-adds for one run; 0 for what is neither a convolution nor a matrix product.
    """

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int = 0


@dataclass(frozen=True)
class StoredProgram:
    """The main graph of a file.

    Attributes:
        tensors: all tensors.
        operators: in execution order.
        inputs: of the graph.
        outputs: of the graph.
        metadata: named blobs.
        zero_biases: indices of constants that are a bias of nothing but zeros.
    """

    tensors: list[StoredTensor]
    operators: list[StoredOperator]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    metadata: dict[str, bytes]
    zero_biases: frozenset[int] = frozenset()

    def histogram(self) -> dict[str, int]:
        """Operator name to count, most frequent first."""
        names = (OP_NAMES.get(operator.code, f"op {operator.code}") for operator in self.operators)
        return dict(Counter(names).most_common())

    def parameters(self) -> int:
        """Elements of constants with more than one element; shapes, indices and zero biases left out."""
        return sum(
            prod(t.shape)
            for index, t in enumerate(self.tensors)
            if t.constant
            and t.type in PARAMETER_TYPES
            and prod(t.shape) > 1
            and index not in self.zero_biases
        )

    def macs(self) -> int:
        """Multiply-adds of convolutions and matrix products for one run."""
        return sum(operator.macs for operator in self.operators)


def read_tflite(data: bytes, name: str) -> StoredProgram:
    """Parse the first graph of a file.

    Args:
        data: the file's bytes.
        name: what to call it in errors.

    Raises:
        UnsupportedError: it is not a .tflite file, or a damaged one.
    """
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise UnsupportedError(f"'{name}' is not a .tflite file", "the identifier TFL3 is missing at byte 4")
    try:
        return _read(data)
    except (
        struct.error,
        IndexError,
        ValueError,
        TypeError,
        AttributeError,
        UnicodeDecodeError,
        OverflowError,
    ) as e:
        raise UnsupportedError(
            f"'{name}' is a damaged .tflite file: {e}", "export or download it again"
        ) from e


class _Budget:
    """Bytes that may still be read: parts of a hostile file may overlap, so that it holds more than its size.

    Args:
        data: the file's bytes.
    """

    SHARING = 4

    def __init__(self, data: bytes) -> None:
        self._left = self.SHARING * len(data)

    def spend(self, amount: int) -> int:
        """Take `amount` bytes; returns it. Raises ValueError when the file cannot hold so much."""
        self._left -= amount
        if self._left < 0:
            raise ValueError("its parts overlap")
        return amount


def _read(data: bytes) -> StoredProgram:
    budget = _Budget(data)
    model: Any = schema.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() < 1:
        raise ValueError("it holds no graph")
    graph = model.Subgraphs(0)
    tensors = [_tensor(model, graph.Tensors(index), index, budget) for index in range(graph.TensorsLength())]
    codes = [_code(model.OperatorCodes(index)) for index in range(model.OperatorCodesLength())]
    operators = [
        _operator(graph.Operators(index), index, codes, tensors, budget)
        for index in range(graph.OperatorsLength())
    ]
    biases = {
        operator.inputs[place]
        for operator in operators
        for place in [BIAS_INPUT.get(operator.code, len(operator.inputs))]
        if place < len(operator.inputs) and operator.inputs[place] != LEFT_OUT
    }
    return StoredProgram(
        tensors,
        operators,
        [_spec(tensors, graph.Inputs(i)) for i in range(graph.InputsLength())],
        [_spec(tensors, graph.Outputs(i)) for i in range(graph.OutputsLength())],
        _metadata(model, budget),
        frozenset(index for index in biases if tensors[index].constant and _is_zero(model, graph, index)),
    )


def _tensor(model: Any, tensor: Any, index: int, budget: _Budget) -> StoredTensor:
    if not 0 <= tensor.Buffer() < model.BuffersLength():
        raise ValueError(f"tensor {index} points to buffer {tensor.Buffer()} of {model.BuffersLength()}")
    shape = tuple(tensor.Shape(axis) for axis in range(budget.spend(4 * tensor.ShapeLength()) // 4))
    if min(shape, default=0) < 0:
        raise ValueError(f"tensor {index} has a negative size")
    buffer = model.Buffers(tensor.Buffer())
    # Constants of files beyond 2 GB lie behind the flatbuffer, where offset and size point to.
    constant = buffer.DataLength() > 0 or buffer.Size() > 0
    return StoredTensor(_text(tensor.Name(), budget), shape, tensor.Type(), constant)


def _text(raw: bytes | None, budget: _Budget) -> str:
    budget.spend(len(raw or b""))
    return (raw or b"").decode()


def _operator(
    operator: Any, index: int, codes: list[int], tensors: list[StoredTensor], budget: _Budget
) -> StoredOperator:
    budget.spend(4 * (operator.InputsLength() + operator.OutputsLength()))
    inputs = tuple(operator.Inputs(i) for i in range(operator.InputsLength()))
    outputs = tuple(operator.Outputs(i) for i in range(operator.OutputsLength()))
    if not all(LEFT_OUT <= used < len(tensors) for used in inputs) or not all(
        0 <= made < len(tensors) for made in outputs
    ):
        raise ValueError(f"operator {index} uses a tensor that does not exist")
    code = codes[operator.OpcodeIndex()]
    try:
        return StoredOperator(code, inputs, outputs, _macs(operator, code, inputs, outputs, tensors))
    except (IndexError, AttributeError) as error:
        raise ValueError(f"operator {index} lacks operands") from error


def _macs(
    operator: Any, code: int, inputs: tuple[int, ...], outputs: tuple[int, ...], tensors: list[StoredTensor]
) -> int:
    """Multiply-adds of one operator.

    A convolution needs one for each output element and weight that meets it; a transposed one for each
    input element and weight that it meets.
    """

    def shape(used: int) -> tuple[int, ...]:
        if used == LEFT_OUT:
            raise IndexError
        return tensors[used].shape

    if code == Op.BATCH_MATMUL:
        options = schema.BatchMatMulOptions()
        table = operator.BuiltinOptions()
        if table is not None:
            options.Init(table.Bytes, table.Pos)
        turned = table is not None and options.AdjX()
        return prod(shape(outputs[0])) * shape(inputs[0])[-2 if turned else -1]
    if code == Op.DEPTHWISE_CONV_2D:
        return prod(shape(outputs[0])) * prod(shape(inputs[1])[1:3])
    if code in (Op.CONV_2D, Op.FULLY_CONNECTED):
        return prod(shape(outputs[0])) * prod(shape(inputs[1])[1:])
    if code == Op.CONV_3D:
        # Weights are (D, H, W, I, O); those of the transposed one (D, H, W, O, I).
        return prod(shape(outputs[0])) * prod(shape(inputs[1])[:4])
    if code == Op.TRANSPOSE_CONV:
        return prod(shape(inputs[2])) * prod(shape(inputs[1])[:3])
    if code == Op.CONV_3D_TRANSPOSE:
        return prod(shape(inputs[2])) * prod(shape(inputs[1])[:4])
    return 0


def _is_zero(model: Any, graph: Any, index: int) -> bool:
    buffer = model.Buffers(graph.Tensors(index).Buffer())
    return buffer.DataLength() > 0 and not np.any(buffer.DataAsNumpy())


def _code(entry: Any) -> int:
    return max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())


def _spec(tensors: list[StoredTensor], index: int) -> TensorSpec:
    if not 0 <= index < len(tensors):
        raise ValueError(f"the graph's border names tensor {index}, which does not exist")
    tensor = tensors[index]
    return TensorSpec(tensor.name, tensor.shape, TYPE_NAMES.get(tensor.type, f"type {tensor.type}"))


def _metadata(model: Any, budget: _Budget) -> dict[str, bytes]:
    found = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        buffer = model.Buffers(entry.Buffer())
        if budget.spend(buffer.DataLength()):
            found[_text(entry.Name(), budget)] = buffer.DataAsNumpy().tobytes()
    return found
