"""Lower an ONNX graph node by node to a TFLite program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.graph.quantization import Quantization, quantization_of
from toolchain.converters.node_view import (
    ONNX_DOMAINS,
    NodeView,
    Refused,
    is_constant,
    operator_name,
    rank_of,
    shape_of,
)
from toolchain.converters.tflite.carry import merge_transposed
from toolchain.converters.tflite.layout import NodeLayout, Perm, Rule, plain, plain_perm
from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import Op, Operator, Program, Tensor
from toolchain.errors import Refusal, UnsupportedOpsError
from toolchain.registry import Registry

TRANSPOSED_AXES = 6
COMPUTED_TYPES = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.INT8,
        ir.DataType.INT16,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.UINT8,
        ir.DataType.UINT16,
        ir.DataType.UINT32,
        ir.DataType.UINT64,
        ir.DataType.BOOL,
    }
)
# Element types that TFLite's float kernels do not take, or that have no TFLite type at all.
REFUSED_TYPES = {
    found: {ir.DataType.DOUBLE: "float64"}.get(found, found.name.lower())
    for found in ir.DataType
    if found not in COMPUTED_TYPES and found != ir.DataType.UNDEFINED
}


@dataclass(frozen=True)
class Handler:
    """How one ONNX operator is lowered: the storage orders that it wants, and the function that emits."""

    lower: Callable[[NodeContext], None]
    layout: Rule


_registry: Registry[Handler] = Registry("TFLite operator handler")


def lowers(
    *op_types: str, layout: Rule = plain
) -> Callable[[Callable[[NodeContext], None]], Callable[[NodeContext], None]]:
    """Decorator that makes a function the handler of ONNX operators.

    Args:
        *op_types: ONNX operator names.
        layout: rule that chooses the storage order of inputs and outputs.
    """

    def decorate(function: Callable[[NodeContext], None]) -> Callable[[NodeContext], None]:
        for op_type in op_types:
            _registry.add(op_type, Handler(function, layout))
        return function

    return decorate


def handlers() -> Registry[Handler]:
    """The registry with every family file imported."""
    from toolchain.converters.tflite import ops  # noqa: F401

    return _registry


class Lowering:
    """A graph on its way to a program: which tensor holds which value in which order."""

    def __init__(self) -> None:
        self.program = Program()
        self._stored: dict[ir.Value, tuple[Tensor, Perm]] = {}
        self._moved: dict[tuple[ir.Value, Perm], Tensor] = {}
        self._names: dict[str, int] = {}
        self.node: ir.Node | None = None

    def unique(self, name: str) -> str:
        """`name`, or `name_2`, `name_3` ... when it is taken."""
        count = self._names.get(name, 0) + 1
        self._names[name] = count
        return name if count == 1 else self.unique(f"{name}_{count}")

    def perm_of(self, value: ir.Value | None) -> Perm:
        """Storage order of a value as it is now; plain for constants and inputs that are left out."""
        if value is None or value not in self._stored:
            return plain_perm(rank_of(value))
        return self._stored[value][1]

    def bind(self, value: ir.Value, tensor: Tensor, perm: Perm) -> None:
        """Say that `tensor` holds `value` with its axes in the order `perm`.

        A tensor that holds another value too, which is stored with another scale, is quantized again.
        """
        found = stored_quantization(value, perm)
        if found is not None and tensor.quantization is not None and not found.same(tensor.quantization):
            made = Tensor(self.unique(value.name or "value"), tensor.shape, tensor.dtype, None, found)
            self.emit(Op.QUANTIZE, [tensor], [made], schema.QuantizeOptionsT())
            tensor = made
        tensor.quantization = found or tensor.quantization
        self._stored[value] = (tensor, perm)

    def value(self, value: ir.Value, perm: Perm) -> Tensor:
        """The tensor that holds `value` in the order `perm`; moves data at most once per order.

        Between two orders that differ only in the place of axes of length 1 a RESHAPE does, which
        moves nothing.
        """
        key = (value, perm)
        if key in self._moved:
            return self._moved[key]
        if is_constant(value):
            tensor = self._constant(value, perm)
        else:
            stored, current = self._stored[value]
            tensor = stored if current == perm else self._move(value, stored, current, perm)
        self._moved[key] = tensor
        return tensor

    def _constant(self, value: ir.Value, perm: Perm) -> Tensor:
        assert value.const_value is not None
        # ascontiguousarray would turn a scalar into a vector.
        data = np.asarray(value.const_value.numpy().transpose(perm), order="C")
        name = self.unique(value.name or "constant")
        return Tensor(name, data.shape, data.dtype, data, stored_quantization(value, perm))

    def _move(self, value: ir.Value, stored: Tensor, current: Perm, perm: Perm) -> Tensor:
        shape = shape_of(value)
        target = tuple(shape[axis] for axis in perm)
        name = self.unique(f"{stored.name}/{'_'.join(map(str, perm))}")
        if [a for a in current if shape[a] != 1] == [a for a in perm if shape[a] != 1]:
            return self.reshape(stored, target, name)
        order = [current.index(axis) for axis in perm]
        if len(perm) <= TRANSPOSED_AXES:
            return self._transpose(stored, order, Tensor(name, target, stored.dtype))
        view, turned = merge_transposed(stored.shape, order)
        if len(view) > TRANSPOSED_AXES:
            raise Refused(
                f"'{value.name}' has {len(perm)} axes and must be transposed",
                f"TFLite's kernel takes {TRANSPOSED_AXES} at most: merge axes in the network",
            )
        merged = self.reshape(stored, view, f"{name}/merged")
        turned_shape = tuple(view[axis] for axis in turned)
        turned_view = self._transpose(merged, turned, Tensor(f"{name}/turned", turned_shape, stored.dtype))
        return self.reshape(turned_view, target, name)

    def _transpose(self, tensor: Tensor, order: Sequence[int], moved: Tensor) -> Tensor:
        operands: list[Tensor | None] = [tensor, self.int_tensor(order, f"{moved.name}/perm")]
        version = lowest_version(Op.TRANSPOSE, operands, [moved])
        self.emit(Op.TRANSPOSE, operands, [moved], schema.TransposeOptionsT(), version)
        return moved

    def reshape(self, tensor: Tensor, shape: Sequence[int], name: str) -> Tensor:
        """The same data under another shape."""
        made = Tensor(name, tuple(shape), tensor.dtype)
        options = schema.ReshapeOptionsT()
        options.newShape = np.asarray(shape, np.int32)
        self.emit(Op.RESHAPE, [tensor, self.int_tensor(shape, f"{name}/shape")], [made], options)
        return made

    def int_tensor(self, values: Sequence[int], name: str) -> Tensor:
        """A one-dimensional int32 constant."""
        data = np.asarray(values, np.int32).reshape(-1)
        return Tensor(self.unique(name), data.shape, data.dtype, data)

    def emit(
        self,
        code: int,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options: Any = None,
        version: int = 1,
    ) -> None:
        """Append an operator."""
        made = Operator(code, list(inputs), list(outputs), options, version, self.node)
        self.program.operators.append(made)


def stored_quantization(value: ir.Value, perm: Perm) -> Quantization | None:
    """The quantization of a value whose axes are stored in the order `perm`."""
    found = quantization_of(value)
    if found is None or found.axis is None:
        return found
    return replace(found, axis=perm.index(found.axis))


class NodeContext(NodeView):
    """What a handler sees of the node that it lowers.

    Attributes:
        node: the ONNX node.
        layout: storage orders chosen by the handler's rule.
    """

    def __init__(self, lowering: Lowering, node: ir.Node, layout: NodeLayout) -> None:
        super().__init__(node)
        self.lowering = lowering
        self.layout = layout

    # Values.

    @property
    def perm(self) -> Perm:
        """Storage order of the first output."""
        return self.layout.outputs[0]

    @property
    def input_perm(self) -> Perm:
        """Storage order of the first input."""
        return self.layout.inputs[0]

    def input(self, index: int = 0) -> Tensor:
        """The tensor of an input in the order that the layout rule chose."""
        return self.lowering.value(self.onnx(index), self.layout.inputs[index])

    def input_as(self, index: int, perm: Perm) -> Tensor:
        """The tensor of an input in an order of the handler's own choice."""
        return self.lowering.value(self.onnx(index), perm)

    def axis(self, axis: Any, perm: Perm | None = None) -> Any:
        """Where an ONNX axis (negative: from the end) is stored, in the first input's order by default."""
        perm = self.input_perm if perm is None else perm
        return perm.index(axis % len(perm) if perm else 0)

    # Emitting.

    def output(self, index: int = 0, perm: Perm | None = None) -> Tensor:
        """Make the tensor of an output, in the order that the layout rule chose unless told otherwise."""
        value = self.node.outputs[index]
        perm = self.layout.outputs[index] if perm is None else perm
        assert value.dtype is not None
        shape = shape_of(value)
        tensor = Tensor(
            self.lowering.unique(value.name or "value"),
            tuple(shape[axis] for axis in perm),
            value.dtype.numpy(),
        )
        self.lowering.bind(value, tensor, perm)
        return tensor

    def alias(self, tensor: Tensor, index: int = 0) -> None:
        """Say that an output is `tensor` itself, in the order that the layout rule chose."""
        self.lowering.bind(self.node.outputs[index], tensor, self.layout.outputs[index])

    def temp(self, shape: Sequence[Any], dtype: np.dtype, suffix: str) -> Tensor:
        """A tensor between two operators of this node."""
        base = self.node.outputs[0].name or self.node.op_type
        return Tensor(self.lowering.unique(f"{base}/{suffix}"), tuple(shape), np.dtype(dtype))

    def const(self, data: np.ndarray | np.generic, suffix: str) -> Tensor:
        """A constant tensor, already in storage order."""
        data = np.array(data, order="C")
        base = self.node.outputs[0].name or self.node.op_type
        return Tensor(self.lowering.unique(f"{base}/{suffix}"), data.shape, data.dtype, data)

    def int_const(self, values: Sequence[Any] | np.ndarray, suffix: str) -> Tensor:
        """A one-dimensional int32 constant."""
        return self.const(np.asarray(values, np.int32).reshape(-1), suffix)

    def emit(
        self,
        code: Any,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor] | Tensor,
        options: Any = None,
        version: Any = 1,
    ) -> Tensor:
        """Append an operator; returns its first output."""
        made = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        self.lowering.emit(code, inputs, made, options, version)
        return made[0]

    def reshape(self, tensor: Tensor, shape: Sequence[Any], suffix: str) -> Tensor:
        """The same data under another shape, as a tensor between two operators."""
        base = self.node.outputs[0].name or self.node.op_type
        return self.lowering.reshape(tensor, shape, self.lowering.unique(f"{base}/{suffix}"))

    def reshape_to_output(self, tensor: Tensor, index: int = 0) -> Tensor:
        """The same data as output `index`."""
        made = self.output(index)
        options = schema.ReshapeOptionsT()
        options.newShape = np.asarray(made.shape, np.int32)
        return self.emit(Op.RESHAPE, [tensor, self.int_const(made.shape, "shape")], made, options)


