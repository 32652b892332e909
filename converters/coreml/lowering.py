"""Lower an ONNX graph node by node to a MIL program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from toolchain.converters.coreml.goal import NEURAL_NETWORK, QUANTIZED_IOS, Goal
from toolchain.converters.coreml.layers import missing_layer
from toolchain.converters.coreml.mil import Var, mb, types
from toolchain.converters.coreml.refusals import CoremltoolsRefused, coremltools_refusals
from toolchain.converters.node_view import (
    ONNX_DOMAINS,
    NodeView,
    Refused,
    is_constant,
    operator_name,
    rank_of,
    shape_of,
)
from toolchain.errors import Refusal, UnsupportedOpsError
from toolchain.registry import Registry

MOST_AXES = 5
INT32 = np.iinfo(np.int32)
# ONNX element type -> what a program computes with; Core ML has no 64-bit integers.
COMPUTED_TYPES = {
    ir.DataType.FLOAT: np.dtype(np.float32),
    ir.DataType.INT32: np.dtype(np.int32),
    ir.DataType.INT64: np.dtype(np.int32),
    ir.DataType.BOOL: np.dtype(np.bool_),
}
# What QuantizeLinear makes and DequantizeLinear reads; nothing else computes with it.
QUANTIZED_TYPES = {ir.DataType.INT8: np.dtype(np.int8), ir.DataType.UINT8: np.dtype(np.uint8)}
HELD_TYPES = COMPUTED_TYPES | QUANTIZED_TYPES
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")

Handler = Callable[["NodeContext"], None]
_registry: Registry[Handler] = Registry("Core ML operator handler")


def lowers(*op_types: str) -> Callable[[Handler], Handler]:
    """Decorator that makes a function the handler of ONNX operators."""
    return _registry.register(*op_types)


def handlers() -> Registry[Handler]:
    """The registry with every family file imported."""
    from toolchain.converters.coreml import ops  # noqa: F401

    return _registry


class Lowering:
    """A graph on its way to a program: which MIL variable holds which value."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self._vars: dict[ir.Value, Var] = {}
        self._reserved: set[ir.Value] = set()
        self._bound: set[int] = set()
        self._names: set[str] = set()
        self._shared: dict[tuple[str, bytes], Var] = {}

    def unique(self, name: str) -> str:
        """`name`, or `name_2`, `name_3` ... when it is taken."""
        made, count = name, 1
        while made in self._names:
            count += 1
            made = f"{name}_{count}"
        self._names.add(made)
        return made

    def reserve(self, value: ir.Value) -> None:
        """Keep a graph output's name for the variable that holds it."""
        self._names.add(value.name or "output")
        self._reserved.add(value)

    def bind(self, value: ir.Value, var: Var) -> None:
        """Say that `var` holds `value`; a variable that holds nothing yet takes over its name."""
        if var.op is not None and var.op.op_type != "const" and id(var) not in self._bound:
            name = value.name or var.name
            var.name = name if value in self._reserved else self.unique(name)
        self._bound.add(id(var))
        self._vars[value] = var

    def shared(self, parameter: np.ndarray | np.generic | str) -> Var:
        """One constant for all operators that have this parameter; the specification would fill with them."""
        data = np.asarray(parameter)
        key = (f"{data.dtype} {data.shape}", data.tobytes())
        if key not in self._shared:
            self._shared[key] = mb.const(val=parameter, name=self.unique("parameter"))
        return self._shared[key]

    def value(self, value: ir.Value) -> Var:
        """The variable that holds `value`; constants come into the program when they are first read."""
        if value not in self._vars:
            assert value.const_value is not None
            data = computed(value.const_value.numpy(), value.name or "a constant")
            self._vars[value] = mb.const(val=data, name=self.unique(value.name or "constant"))
        return self._vars[value]


def computed(data: np.ndarray, name: str) -> np.ndarray | np.generic:
    """A constant in the element type that the program computes with.

    Raises:
        Refused: a value does not fit into int32, or the type has no exact counterpart.
    """
    if data.dtype.kind in "iu":
        if data.size and (data.min() < INT32.min or data.max() > INT32.max):
            raise Refused(f"'{name}' holds integers beyond 32 bits", "Core ML computes with int32 only")
        data = data.astype(np.int32)
    elif data.dtype not in (np.float32, np.bool_):
        raise Refused(f"'{name}' is {data.dtype}, which Core ML does not compute", "convert it to float32")
    return data if data.ndim else data[()]


