"""Place QuantizeLinear/DequantizeLinear pairs in a cleaned graph, after the TFLite int8 specification."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from functools import reduce

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.graph.remove_dead import remove_dead
from toolchain.converters.graph.rewrite import STANDARD, add_initializer, constant, input_at, is_op, shape_of
from toolchain.converters.graph.unique_names import unique_names
from toolchain.converters.quantize.integer_forms import write_integer_forms
from toolchain.converters.quantize.integer_nodes import (
    channel_axis,
    data_inputs,
    float_outputs,
    fused_reader,
    integer_nodes,
    sole_limiter,
)
from toolchain.converters.quantize.pairs import Pairs
from toolchain.converters.quantize.scheme import (
    FIXED,
    FIXED_INT16,
    SAME_SCALE,
    WEIGHTED,
    Range,
    asymmetric,
    bias,
    symmetric,
    symmetric_int16,
)
from toolchain.errors import UnsupportedError, UsageError

Ranges = Mapping[str, Range]

ACTIVATIONS = ("int8", "int16")
INT16_OPSET = 21
"""The first opset whose QuantizeLinear writes int16."""


def place_pairs(
    model: ir.Model, ranges: Ranges, kept_float: Collection[str] = (), activations: str = "int8"
) -> None:
    """Make a graph compute as an integer file will, in place.

    ::

        x -> Conv(w, b) -> Relu -> y      x -> Q -> DQ -> Conv(DQ(w), DQ(b)) -> Relu -> Q -> DQ -> y

    1. Values that an integer operator reads or makes get a pair: one scale each. Between an operator and an
       activation that is fused into it there is none.
    2. Values that share numbers (pools, concatenations, views) share a scale; see `scheme.SAME_SCALE`. Where
       a value whose scale is fixed (`scheme.FIXED`) meets others that it cannot hold, the readers that need
       the common scale get a second pair.
    3. What only a Relu or Clip reads is stored with the range that is left behind it.
    4. Weights are int8, symmetric, a scale for each output channel; biases int32; other constants are stored
       like activations.
    5. With int16 activations (symmetric), biases stay float in the graph: ONNX has no int64 DequantizeLinear.
       Targets store them as int64 of the products' scale.
    6. Operators without an integer kernel, and those in `kept_float`, read and make float values.

    Args:
        model: a cleaned graph.
        ranges: value name -> range, at least those that `stored_values` names.
        kept_float: names of nodes that stay float.
        activations: "int8" or "int16".

    Raises:
        UsageError: a range is missing, or not finite; `kept_float` names a node that is not there.
        UnsupportedError: int16 activations with an operator whose meaning the newer opset changes.
    """
    if activations not in ACTIVATIONS:
        raise UsageError(f"activations '{activations}' are unknown", f"one of {', '.join(ACTIVATIONS)}")
    _check_names(model.graph, kept_float)
    write_integer_forms(model, kept_float)
    _Placement(model.graph, kept_float, activations).run(ranges)
    if activations == "int16":
        _raise_to_int16(model)
    remove_dead(model)
    unique_names(model)


def stored_values(model: ir.Model, kept_float: Collection[str] = ()) -> list[str]:
    """Names of the values whose ranges `place_pairs` needs, in the order of the graph.

    What is needed with some operators kept float is needed without them, too.
    The graph must have been through `write_integer_forms`, as `place_pairs` does first.
    """
    return _Placement(model.graph, kept_float, "int8").needed(limited=True)


class _Placement:
    def __init__(self, graph: ir.Graph, kept_float: Collection[str], activations: str) -> None:
        self.graph = graph
        self.fixed = FIXED if activations == "int8" else FIXED_INT16
        self.parameters = asymmetric if activations == "int8" else symmetric_int16
        self.biases = activations == "int8"
        self.nodes = integer_nodes(graph, kept_float)
        self.values = self._values()
        self.ranges: Ranges = {}
        # Quantization of each value, and the other one that its same-scale readers need, if any.
        self.own: dict[ir.Value, Quantization] = {}
        self.common: dict[ir.Value, Quantization] = {}

    def needed(self, limited: bool = False) -> list[str]:
        """Values whose range is asked for; `limited`: also those that take that of the limiter behind."""
        return [
            value.name or ""
            for value in self.values
            if self._known_range(value) is None and (limited or self._limited(value) is None)
        ]

    def run(self, ranges: Ranges) -> None:
        self.ranges = ranges
        _check_ranges(self.needed(), ranges)
        self._choose()
        pairs = Pairs(self.graph)
        for node in self.nodes:
            self._store_constants(pairs, node)
        for value, found in self.own.items():
            made = pairs.insert(value, found)
            if value in self.common:
                readers = [use.node for use in made.uses() if self._needs_common(use.node)]
                pairs.insert(made, self.common[value], readers)

    def _values(self) -> dict[ir.Value, None]:
        """Values that are stored as integers, in the order of the graph."""
        found: dict[ir.Value, None] = {}
        for node in self.nodes:
            for value in (*data_inputs(node), *float_outputs(node)):
                used = value.uses() or value.is_graph_output()
                if used and constant(value) is None and fused_reader(value, self.nodes) is None:
                    found[value] = None
        return found

    def _known_range(self, value: ir.Value) -> Range | None:
        """A range that the value's operator fixes."""
        producer = value.producer()
        if producer is None or producer not in self.nodes or producer.op_type not in self.fixed:
            return None
        return Range(*self.fixed[producer.op_type])

    def _range(self, value: ir.Value) -> Range:
        limited = self._limited(value)
        if limited is not None:
            return self._range(limited)
        return self._known_range(value) or self.ranges[value.name or ""]

    def _limited(self, value: ir.Value) -> ir.Value | None:
        """What is left of a value that only a limiter reads, and whose operator can write any scale."""
        producer, reader = value.producer(), sole_limiter(value, self.nodes)
        if producer is None or reader is None or producer not in self.nodes:
            return None
        return None if producer.op_type in SAME_SCALE or producer.op_type in self.fixed else reader.outputs[0]

    def _needs_common(self, node: ir.Node) -> bool:
        return node in self.nodes and node.op_type in SAME_SCALE

    def _choose(self) -> None:
        groups = _Groups(self.values)
        constants: dict[ir.Value, list[Range]] = {}
        for node in self.nodes:
            if node.op_type in SAME_SCALE:
                sharing = self._sharing(node)
                groups.join(sharing)
                found = [_range_of(data) for v in data_inputs(node) if (data := constant(v)) is not None]
                constants.setdefault(sharing[0], []).extend(found)
        for value in self.values:
            limited = self._limited(value)
            if limited is not None:
                groups.join([value, limited])
        for members in groups.sets():
            self._choose_group(members, [found for value in members for found in constants.get(value, ())])

    def _sharing(self, node: ir.Node) -> list[ir.Value]:
        """Stored operands and results of a node with one scale; a fused activation's stands for its own."""
        results = []
        for value in float_outputs(node):
            reader = fused_reader(value, self.nodes)
            results.append(value if reader is None else reader.outputs[0])
        return [value for value in (*data_inputs(node), *results) if value in self.values]

    def _choose_group(self, members: list[ir.Value], constants: list[Range]) -> None:
        fixed = {value: known for value in members if (known := self._known_range(value)) is not None}
        total = reduce(Range.joined, [*(self._range(value) for value in members), *constants])
        first = next(iter(fixed.values()), None)
        if first is not None and all(known == first for known in fixed.values()) and _nearly(first, total):
            total = first
        common = self.parameters(total)
        for value in members:
            self.own[value] = common if value not in fixed else self.parameters(fixed[value])
            if not self.own[value].same(common):
                self.common[value] = common

    def _store_constants(self, pairs: Pairs, node: ir.Node) -> None:
        operands = data_inputs(node)
        known: dict[int, Quantization] = {}
        for index, value in enumerate(node.inputs):
            if value is None or not any(value is operand for operand in operands):
                continue
            data = constant(value)
            if data is None and value in self.own:
                known[index] = self.own[value]
            elif data is not None:
                known[index] = self._shared(node) or self.parameters(_range_of(data))
                pairs.store_constant(node, index, known[index])
        if node.op_type in WEIGHTED:
            self._store_weights(pairs, node, known)

    def _shared(self, node: ir.Node) -> Quantization | None:
        """The scale that all operands of a node must have, None where there is no such demand."""
        if node.op_type not in SAME_SCALE:
            return None
        value = self._sharing(node)[0]
        return self.common.get(value, self.own[value])

    def _store_weights(self, pairs: Pairs, node: ir.Node, known: Mapping[int, Quantization]) -> None:
        place, bias_place = WEIGHTED[node.op_type]
        source = known[0]
        offset = constant(input_at(node, bias_place)) if bias_place is not None else None
        if offset is not None and bias_place is not None and node.op_type == "Gemm":
            offset = self._bias_of_gemm(node, bias_place, offset)
        found = known.get(place)
        if found is None:
            weights = constant(input_at(node, place))
            assert weights is not None
            found = symmetric(weights, channel_axis(node, weights.ndim), source, offset)
            pairs.store_constant(node, place, found)
        if self.biases and offset is not None and bias_place is not None:
            pairs.store_constant(node, bias_place, bias(source, found, offset.ndim - 1))

    def _bias_of_gemm(self, node: ir.Node, place: int, offset: np.ndarray) -> np.ndarray:
        """One number for each column, where the node has one for all."""
        columns = (shape_of(node.outputs[0]) or (0, 0))[1]
        if offset.ndim and offset.shape[-1] == columns:
            return offset
        offset = np.broadcast_to(offset.reshape(-1), (columns,))
        node.replace_input_with(place, add_initializer(self.graph, offset, f"{node.name}.bias"))
        return offset


