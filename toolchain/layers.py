"""What quantization does to each layer of a file: noise, range in use, saturation."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.export import clean_graph
from toolchain.layer_pairs import Pair, decibels, pair_up, power
from toolchain.parity import Arrays
from toolchain.samples import answers, samples
from toolchain.source import Source
from toolchain.stored_tensors import StoredFile, open_stored

if TYPE_CHECKING:
    import onnx_ir as ir

COUNT = 4


@dataclass(frozen=True)
class Layer:
    """A tensor of a file beside the value of the float network that it stands for.

    SQNR is 10 log10(sum of squares of the network's values / sum of squared differences) over all samples.

    Attributes:
        tensor: its name in the file.
        op: the operator that writes it.
        value: the network's value.
        matched: how that was found: "name"; "name, channels rescaled" where the file's channels are the
            network's times factors and moved by offsets; "value" for the closest one of its shape, where
            names differ.
        dtype: stored type.
        shape: in storage order.
        scale: of the stored numbers; None for floats.
        zero_point: of the stored numbers; None for floats.
        sqnr_db: the noise of this layer and of all before it.
        own_sqnr_db: the noise that this layer adds: the network's layer on the file's inputs is the truth.
        range_used: share of the type's numbers between the smallest and the largest that were seen.
        saturated: share of the values that lie beyond what can be stored by more than half a step.
        at_ends: share of the stored numbers that are the type's smallest or largest.
    """

    tensor: str
    op: str
    value: str
    matched: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    sqnr_db: float
    own_sqnr_db: float
    range_used: float | None
    saturated: float | None
    at_ends: float | None

    def as_json(self) -> dict[str, Any]:
        """For JSON and CSV: a ratio without noise is None, since neither has infinity."""
        row = asdict(self)
        for name in ("sqnr_db", "own_sqnr_db"):
            row[name] = row[name] if math.isfinite(row[name]) else None
        return row


@dataclass(frozen=True)
class LayerTable:
    """The layers of a file.

    Attributes:
        layers: worst first: by the noise that each adds itself, then by the noise that it holds.
        unmatched: names of tensors that stand for no value of the network.
        samples: how many were run.
        inputs: where they came from.
    """

    layers: list[Layer]
    unmatched: list[str]
    samples: int
    inputs: str


def layer_table(
    path: Path, source: Source, calibration: str | Path | None = None, count: int = COUNT
) -> LayerTable:
    """Compare all tensors of a file with the values of the float network.

    Args:
        path: a .tflite file, ours or not, or an .onnx file with QuantizeLinear/DequantizeLinear pairs.
        source: the network that it was made from.
        calibration: real inputs; None for synthetic ones.
        count: how many samples at most.

    Raises:
        UsageError: the file does not fit the network, or has a format whose tensors cannot be seen.
        UnsupportedError: the file is damaged, or none of its tensors stands for a value of the network.
    """
    from toolchain.converters.graph.weights_beside import weights_beside
    from toolchain.runtimes.onnx_runtime import OnnxRuntime

    graph = clean_graph(source)
    inputs, origin = samples(source.spec, calibration, count)
    with OnnxRuntime(*weights_beside(graph)) as network:
        inputs, _ = answers(source.spec, inputs, network.run)
    with open_stored(path, source) as file:
        pairs = pair_up(file, graph, inputs[0])
        if not pairs:
            raise UnsupportedError(
                f"no tensor of '{path}' stands for a value of '{source.spec.name}'",
                "compare the file with the network that it was made from",
            )
        layers = _measure(file, graph, inputs, pairs)
    known = {pair.tensor.name for pair in pairs}
    unmatched = [tensor.name for tensor in file.tensors if tensor.name not in known]
    layers.sort(key=lambda layer: (layer.own_sqnr_db, layer.sqnr_db))
    return LayerTable(layers, unmatched, len(inputs), origin)


@dataclass
class _Sums:
    """What is added up over the samples for one tensor."""

    signal: float = 0.0
    noise: float = 0.0
    own: float = 0.0
    values: int = 0
    beyond: int = 0
    at_ends: int = 0
    low: float = field(default=math.inf)
    high: float = field(default=-math.inf)


def _measure(file: StoredFile, graph: ir.Model, inputs: list[Arrays], pairs: list[Pair]) -> list[Layer]:
    from toolchain.converters.quantize.observe import Watcher

    by_tensor = {pair.tensor.name: pair for pair in pairs}
    names = list(dict.fromkeys(pair.value for pair in pairs))
    network = Watcher(graph, names)
    cut = _CutNetwork(graph, names)
    sums = {pair.tensor.name: _Sums() for pair in pairs}
    for sample in inputs:
        truth = dict(network.run(sample))
        stored = {name: numbers for name, numbers in file.run(sample) if name in by_tensor}
        real = {name: by_tensor[name].real(numbers) for name, numbers in stored.items()}
        given: Arrays = {}
        for pair in pairs:
            given.setdefault(pair.value, real[pair.tensor.name])
        renewed = cut.run({**sample, **given})
        for pair in pairs:
            name = pair.tensor.name
            # What another form of the same value is read from is not its own noise.
            forms = (r for r in pair.tensor.reads if r in by_tensor and by_tensor[r].value == pair.value)
            source = next(forms, None)
            alone = renewed.get(pair.value)
            expected = truth[pair.value] if alone is None else alone
            if source is not None:
                expected = real[source]
            _add(sums[name], pair, stored[name], real[name], truth[pair.value], expected)
    return [_layer(pair, sums[pair.tensor.name]) for pair in pairs]


class _CutNetwork:
    """The float network with each layer fed what it is given, not what the layer before computes."""

    def __init__(self, graph: ir.Model, names: list[str]) -> None:
        import onnx_ir

        from toolchain.converters.quantize.observe import Watcher

        cut = graph.clone()
        inputs = {value.name for value in cut.graph.inputs}
        self._cut = [name for name in names if name not in inputs]
        wanted = set(self._cut)
        for value in [value for node in cut.graph for value in node.outputs if value.name in wanted]:
            given = onnx_ir.val(f"{value.name}/given", shape=value.shape, type=value.type)
            for use in list(value.uses()):
                use.node.replace_input_with(use.idx, given)
            cut.graph.inputs.append(given)
        self._watcher = Watcher(cut, self._cut)
        self._takes = [value.name or "" for value in cut.graph.inputs]

    def run(self, given: Mapping[str, np.ndarray]) -> Arrays:
        """What each layer makes of the values given, by name."""
        feeds = {name: given[name.removesuffix("/given")] for name in self._takes}
        return dict(self._watcher.run(feeds))


def _add(
    total: _Sums, pair: Pair, stored: np.ndarray, real: np.ndarray, truth: np.ndarray, expected: np.ndarray
) -> None:
    signal, noise = power(truth, real)
    total.signal += signal
    total.noise += noise
    total.own += power(expected, real)[1]
    total.values += stored.size
    quantization = pair.tensor.quantization
    if quantization is None or quantization.axis is not None:
        return
    limits = np.iinfo(quantization.dtype)
    total.low, total.high = min(total.low, int(stored.min())), max(total.high, int(stored.max()))
    ends = pair.ordered((stored == limits.min) | (stored == limits.max))
    total.at_ends += int(ends.sum())
    units = pair.units(truth)
    # Rounding errors of the float network are no saturation.
    room = 0.5 + 1e-3
    codes = units / quantization.scale + quantization.zero_point.astype(np.float32)
    total.beyond += int(((codes < limits.min - room) | (codes > limits.max + room)).sum())


def _layer(pair: Pair, total: _Sums) -> Layer:
    quantization = pair.tensor.quantization
    figures: tuple[float | None, float | None, float | None] = (None, None, None)
    scale = zero = None
    if quantization is not None and quantization.axis is None:
        limits = np.iinfo(quantization.dtype)
        codes = int(limits.max) - int(limits.min) + 1
        used = (total.high - total.low + 1) / codes
        figures = (used, total.beyond / total.values, total.at_ends / total.values)
        scale, zero = float(quantization.scale[0]), int(quantization.zero_point[0])
    return Layer(
        pair.tensor.name,
        pair.tensor.op,
        pair.value,
        pair.matched,
        "float32" if quantization is None else quantization.dtype.name,
        pair.tensor.shape,
        scale,
        zero,
        decibels(total.signal, total.noise),
        decibels(total.signal, total.own),
        *figures,
    )


def write_csv(table: LayerTable, path: Path) -> None:
    """All layers, worst first, one a line; an empty SQNR is one without noise."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Layer)], lineterminator="\n")
        writer.writeheader()
        for layer in table.layers:
            writer.writerow({**layer.as_json(), "shape": "x".join(map(str, layer.shape))})