class NodeContext(NodeView):
    """What a handler sees of the node that it lowers.

    Attributes:
        node: the ONNX node.
        goal: what is written.
    """

    def __init__(self, lowering: Lowering, node: ir.Node) -> None:
        super().__init__(node)
        self.lowering = lowering
        self.goal = lowering.goal

    def input(self, index: int = 0) -> Var:
        """The variable of an input, constant or not."""
        return self.lowering.value(self.onnx(index))

    def optional(self, index: int) -> Var | None:
        """As `input`, None when the optional input is left out."""
        return self.input(index) if self.given(index) else None

    def is_constant(self, index: int) -> bool:
        """Whether an input is known while converting."""
        return is_constant(self.onnx(index))

    def computed_dtype(self, index: int = 0) -> np.dtype:
        """Element type of an input as the program has it: float32, int32 or bool."""
        return COMPUTED_TYPES[self.onnx(index).dtype]  # type: ignore[index]

    def is_float(self, index: int = 0) -> bool:
        """Whether an input is floating-point."""
        return self.computed_dtype(index) == np.float32

    def is_used(self, index: int) -> bool:
        """Whether somebody reads an output of the node."""
        if index >= len(self.node.outputs):
            return False
        value = self.node.outputs[index]
        return bool(value.uses()) or value.is_graph_output()

    def require_ios(self, ios: int, what: str) -> None:
        """Raises Refused where the file must run on older systems than `what` needs."""
        if self.goal.kind == NEURAL_NETWORK:
            raise Refused(f"{what} does not exist in neural networks", "export with -f coreml")
        if self.goal.ios < ios:
            raise Refused(f"{what} needs iOS {ios}", f"export with --ios {ios}")

    def store(self, var: Var, index: int = 0) -> None:
        """Say that `var` is the node's output `index`; its shape and type must be those of the ONNX graph.

        Raises:
            Refused: they are not, which is a fault of the handler.
        """
        value = self.node.outputs[index]
        wanted, shape = HELD_TYPES[value.dtype], shape_of(value)  # type: ignore[index]
        found = tuple(int(size) for size in var.shape)
        if found != shape or types.nptype_from_builtin(var.dtype) != wanted.type:
            raise Refused(
                f"lowered to {types.builtin_to_string(var.dtype)} {found}, the graph has {wanted} {shape}",
                "please report this fault of the converter with the network",
            )
        self.lowering.bind(value, var)


def lower_node(lowering: Lowering, node: ir.Node) -> Refusal | None:
    """Lower one node; on refusal its outputs become placeholders, so that later nodes are checked too."""
    block = mb_block()
    before = len(block.operations)
    try:
        with coremltools_refusals():
            _lower(lowering, node)
        _check_layers(lowering.goal, block, before)
        return None
    except Refused as refused:
        reason, hint = refused.reason, refused.hint
    except CoremltoolsRefused as refused:
        reason, hint = f"coremltools refuses it: {refused}", ""
    for value in node.outputs:
        _bind_placeholder(lowering, value)
    return Refusal(operator_name(node), node.name or "", reason, hint)


def mb_block() -> Any:
    """The block that the builder writes to."""
    from coremltools.converters.mil.mil.block import curr_block

    return curr_block()


def _bind_placeholder(lowering: Lowering, value: ir.Value) -> None:
    """A variable that stands for what a refused node would compute."""
    if value.dtype is None or value.shape is None:
        return
    dtype = COMPUTED_TYPES.get(value.dtype, np.dtype(np.float32))
    shape = shape_of(value)
    if 0 in shape:
        return
    # Not a constant that handlers could fold: a placeholder's value is unknown.
    filled = mb.fill(shape=np.array(shape or (1,), np.int32), value=dtype.type(0))
    if value.dtype in QUANTIZED_TYPES and lowering.goal.ios >= QUANTIZED_IOS:
        filled = mb.cast(x=filled, dtype=QUANTIZED_TYPES[value.dtype].name)
    lowering.bind(value, filled)


def _lower(lowering: Lowering, node: ir.Node) -> None:
    if node.domain not in ONNX_DOMAINS or node.op_type not in handlers():
        raise Refused("no lowering to Core ML", "replace the operator in the network, or export with -f onnx")
    for value in [*node.inputs, *node.outputs]:
        if value is None:
            continue
        if node.op_type not in QUANTIZING:
            check_type(value)
        check_shape(value)
    handlers().get(node.op_type)(NodeContext(lowering, node))


def check_value(value: ir.Value) -> None:
    """Raises Refused for a value that no Core ML program can compute with."""
    check_type(value)
    check_shape(value)


def check_type(value: ir.Value) -> None:
    """Raises Refused for an element type that Core ML does not compute with."""
    if value.dtype is not None and value.dtype not in COMPUTED_TYPES:
        name = {"DOUBLE": "float64"}.get(value.dtype.name, value.dtype.name.lower())
        raise Refused(
            f"'{value.name}' is {name}, which Core ML does not compute",
            "convert the network to float32 and int32 before exporting; -p fp16 then makes a float16 file",
        )


def check_shape(value: ir.Value) -> None:
    """Raises Refused for a shape that no Core ML program can hold."""
    if value.shape is None:
        return
    if rank_of(value) > MOST_AXES:
        raise Refused(
            f"'{value.name}' has {rank_of(value)} axes, Core ML takes {MOST_AXES} at most",
            "merge axes in the network",
        )
    if 0 in shape_of(value) and not is_constant(value):
        raise Refused(f"'{value.name}' has no elements", "leave empty tensors out of the network")


def _check_layers(goal: Goal, block: Any, before: int) -> None:
    """Refuse operations that have no layer in the older format."""
    if goal.kind != NEURAL_NETWORK:
        return
    for operation in list(block.operations)[before:]:
        if reason := missing_layer(operation):
            raise Refused(reason, "export with -f coreml")


def lower_graph(lowering: Lowering, graph: ir.Graph) -> None:
    """Lower every node in order, into the block that the builder writes to.

    Raises:
        UnsupportedOpsError: names every node that cannot be lowered, not only the first.
    """
    refusals = [refusal for node in graph if (refusal := lower_node(lowering, node)) is not None]
    if refusals:
        target = "a Core ML neural network" if lowering.goal.kind == NEURAL_NETWORK else "Core ML"
        raise UnsupportedOpsError(refusals, target)
