"""Writes QuantizeLinear and DequantizeLinear nodes into a graph."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.quantization import NARROW, Quantization
from toolchain.converters.graph.rewrite import add_initializer, constant, required

Key = tuple[object, ...]


class Pairs:
    """Adds nodes to one graph; a constant that several nodes read in the same form is stored once."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._stored: dict[Key, ir.Value] = {}

    def store_constant(self, node: ir.Node, index: int, found: Quantization) -> None:
        """Let input `index`, a constant, come from integers and a DequantizeLinear."""
        value = required(node, index)
        key = (value, found.scale.tobytes(), found.zero_point.tobytes(), found.dtype, found.axis)
        if key not in self._stored:
            self._stored[key] = self._restored(node, value, found)
        node.replace_input_with(index, self._stored[key])

    def insert(
        self, value: ir.Value, found: Quantization, readers: Collection[ir.Node] | None = None
    ) -> ir.Value:
        """Put a pair behind a value; returns what the pair makes.

        Args:
            value: a value that is not a constant.
            found: how it is stored.
            readers: who reads the rounded value; None for all, and for the graph's outputs.
        """
        name = value.name or "value"
        parameters = self._parameters(name, found)
        uses = [use for use in value.uses() if readers is None or use.node in readers]
        quantize = ir.node("QuantizeLinear", [value, *parameters], name=f"{name}/quantize")
        stored = quantize.outputs[0]
        stored.name, stored.shape = f"{name}.quantized", value.shape
        stored.dtype = ir.DataType.from_numpy(found.dtype)
        restore = ir.node("DequantizeLinear", [stored, *parameters], name=f"{name}/dequantize")
        made = restore.outputs[0]
        made.name, made.shape, made.dtype = f"{name}.real", value.shape, ir.DataType.FLOAT
        for use in uses:
            use.node.replace_input_with(use.idx, made)
        producer = value.producer()
        if producer is not None:
            self.graph.insert_after(producer, [quantize, restore])
        else:
            self.graph.insert_before(self.graph[0], [quantize, restore])
        if readers is None:
            self._replace_output(value, made)
        return made

    def _replace_output(self, value: ir.Value, made: ir.Value) -> None:
        """A graph output keeps its name, and holds the rounded value."""
        if not value.is_graph_output():
            return
        name = value.name
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = made
        if not value.is_graph_input():
            value.name, made.name = f"{name}.float", name

    def _restored(self, node: ir.Node, value: ir.Value, found: Quantization) -> ir.Value:
        data = constant(value)
        assert data is not None
        # Large int32 biases have more digits than float32.
        wide = np.float64 if found.dtype.itemsize > NARROW else np.float32
        integers = found.stored(data.astype(wide, copy=False))
        stored = add_initializer(self.graph, integers, f"{value.name}.quantized")
        attributes = {} if found.axis is None else {"axis": found.axis}
        restore = ir.node(
            "DequantizeLinear",
            [stored, *self._parameters(stored.name or "constant", found)],
            attributes,
            name=f"{stored.name}/dequantize",
        )
        made = restore.outputs[0]
        made.name, made.shape, made.dtype = f"{stored.name}.real", value.shape, ir.DataType.FLOAT
        self.graph.insert_before(node, restore)
        return made

    def _parameters(self, name: str, found: Quantization) -> list[ir.Value]:
        shape = () if found.axis is None else (-1,)
        zero = found.zero_point.astype(found.dtype)
        return [
            add_initializer(self.graph, found.scale.reshape(shape), f"{name}.scale"),
            add_initializer(self.graph, zero.reshape(shape), f"{name}.zero_point"),
        ]
