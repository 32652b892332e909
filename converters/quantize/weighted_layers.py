"""Operators with int8 weights in a graph of QuantizeLinear/DequantizeLinear pairs; how to rewrite them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    add_initializer,
    attribute,
    constant,
    graph_of,
    input_at,
    is_op,
    set_inputs,
)
from toolchain.converters.quantize.scheme import WEIGHT_MOST, WEIGHTED

INT32_MOST = 2**31 - 1


@dataclass
class WeightedLayer:
    """An operator whose weights are an int8 initializer behind a DequantizeLinear, and its float twin.

    Attributes:
        node: the operator in the quantized graph.
        twin: the operator of the same name in the float graph.
        float_weights: weights of the twin.
        float_bias: bias of the twin, zeros where it has none, (outputs,).
        axis: axis of the weights that the scales belong to, None for one scale.
    """

    node: ir.Node
    twin: ir.Node
    float_weights: np.ndarray
    float_bias: np.ndarray
    axis: int | None

    @property
    def name(self) -> str:
        """Name of the operator."""
        return self.node.name or ""

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return len(self.float_bias)

    @property
    def stored(self) -> np.ndarray:
        """The int8 weights."""
        array = constant(self._restore(1).inputs[0])
        assert array is not None
        return array

    @property
    def scale(self) -> np.ndarray:
        """Scales of the weights, float32, one or one for each index of `axis`."""
        array = constant(self._restore(1).inputs[1])
        assert array is not None
        return array.reshape(-1)

    @property
    def weights(self) -> np.ndarray:
        """The numbers that the int8 weights stand for."""
        return self.stored * self.along(self.scale)

    @property
    def bias(self) -> np.ndarray:
        """The bias as the quantized operator adds it, float64 (outputs,)."""
        value = input_at(self.node, 2)
        if value is None:
            return np.zeros(self.outputs)
        direct = constant(value)
        if direct is not None:
            return direct.astype(np.float64)
        stored, scale = (constant(self._restore(2).inputs[index]) for index in (0, 1))
        assert stored is not None
        assert scale is not None
        return stored.astype(np.float64) * scale

    @property
    def source(self) -> ir.Value:
        """The value that the operator reads, behind its DequantizeLinear."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    def along(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers for each scale, shaped to broadcast against the weights."""
        if self.axis is None:
            return numbers.reshape(())
        rank = self.float_weights.ndim
        return numbers.reshape([-1 if axis == self.axis else 1 for axis in range(rank)])

    def set_weights(self, stored: np.ndarray, scale: np.ndarray | None = None) -> None:
        """Store other integers in [-127, 127], and other scales; the bias keeps its value."""
        bias = self.bias
        restore = self._own(1)
        self._replace(restore, 0, np.clip(stored, -WEIGHT_MOST, WEIGHT_MOST).astype(np.int8))
        if scale is not None:
            shape = constant(restore.inputs[1]).shape  # type: ignore[union-attr]
            self._replace(restore, 1, scale.astype(np.float32).reshape(shape))
            if input_at(self.node, 2) is not None:
                self.set_bias(bias)

    def set_bias(self, bias: np.ndarray) -> bool:
        """Store a bias (outputs,) as int32 with the scale of the products, or as float where it is float.

        False where there can be none, as in a MatMul.
        """
        old = input_at(self.node, 2)
        if constant(old) is not None:
            self._replace(self.node, 2, bias.astype(np.float32))
            return True
        step = self._product_scale()
        if self.node.op_type == "MatMul" or step is None:
            return False
        stored = np.clip(np.rint(bias / step), -INT32_MOST, INT32_MOST).astype(np.int32)
        graph = graph_of(self.node)
        if old is not None:
            restore = self._own(2)
            shape = constant(restore.inputs[1]).shape  # type: ignore[union-attr]
            self._replace(restore, 0, stored)
            self._replace(restore, 1, step.astype(np.float32).reshape(shape))
            return True
        name = f"{self.name}.bias"
        single = step.size == 1
        parameters = [
            add_initializer(graph, stored, f"{name}.quantized"),
            add_initializer(graph, step.astype(np.float32).reshape(() if single else -1), f"{name}.scale"),
            add_initializer(graph, np.zeros(() if single else step.size, np.int32), f"{name}.zero_point"),
        ]
        restore = ir.node(
            "DequantizeLinear", parameters, {} if single else {"axis": 0}, name=f"{name}/dequantize"
        )
        made = restore.outputs[0]
        made.name, made.shape, made.dtype = f"{name}.real", ir.Shape([self.outputs]), ir.DataType.FLOAT
        graph.insert_before(self.node, restore)
        set_inputs(self.node, [*self.node.inputs[:2], made])
        return True

    def _product_scale(self) -> np.ndarray | None:
        """Scale of input times scale of weights, float64; None where the input is not quantized."""
        producer = self.source.producer()
        scale = constant(producer.inputs[1]) if is_op(producer, "DequantizeLinear") else None  # type: ignore[union-attr]
        return None if scale is None or scale.size != 1 else scale.reshape(-1).astype(np.float64) * self.scale

    def _restore(self, index: int) -> ir.Node:
        producer = self.node.inputs[index].producer()  # type: ignore[union-attr]
        assert producer is not None
        return producer

    def _own(self, index: int) -> ir.Node:
        """The DequantizeLinear before an input, copied where other operators read it too."""
        restore = self._restore(index)
        shared = restore.outputs[0]
        if len(list(shared.uses())) == 1:
            return restore
        name = f"{self.name}.{'weight' if index == 1 else 'bias'}"
        attributes = list(restore.attributes.values())
        copy = ir.Node("", "DequantizeLinear", restore.inputs, attributes, name=f"{name}/dequantize")
        made = copy.outputs[0]
        made.name, made.shape, made.type = f"{name}.own", shared.shape, shared.type
        graph_of(self.node).insert_before(self.node, copy)
        self.node.replace_input_with(index, made)
        return copy

    @staticmethod
    def _replace(node: ir.Node, index: int, array: np.ndarray) -> None:
        old = node.inputs[index]
        assert old is not None
        name, graph = old.name or "constant", graph_of(node)
        node.replace_input_with(index, add_initializer(graph, array, name))
        if not old.uses() and name in graph.initializers:
            graph.initializers.pop(name)


