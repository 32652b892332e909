"""Runs a quantized graph layer by layer, so that each layer sees what the changed ones before it make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import constant, is_op
from toolchain.converters.quantize.channel_statistics import Sample, session_of
from toolchain.converters.quantize.weighted_layers import WeightedLayer

Arrays = list[np.ndarray]


class Walk:
    """Holds the values that later nodes read, for all samples, as the integers that they are stored as.

    Args:
        quantized: a sorted graph with pairs; its constants may be changed while it is walked, for nodes not
            yet passed.
        samples: {input name: array} each.
    """

    def __init__(self, quantized: ir.Model, samples: Sequence[Sample]) -> None:
        self.graph = quantized.graph
        self.opset = dict(quantized.opset_imports)
        self.version = quantized.ir_version
        self.order = {node: index for index, node in enumerate(self.graph)}
        self.held: dict[ir.Value, Arrays] = {
            value: [np.asarray(sample[value.name or ""]) for sample in samples] for value in self.graph.inputs
        }
        self.count = len(samples)

    def inputs(self, layers: Sequence[WeightedLayer]) -> Iterator[tuple[WeightedLayer, Arrays]]:
        """Each layer with its float input for all samples, one after the other in the order of the graph.

        A layer may be changed until the next one is asked for.
        """
        for layer in sorted(layers, key=lambda each: self.order[each.node]):
            source = stored_form(layer.source)
            self._advance(source, self.order[layer.node])
            yield layer, self.held[source]

    def read(self, value: ir.Value) -> Arrays | None:
        """A value in float for all samples, where it is held."""
        source = stored_form(value)
        held = self.held.get(source)
        return None if held is None else [real(value, array) for array in held]

    def _advance(self, wanted: ir.Value, position: int) -> None:
        """Compute `wanted`, and what else nodes from `position` on read of the nodes before."""
        live = {wanted: None}
        for node, index in self.order.items():
            if index < position:
                continue
            for value in node.inputs:
                found = self._origin(value, position)
                if found is not None:
                    live[found] = None
        missing = [value for value in live if value not in self.held]
        if missing:
            made = self._run(missing)
            self.held.update(made)
        self.held = {value: arrays for value, arrays in self.held.items() if value in live}

    def _origin(self, value: ir.Value | None, position: int) -> ir.Value | None:
        """What is to be held for a reader; None for constants and values that are not yet due."""
        if value is None or constant(value) is not None:
            return None
        value = stored_form(value)
        producer = value.producer()
        if producer is None:
            return value if value in self.held else None
        if self.order.get(producer, position) >= position or _is_constant(producer):
            return None
        return value

    def _run(self, wanted: Sequence[ir.Value]) -> dict[ir.Value, Arrays]:
        nodes, borders = self._needed(wanted)
        session = session_of(self._part(nodes, borders, wanted))
        names = [value.name or "" for value in wanted]
        made: dict[ir.Value, Arrays] = {value: [] for value in wanted}
        for index in range(self.count):
            feeds = {value.name: self.held[value][index] for value in borders}
            for value, array in zip(wanted, session.run(names, feeds), strict=True):
                made[value].append(array)
        return made

    def _needed(self, wanted: Sequence[ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
        nodes: set[ir.Node] = set()
        borders: dict[ir.Value, None] = {}
        open_values = list(wanted)
        while open_values:
            value = open_values.pop()
            producer = value.producer()
            if value in self.held and value not in wanted:
                borders[value] = None
            elif producer is not None and producer not in nodes:
                nodes.add(producer)
                open_values.extend(x for x in producer.inputs if x is not None and constant(x) is None)
        return sorted(nodes, key=lambda node: self.order.get(node, -1)), list(borders)

    def _part(self, nodes: list[ir.Node], borders: list[ir.Value], wanted: Sequence[ir.Value]) -> ir.Model:
        """A model of its own with copies of the nodes."""
        copies: dict[ir.Value, ir.Value] = {}
        initializers = []

        def copy(value: ir.Value | None) -> ir.Value | None:
            if value is None:
                return None
            if value not in copies:
                made = ir.Value(
                    name=value.name, shape=value.shape, type=value.type, const_value=value.const_value
                )
                copies[value] = made
                if constant(value) is not None:
                    initializers.append(made)
            return copies[value]

        inputs = [copy(value) for value in borders]
        made_nodes = []
        for node in nodes:
            made_inputs = [copy(value) for value in node.inputs]
            made_outputs = [copy(value) for value in node.outputs]
            made_nodes.append(
                ir.Node(
                    node.domain,
                    node.op_type,
                    made_inputs,
                    list(node.attributes.values()),
                    outputs=made_outputs,  # type: ignore[arg-type]
                    name=node.name,
                )
            )
        graph = ir.Graph(
            inputs,  # type: ignore[arg-type]
            [copies[value] for value in wanted],
            nodes=made_nodes,
            initializers=initializers,
            opset_imports=self.opset,
            name="part",
        )
        return ir.Model(graph, ir_version=self.version)


def stored_form(value: ir.Value) -> ir.Value:
    """The integers before a DequantizeLinear that are computed; other values themselves."""
    producer = value.producer()
    if is_op(producer, "DequantizeLinear") and constant(producer.inputs[0]) is None:  # type: ignore[union-attr]
        return producer.inputs[0]  # type: ignore[union-attr,return-value]
    return value


def parameters(value: ir.Value) -> tuple[float, int] | None:
    """Scale and zero point of a value behind a DequantizeLinear; None for a float value."""
    if stored_form(value) is value:
        return None
    producer = value.producer()
    scale, zero = (constant(producer.inputs[index]) for index in (1, 2))  # type: ignore[union-attr]
    assert scale is not None
    return float(scale.item()), 0 if zero is None else int(zero.item())


def real(value: ir.Value, held: np.ndarray) -> np.ndarray:
    """The float numbers of a value from the form in which it is held."""
    found = parameters(value)
    if found is None:
        return held.astype(np.float32, copy=False)
    return (held.astype(np.float32) - found[1]) * np.float32(found[0])


def _is_constant(node: ir.Node) -> bool:
    return is_op(node, "DequantizeLinear") and constant(node.inputs[0]) is not None
