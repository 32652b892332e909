"""Which operators of an integer file are faster as floats, by measurement.

LiteRT's integer kernels are not all fast, and which are depends on the computer. An operator that computes
with floats between integer ones costs a DEQUANTIZE before it and a QUANTIZE behind it, unless its neighbours
compute with floats too:

    CONV_2D (int8) -> SOFTMAX (int8) -> CONV_2D (int8)
    CONV_2D (int8) -> DEQUANTIZE -> SOFTMAX (float32) -> QUANTIZE -> CONV_2D (int8)

1. Every kind of operator is timed alone, as integers and as floats.
2. A minimum cut of the network finds the sides with the least sum of these times and of the conversions
   between them: nodes on the one side are integer, those on the other are candidates. So neighbouring islands
   become one where that is faster.
3. Each island, a connected part of the float side, is cut out of the file as it would be and out of the
   integer file, and both are timed; equal ones once. It is taken if it is faster by ISLAND_MARGIN.
4. The whole file is timed against the integer one, and is taken if it is faster by FILE_MARGIN.

So noise decides for integers. All times are the least of interleaved runs on one thread of this computer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolchain.converters.tflite.convert import convert
from toolchain.errors import UnsupportedOpsError
from toolchain.island_cut import Network, connected, float_side
from toolchain.runtimes.tflite_parts import least_milliseconds, operator_name, part_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolchain.converters.tflite.integer_report import IntegerReport

# An island must take less than this share less time than its integer form, conversions included.
ISLAND_MARGIN = 0.10
FILE_MARGIN = 0.02
# Whole files are timed more often than parts: the share that an island saves of them is small.
ROUNDS = 25
SHOWN_OPS = 4


@dataclass(frozen=True)
class Island:
    """Neighbouring nodes that may compute with floats.

    Attributes:
        nodes: names of the ONNX nodes that have integer kernels, of all places where the island occurs.
        ops: their TFLite operators in one of them, as integers, in order.
        shape: of what the last of them makes.
        count: how often it occurs.
        integer_ms: milliseconds of one of them as integers.
        float_ms: as floats, with conversions.
        faster: whether it is faster as floats by ISLAND_MARGIN.
    """

    nodes: tuple[str, ...]
    ops: tuple[str, ...]
    shape: tuple[int, ...]
    count: int
    integer_ms: float
    float_ms: float
    faster: bool

    @property
    def label(self) -> str:
        """The operators, the rest of a long list as a number."""
        more = len(self.ops) - SHOWN_OPS
        return ", ".join(self.ops[:SHOWN_OPS]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Mixture:
    """What of an integer file computes with floats because that is faster.

    Attributes:
        islands: what was measured, the most time saved first.
        kept_float: names of nodes with integer kernels that stay float.
        accepted: names of nodes without integer kernels.
        fp32_ms: milliseconds of the file of floats.
        integer_ms: of the file with all integer kernels that there are.
        mixed_ms: of the file with the islands that were faster alone; None where there were none.
        taken: whether the islands are in the file.
        all_float: whether nothing at all is left that computes with integers.
    """

    islands: tuple[Island, ...]
    kept_float: tuple[str, ...]
    accepted: tuple[str, ...]
    fp32_ms: float
    integer_ms: float
    mixed_ms: float | None
    taken: bool
    all_float: bool = False

    @property
    def milliseconds(self) -> float:
        """Of the file that was chosen."""
        return self.mixed_ms if self.taken and self.mixed_ms is not None else self.integer_ms


def with_reasons(report: IntegerReport, mixture: Mixture) -> IntegerReport:
    """The report of the file, in which nodes that are float for their speed say so."""
    reasons = {
        name: f"its island takes {island.float_ms:.3g} ms, as integers {island.integer_ms:.3g} ms"
        for island in mixture.islands
        for name in island.nodes
        if mixture.taken and island.faster
    }
    floats = tuple(replace(found, reason=reasons.get(found.node, found.reason)) for found in report.floats)
    return replace(report, floats=floats)


def choose_islands(
    pairs: ir.Model,
    plain: ir.Model | None = None,
    precision: str = "int8",
    layout: str = "nhwc",
    io: str = "float",
    kept_float: Collection[str] = (),
) -> Mixture:
    """Measure which nodes of a quantized graph are faster as floats.

    Args:
        pairs: graph with QuantizeLinear/DequantizeLinear pairs; it is not changed.
        plain: the graph of floats that a file of fp32 is made from; None for `pairs` without its pairs.
        precision: "int8" or "int16x8".
        layout: "nhwc" or "nchw", of pictures at the file's borders.
        io: "float", "int8" or "uint8".
        kept_float: names of nodes that stay float in any case.

    Raises:
        UnsupportedOpsError: nodes that cannot be lowered at all.
    """
    files = _Files(pairs, precision, layout, io, tuple(kept_float))
    nodes = float_side(files.floats, files.integers, files.accepted, io == "float")
    islands = _measured(files, nodes)
    chosen = tuple(name for island in islands if island.faster for name in island.nodes)
    single = files.floats.data if plain is None else convert(plain.clone(), "fp32", layout).data
    compared = [single, files.integers.data, *([files.mixed(chosen).data] if chosen else [])]
    times = least_milliseconds(compared, ROUNDS)
    mixed = times[2] if chosen else None
    taken = mixed is not None and mixed < (1 - FILE_MARGIN) * times[1]
    return Mixture(
        tuple(islands),
        (*kept_float, *(chosen if taken else ())),
        files.accepted,
        times[0],
        times[1],
        mixed,
        taken,
        set(files.integers.origins) <= {"", *kept_float, *files.accepted, *(chosen if taken else ())},
    )


class _Files:
    """The forms of a network that are compared."""

    def __init__(
        self, pairs: ir.Model, precision: str, layout: str, io: str, kept_float: tuple[str, ...]
    ) -> None:
        self._pairs, self._precision, self._layout = pairs, precision, layout
        self._kept, self._io = kept_float, io
        self.accepted: tuple[str, ...] = ()
        try:
            self.integers = self._network((), io)
        except UnsupportedOpsError as error:
            self.accepted = tuple(refusal.node for refusal in error.refusals)
            self.integers = self._network((), io)
        self.floats = self._network(self.integers.origins, "float")

    def mixed(self, nodes: Sequence[str]) -> Network:
        """The file in which these nodes compute with floats."""
        return self._network(nodes, self._io)

    def _network(self, nodes: Sequence[str], io: str) -> Network:
        made = convert(
            self._pairs.clone(),
            self._precision,
            self._layout,
            io=io if self._precision == "int8" else "float",
            allow_float=self.accepted,
            kept_float=[*self._kept, *(name for name in nodes if name)],
        )
        return Network(made.data, made.origins)


def _measured(files: _Files, nodes: frozenset[str]) -> list[Island]:
    """Every island of the nodes on the float side, in both forms."""
    able = nodes - set(files.accepted)
    places = [place for place in connected(files.floats, nodes) if place & able]
    if not places:
        return []
    mixed = files.mixed(sorted(able))
    kinds: dict[str, list[frozenset[str]]] = {}
    for place in places:
        kinds.setdefault(files.integers.kind(place) + mixed.kind(place), []).append(place)
    islands = [_island(files.integers, mixed, equal, able) for equal in kinds.values()]
    return sorted(islands, key=lambda island: island.count * (island.float_ms - island.integer_ms))


def _island(integers: Network, mixed: Network, places: list[frozenset[str]], able: frozenset[str]) -> Island:
    parts = [network.operators(places[0]) for network in (integers, mixed)]
    whole, fast = least_milliseconds(
        [part_of(network.model, part) for network, part in zip((integers, mixed), parts, strict=True)]
    )
    computing = [made for made in parts[0] if integers.origin(made) in able]
    last = integers.model.subgraphs[0].tensors[int(computing[-1].outputs[0])]
    return Island(
        tuple(sorted(name for place in places for name in place & able)),
        tuple(operator_name(integers.model, made) for made in computing),
        tuple(int(size) for size in last.shape),
        len(places),
        whole,
        fast,
        fast < (1 - ISLAND_MARGIN) * whole,
    )