def lower_node(lowering: Lowering, node: ir.Node) -> Refusal | None:
    """Lower one node; on refusal its outputs become placeholders, so that later nodes are checked too."""
    try:
        _lower(lowering, node)
        return None
    except Refused as refused:
        for value in node.outputs:
            if value.dtype is not None and value.shape is not None:
                dtype = np.dtype(np.float32) if value.dtype in REFUSED_TYPES else value.dtype.numpy()
                lowering.bind(value, Tensor("refused", shape_of(value), dtype), plain_perm(rank_of(value)))
        return Refusal(operator_name(node), node.name or "", refused.reason, refused.hint)


def _lower(lowering: Lowering, node: ir.Node) -> None:
    if node.domain not in ONNX_DOMAINS or node.op_type not in handlers():
        raise Refused("no lowering to TFLite", "replace the operator in the network, or export with -f onnx")
    for value in [*node.inputs, *node.outputs]:
        if value is not None and value.dtype in REFUSED_TYPES:
            raise Refused(
                f"'{value.name}' is {REFUSED_TYPES[value.dtype]}, which TFLite's kernels do not compute",
                "convert the network to float32 before exporting; -p fp16 then makes a float16 file",
            )
    lowering.node = node
    handler = handlers().get(node.op_type)
    layout = handler.layout(node, [lowering.perm_of(value) for value in node.inputs])
    handler.lower(NodeContext(lowering, node, layout))


def lower_graph(lowering: Lowering, graph: ir.Graph) -> None:
    """Lower every node in order.

    Raises:
        UnsupportedOpsError: names every node that cannot be lowered, not only the first.
    """
    refusals = [refusal for node in graph if (refusal := lower_node(lowering, node)) is not None]
    if refusals:
        raise UnsupportedOpsError(refusals, "TFLite")


def elements(shape: Sequence[int]) -> int:
    """Number of elements."""
    return prod(shape)