def weighted_layers(quantized: ir.Model, model: ir.Model) -> list[WeightedLayer]:
    """The operators with int8 weights of a quantized graph, in its order.

    Args:
        quantized: a graph with pairs, as `place_pairs` makes it.
        model: the float graph that it was made from; operators correspond by name.
    """
    twins = {node.name: node for node in model.graph}
    found = []
    for node in quantized.graph:
        twin = twins.get(node.name)
        if node.op_type not in WEIGHTED or twin is None or twin.op_type != node.op_type:
            continue
        layer = _layer(node, twin)
        if layer is not None:
            found.append(layer)
    return found


def _layer(node: ir.Node, twin: ir.Node) -> WeightedLayer | None:
    restore = node.inputs[1].producer() if node.inputs[1] is not None else None
    weights = constant(twin.inputs[1])
    if weights is None or not is_op(restore, "DequantizeLinear"):
        return None
    stored, scale = (constant(restore.inputs[index]) for index in (0, 1))  # type: ignore[union-attr]
    if stored is None or stored.dtype != np.int8 or scale is None or stored.shape != weights.shape:
        return None
    bias = constant(input_at(twin, 2))
    if input_at(twin, 2) is not None and bias is None:
        return None
    outputs = _outputs(node, weights)
    axis = None if scale.size == 1 else attribute(restore, "axis", 1) % weights.ndim  # type: ignore[arg-type]
    flat = (
        np.zeros(outputs)
        if bias is None
        else np.broadcast_to(bias.reshape(-1), (outputs,)).astype(np.float64)
    )
    return WeightedLayer(node, twin, weights, flat, axis)


def _outputs(node: ir.Node, weights: np.ndarray) -> int:
    if node.op_type == "Conv":
        return weights.shape[0]
    if node.op_type == "ConvTranspose":
        return weights.shape[1] * attribute(node, "group", 1)
    return weights.shape[0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else -1]