def _range_of(data: np.ndarray) -> Range:
    return Range(float(data.min(initial=0)), float(data.max(initial=0)))


def _nearly(first: Range, other: Range) -> bool:
    """Whether a fixed range holds another up to one step: softmax reaches 1, its fixed range 255/256."""
    step = (first.high - first.low) / 255
    return Range(first.low - step, first.high + step).holds(other)


def _check_names(graph: ir.Graph, kept_float: Collection[str]) -> None:
    names = {node.name or "" for node in graph}
    unknown = [name for name in kept_float if name not in names]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "use the names that the report lists"
        raise UsageError(f"no node is called '{unknown[0]}', which is to stay float", hint)


def _check_ranges(needed: list[str], ranges: Ranges) -> None:
    missing = [name for name in needed if name not in ranges]
    if missing:
        more = f" and of {len(missing) - 1} more values" if len(missing) > 1 else ""
        raise UsageError(
            f"the range of '{missing[0]}'{more} is not known ({len(needed)} are needed)",
            "give calibration data with --calibration: the ranges are those of another network",
        )
    for name in needed:
        found = ranges[name]
        if not np.isfinite([found.low, found.high]).all() or found.low > found.high:
            raise UsageError(
                f"the range of '{name}' is {found.low:g} to {found.high:g}",
                "find the layer that makes such values; their range cannot be stored as integers",
            )


def _raise_to_int16(model: ir.Model) -> None:
    if (model.opset_imports.get(STANDARD) or 0) >= INT16_OPSET:
        return
    for node in model.graph:
        # Its scale has one number for each group before opset 21, for each channel since.
        if is_op(node, "GroupNormalization"):
            raise UnsupportedError(
                f"node '{node.name}' (GroupNormalization) cannot be brought to opset {INT16_OPSET},"
                " which int16 activations need",
                "use int8 activations",
            )
    model.opset_imports[STANDARD] = INT16_OPSET


class _Groups:
    """Sets of values with one scale (union-find)."""

    def __init__(self, values: Iterable[ir.Value]) -> None:
        self.parents = {value: value for value in values}

    def find(self, value: ir.Value) -> ir.Value:
        while self.parents[value] is not value:
            value = self.parents[value]
        return value

    def join(self, values: list[ir.Value]) -> None:
        for value in values[1:]:
            self.parents[self.find(value)] = self.find(values[0])

    def sets(self) -> list[list[ir.Value]]:
        found: dict[ir.Value, list[ir.Value]] = {}
        for value in self.parents:
            found.setdefault(self.find(value), []).append(value)
        return list(found.values())
