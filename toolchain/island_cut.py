"""The division of a network into integer and float nodes that takes the least time, as a minimum cut."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from math import prod
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from toolchain.runtimes.tflite_parts import (
    is_constant,
    least_milliseconds,
    operator_name,
    part_of,
    read_parts,
    signature,
)

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
FLOAT = schema.TensorType.FLOAT32
ROUNDS = 5
# Milliseconds of a conversion, per element where the file has none to measure, and of its call.
PER_ELEMENT = 1e-7
PER_CALL = 1e-3
INTEGERS, FLOATS = "integers", "floats"


class Network:
    """A .tflite file whose operators know the ONNX nodes that they were made from.

    Args:
        data: the file's bytes.
        origins: for each operator the name of its node, empty where there is none.
    """

    def __init__(self, data: bytes, origins: tuple[str, ...]) -> None:
        self.data, self.origins = data, origins
        self._names: dict[int, str] = {}

    @cached_property
    def model(self) -> Any:
        """The file's objects."""
        model = read_parts(self.data)
        self._names = {
            id(operator): name
            for operator, name in zip(model.subgraphs[0].operators, self.origins, strict=True)
        }
        return model

    @property
    def all_operators(self) -> list[Any]:
        """Every operator, in order."""
        found: list[Any] = self.model.subgraphs[0].operators
        return found

    def origin(self, operator: Any) -> str:
        """Name of the node of an operator, empty where there is none."""
        return self._names[id(operator)]

    def operators(self, nodes: Collection[str]) -> list[Any]:
        """The operators of some nodes, and the conversions of what they make, or that only they read."""
        inside = {id(operator) for operator in self.all_operators if self.origin(operator) in nodes}
        made = {int(i) for operator in self.all_operators if id(operator) in inside for i in operator.outputs}
        readers: dict[int, list[Any]] = {}
        for operator in self.all_operators:
            for index in operator.inputs:
                readers.setdefault(int(index), []).append(operator)
        for operator in self.all_operators:
            if not self.origin(operator) and int(operator.inputs[0]) in made:
                inside.add(id(operator))
                made.update(int(i) for i in operator.outputs)
        for operator in reversed(self.all_operators):
            reading = readers.get(int(operator.outputs[0]), [])
            if not self.origin(operator) and reading and all(id(other) in inside for other in reading):
                inside.add(id(operator))
        return [operator for operator in self.all_operators if id(operator) in inside]

    def kind(self, nodes: Collection[str]) -> str:
        """Equal for parts that consist of equal operators."""
        return ";".join(signature(self.model, operator) for operator in self.operators(nodes))

    def milliseconds(self) -> dict[str, float]:
        """Time of every node: the sum of its operators, each timed alone, equal ones once."""
        times: dict[str, float] = {}
        found: dict[str, float] = {}
        for operator in self.all_operators:
            if not self.origin(operator):
                continue
            key = signature(self.model, operator)
            if key not in times:
                [times[key]] = least_milliseconds([part_of(self.model, [operator])], ROUNDS)
            found[self.origin(operator)] = found.get(self.origin(operator), 0.0) + times[key]
        return found

    def conversion_rate(self) -> float:
        """Milliseconds for each element of the largest conversion in the file."""
        tensors = self.model.subgraphs[0].tensors
        found = [
            (prod(int(size) for size in tensors[int(operator.outputs[0])].shape), place)
            for place, operator in enumerate(self.all_operators)
            if operator_name(self.model, operator) in CONVERSIONS
            and FLOAT in {tensors[int(operator.inputs[0])].type, tensors[int(operator.outputs[0])].type}
        ]
        if not found:
            return PER_ELEMENT
        count, place = max(found)
        [time] = least_milliseconds([part_of(self.model, [self.all_operators[place]])], ROUNDS)
        return time / count


class _Tensors:
    """Who makes and who reads each tensor of floats of a network."""

    def __init__(self, network: Network) -> None:
        graph = network.model.subgraphs[0]
        self.sizes: dict[int, int] = {}
        self.makers: dict[int, str] = {}
        self.readers: dict[int, list[str]] = {}
        self.inputs = {int(i) for i in graph.inputs}
        self.outputs = {int(i) for i in graph.outputs}
        for number, operator in enumerate(network.all_operators):
            name = network.origin(operator) or f"#{number}"
            for index in map(int, operator.outputs):
                self.makers[index] = name
            for index in map(int, operator.inputs):
                if (
                    index >= 0
                    and graph.tensors[index].type == FLOAT
                    and not is_constant(network.model, index)
                ):
                    self.readers.setdefault(index, []).append(name)
        for index in {*self.makers, *self.readers}:
            if graph.tensors[index].type == FLOAT:
                self.sizes[index] = prod(int(size) for size in graph.tensors[index].shape)


def float_side(
    floats: Network, integers: Network, fixed: Collection[str], float_borders: bool
) -> frozenset[str]:
    """Names of the nodes that compute with floats where the sum of all times is least.

    The cut is one of this graph, for a tensor t that node a makes and node b reads:

        INTEGERS --(time of a as floats)--> a --(time of a as integers)--> FLOATS
        a --(DEQUANTIZE of t)--> "t as floats" --(any)--> b
        b --(any)--> "t as integers" --(QUANTIZE of t)--> a

    Args:
        floats: the network of floats.
        integers: the network in which every node is integer that can.
        fixed: names of nodes that cannot.
        float_borders: whether inputs and outputs of the network are floats.
    """
    import networkx

    as_floats, as_integers = floats.milliseconds(), integers.milliseconds()
    rate, tensors = integers.conversion_rate(), _Tensors(floats)
    border = FLOATS if float_borders else INTEGERS
    graph = networkx.DiGraph()
    graph.add_nodes_from((INTEGERS, FLOATS))
    for name, time in as_floats.items():
        # Edges without a capacity cannot be cut.
        limit = {} if name in fixed else {"capacity": as_integers.get(name, 0.0)}
        graph.add_edge(name, FLOATS, **limit)
        graph.add_edge(INTEGERS, name, capacity=time)
    for index, size in tensors.sizes.items():
        maker = border if index in tensors.inputs else tensors.makers.get(index)
        readers = [*tensors.readers.get(index, []), *([border] if index in tensors.outputs else [])]
        if maker is None:
            continue
        cost = PER_CALL + rate * size
        graph.add_edge(maker, ("floats", index), capacity=cost)
        graph.add_edge(("integers", index), maker, capacity=cost)
        for reader in dict.fromkeys(other for other in readers if other != maker):
            graph.add_edge(("floats", index), reader)
            graph.add_edge(reader, ("integers", index))
    _, (_, side) = networkx.minimum_cut(graph, INTEGERS, FLOATS)
    return frozenset(name for name in side if name in as_floats)


def connected(network: Network, nodes: frozenset[str]) -> list[frozenset[str]]:
    """The parts of some nodes that tensors connect, in the order of the network."""
    import networkx

    tensors = _Tensors(network)
    graph = networkx.Graph()
    graph.add_nodes_from(name for name in dict.fromkeys(network.origins) if name in nodes)
    for index, readers in tensors.readers.items():
        for reader in readers:
            if reader in nodes and tensors.makers.get(index) in nodes:
                graph.add_edge(tensors.makers[index], reader)
    return [frozenset(part) for part in networkx.connected_components(graph)]
