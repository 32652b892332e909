"""Find the fewest layers that must stay float for a quantized network to be accurate enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.parity import Arrays, compare
from toolchain.quantize import ACTIVATIONS, QuantizeOptions, calibrated_graph
from toolchain.runtimes.onnx_runtime import OnnxRuntime
from toolchain.samples import answers, samples
from toolchain.source import Source
from toolchain.spec import CLASSIFICATION, GENERIC
from toolchain.task_metric import task_metric

if TYPE_CHECKING:
    import onnx_ir as ir

# Samples on which layers are ranked: noise is a sum over all values, and settles at once.
RANKING = 2
# Samples on which the gate is checked: a picture has labels by the thousand, a classification one.
GATE = 8
GATE_OF_CLASSES = 100
# Below this many labels, one of them is more than half a point.
FEW_LABELS = 200
ROUNDS = 9
# Where more layers than these stay float, work on each is done for several at once, or on less data.
MANY = 16
ROUNDS_OF_MANY = 5

Quantize = Callable[[Collection[str]], "ir.Model"]
Metric = Callable[[Sequence[Arrays]], float]
# What points are of, where they are of no metric of `toolchain.task_metric`.
AGREEMENT, OWN = "label agreement with the float network", "points of the metric given"


@dataclass(frozen=True)
class RepairRow:
    """A layer left in float.

    Attributes:
        node: its name in the graph.
        op: its operator.
        alone_db: SQNR in dB of the network's outputs with this layer quantized and nothing else.
        points_gain: points that are lost when this one layer is quantized again; measured on RANKING
            samples where more than MANY layers stay float.
        sqnr_gain: dB of output SQNR that are lost then.
        milliseconds: what it costs: least latency of the file with all rows in float, less that of the file
            in which this one layer is integer; None where it was not timed.
    """

    node: str
    op: str
    alone_db: float
    points_gain: float
    sqnr_gain: float
    milliseconds: float | None = None


@dataclass(frozen=True)
class Repair:
    """What to leave in float.

    Attributes:
        kept: names of all nodes to leave in float: of `rows`, of activations and views that follow them.
        metric: what the points are of: a name of `toolchain.task_metric`, or AGREEMENT.
        best: points of the float network; 100 where they are of agreement with it.
        points_before: with nothing left in float.
        points_after: with `kept` in float.
        sqnr_before: dB of the worst output with nothing left in float.
        sqnr_after: dB with `kept` in float.
        milliseconds_before: least latency of the .tflite file with nothing left in float; None: not timed.
        milliseconds_after: of the one with `kept` in float.
        rows: a layer each, the most sensitive first.
        candidates: how many layers could have been chosen.
        samples: how many the gate was checked on.
        inputs: where they came from.
    """

    kept: list[str]
    metric: str
    best: float
    points_before: float
    points_after: float
    sqnr_before: float
    sqnr_after: float
    milliseconds_before: float | None
    milliseconds_after: float | None
    rows: list[RepairRow]
    candidates: int
    samples: int
    inputs: str


def repair(
    source: Source,
    graph: ir.Model,
    precision: str,
    options: QuantizeOptions,
    max_drop: float,
    *,
    metric: Metric | None = None,
    quantize: Quantize | None = None,
    timed: bool = True,
    progress: Callable[[str], None] = lambda _stage: None,
) -> Repair:
    """Leave the fewest layers in float with which the network loses no more than `max_drop` points.

    1. Each layer is quantized alone, and ranked by the noise in the outputs. A layer is an operator with the
       activation that is fused into it; operators that only move numbers follow those around them.
    2. A binary search finds how many layers, the most sensitive first, must be float for the gate to hold.
    3. Those of them without which it holds as well are quantized again, the least sensitive first.

    Everything is measured on the graph with pairs in ONNX Runtime, on the calibration samples. Latency is
    that of .tflite files in LiteRT on one thread of this computer, runs interleaved.

    Args:
        source: the network.
        graph: its cleaned graph; it is not changed.
        precision: a key of `toolchain.quantize.ACTIVATIONS`.
        options: how to quantize; the layers in `kept_float` stay float in any case.
        max_drop: points of the task's metric where the samples have true labels (see
            `toolchain.task_metric`), else of label agreement with the float network, in percent.
        metric: answers to the samples in their order -> points, higher is better; instead of those.
        quantize: names of nodes that stay float -> graph with pairs; None for pairs placed with ranges
            that are measured once.
        timed: measure latencies.
        progress: called with a sentence at each stage.

    Raises:
        UsageError: `max_drop` is not from 0 to 100; the network has no labels and there is no metric; the
            graph has pairs of another quantizer.
        UnsupportedError: the gate does not hold with all layers in float.
    """
    _check(source, graph, max_drop, metric)
    trial = _Trial(source, graph, precision, options, metric, quantize)
    before, floor = trial.gate(()), trial.best - max_drop
    if before.points >= floor:
        return _answer(trial, before, before, [], [], [])
    layers = trial.layers()
    progress(f"ranking {len(layers)} layers")
    alone = {name: trial.alone(name, layers) for name in layers}
    ranked = sorted(layers, key=lambda name: alone[name])
    progress("searching for the fewest layers in float")
    chosen = _fewest(trial, ranked, floor)
    chosen = _without_needless(trial, chosen, floor)
    after = trial.gate(chosen)
    progress(f"measuring what {len(chosen)} layers cost")
    times = trial.latencies([(), chosen, *(_without(chosen, [name]) for name in chosen)]) if timed else []
    rows, count = [], len(trial.inputs) if len(chosen) <= MANY else RANKING
    whole = trial.gate(chosen, count)
    for place, name in enumerate(chosen):
        found = trial.gate(_without(chosen, [name]), count)
        rows.append(
            RepairRow(
                name,
                trial.operator(name),
                alone[name],
                whole.points - found.points,
                whole.sqnr_db - found.sqnr_db,
                times[1] - times[2 + place] if times else None,
            )
        )
    return _answer(trial, before, after, chosen, rows, times)


def _answer(
    trial: _Trial, before: _Score, after: _Score, chosen: list[str], rows: list[RepairRow], times: list[float]
) -> Repair:
    return Repair(
        trial.left_in_float(chosen),
        trial.metric,
        trial.best,
        before.points,
        after.points,
        before.sqnr_db,
        after.sqnr_db,
        times[0] if times else None,
        times[1] if times else None,
        rows,
        len(trial.layers()),
        len(trial.inputs),
        trial.origin,
    )


def _check(source: Source, graph: ir.Model, max_drop: float, metric: Metric | None) -> None:
    from toolchain.converters.graph.quantization import is_quantized

    if not 0 <= max_drop <= 100:
        raise UsageError(f"--max-drop {max_drop:g} is not from 0 to 100", "0.5 is half a point")
    if source.spec.task == GENERIC and metric is None:
        raise UsageError(
            f"'{source.spec.name}' has no labels whose agreement could be measured",
            "leave --max-drop out, or choose the layers with --allow-float; `verify --layers` shows them",
        )
    if is_quantized(graph):
        raise UsageError(
            f"'{source.spec.name}' has been quantized by another tool, so that no layer can be left in float",
            "leave --max-drop out, or give the float network",
        )


@dataclass(frozen=True)
class _Score:
    points: float
    sqnr_db: float


class _Trial:
    """Quantizes the network with some layers in float, and measures it; nothing is measured twice."""

    def __init__(
        self,
        source: Source,
        graph: ir.Model,
        precision: str,
        options: QuantizeOptions,
        metric: Metric | None,
        quantize: Quantize | None,
    ) -> None:
        from toolchain.converters.graph.weights_beside import weights_beside
        from toolchain.converters.quantize.integer_forms import write_integer_forms
        from toolchain.converters.quantize.integer_nodes import integer_nodes

        self._source, self._precision = source, precision
        self._always = frozenset(options.kept_float)
        self._forms = graph.clone()
        write_integer_forms(self._forms, self._always)
        self._integer = list(integer_nodes(self._forms.graph, self._always))
        self._quantize = quantize or _quantizer(source, graph, precision, options)
        count = GATE_OF_CLASSES if source.spec.task == CLASSIFICATION else GATE
        count = min(count, options.count)
        inputs, self.origin = samples(source.spec, options.calibration, count)
        task = None if metric else task_metric(source.spec, options.calibration, count)
        self.metric = task.name if task else OWN if metric else AGREEMENT
        self._metric = task.points if task else metric
        with OnnxRuntime(*weights_beside(graph)) as network:
            self.inputs, self._expected = answers(source.spec, inputs, network.run)
        self._scores: dict[tuple[frozenset[str], int], _Score] = {}
        self.best = self._points(self._expected)
        self._warn(options, task.labels if task else sum(map(_labels, self._expected)))

    def layers(self) -> list[str]:
        """Names of the layers that can be chosen, in the order of the graph."""
        from toolchain.converters.quantize.integer_nodes import fused_reader
        from toolchain.converters.quantize.scheme import MOVING

        fused = {fused_reader(value, self._integer) for node in self._integer for value in node.outputs}
        return [node.name or "" for node in self._integer if node not in fused and node.op_type not in MOVING]

    def operator(self, name: str) -> str:
        """ONNX operator of a layer."""
        return next(node.op_type for node in self._integer if node.name == name)

    def left_in_float(self, chosen: Collection[str]) -> list[str]:
        """All nodes that are float when these layers are."""
        from toolchain.converters.quantize.integer_nodes import integer_nodes

        still = integer_nodes(self._forms.graph, self._always | set(chosen))
        return [node.name or "" for node in self._integer if node not in still]

    def gate(self, chosen: Collection[str], count: int | None = None) -> _Score:
        """Points and SQNR with these layers in float, on the first `count` samples; None for all.

        A metric knows the answers to all samples only.
        """
        count = len(self.inputs) if count is None or self._metric is not None else count
        key = frozenset(chosen), count
        if key not in self._scores:
            made = self._run(chosen, self.inputs[:count])
            parity = compare(self._expected[:count], made, self._source.spec.task)
            self._scores[key] = _Score(self._points(made), parity.sqnr_db)
        return self._scores[key]

    def alone(self, name: str, layers: Sequence[str]) -> float:
        """SQNR in dB of the worst output with only this layer quantized."""
        made = self._run(_without(layers, [name]), self.inputs[:RANKING])
        return compare(self._expected[:RANKING], made, GENERIC).sqnr_db

    def latencies(self, choices: Sequence[Collection[str]]) -> list[float]:
        """Milliseconds of the .tflite file of each choice of layers in float."""
        from toolchain.converters.tflite import convert

        files = [
            convert(
                self._quantize(kept),
                self._precision,
                kept_float=[*self.left_in_float(kept), *self._always],
                allow_float=["auto"],
            ).data
            for kept in choices
        ]
        return interleaved(files, ROUNDS if len(files) <= MANY + 2 else ROUNDS_OF_MANY)

    def _run(self, chosen: Collection[str], inputs: Sequence[Arrays]) -> list[Arrays]:
        from toolchain.converters.graph.weights_beside import weights_beside

        model, weights = weights_beside(self._quantize(chosen))
        # ONNX Runtime's own integer kernels would round otherwise than the pairs say.
        with OnnxRuntime(model, weights, optimize=False) as runtime:
            return [runtime.run(sample) for sample in inputs]

    def _points(self, made: Sequence[Arrays]) -> float:
        if self._metric is not None:
            return self._metric(made)
        agreement = compare(self._expected[: len(made)], made, self._source.spec.task).agreement
        assert agreement is not None
        return 100.0 * agreement

    def _warn(self, options: QuantizeOptions, labels: int) -> None:
        if options.calibration is None:
            options.note("--max-drop is judged on synthetic inputs: give real ones with --calibration")
        if self.metric != OWN and labels < FEW_LABELS:
            one = f"--max-drop is judged on {labels} labels: one of them is {100 / labels:.1f} points"
            options.note(f"{one}; give more inputs with --calibration")


def _labels(answer: Arrays) -> int:
    first = next(iter(answer.values()))
    return first.size if first.dtype.kind in "iu" else first[:, :1].size


def _quantizer(source: Source, graph: ir.Model, precision: str, options: QuantizeOptions) -> Quantize:
    """Names of nodes that stay float -> graph with pairs; ranges are measured once."""
    from toolchain.converters.quantize.place import place_pairs

    prepared, ranges = calibrated_graph(source, graph, options)

    def quantize(kept: Collection[str]) -> ir.Model:
        made = prepared.clone()
        place_pairs(made, ranges, [*options.kept_float, *kept], ACTIVATIONS[precision])
        return made

    return quantize


def _without(chosen: Sequence[str], names: Collection[str]) -> list[str]:
    return [other for other in chosen if other not in names]


def _fewest(trial: _Trial, ranked: list[str], floor: float) -> list[str]:
    """The shortest beginning of the ranked layers with which the gate holds, by bisection."""
    if trial.gate(ranked).points < floor:
        raise UnsupportedError(
            "--max-drop cannot be met: with all layers in float the network has"
            f" {trial.gate(ranked).points:.2f} points, {floor:.2f} are asked for",
            "give a larger --max-drop",
        )
    low, high = 0, len(ranked)
    while high - low > 1:
        middle = (low + high) // 2
        if trial.gate(ranked[:middle]).points >= floor:
            high = middle
        else:
            low = middle
    return ranked[:high]


def _without_needless(trial: _Trial, chosen: list[str], floor: float) -> list[str]:
    """Quantize again what the gate does not need, the least sensitive first; of many, several at once."""
    ranked, size = chosen, math.ceil(len(chosen) / MANY)
    for end in range(len(chosen), 0, -size):
        names = ranked[max(0, end - size) : end]
        if trial.gate(_without(chosen, names)).points >= floor:
            chosen = _without(chosen, names)
    return chosen


def interleaved(files: Sequence[bytes], rounds: int = ROUNDS) -> list[float]:
    """Least milliseconds of .tflite files in LiteRT on one thread; their runs take turns.

    Whatever else the computer does only adds time, and the least is disturbed least.
    """
    from toolchain.runtimes.litert import LiteRTRuntime

    runtimes = [LiteRTRuntime(data, threads=1) for data in files]
    feeds = [{t.name: np.zeros(t.shape, t.dtype) for t in runtime.inputs} for runtime in runtimes]
    times: list[list[float]] = [[] for _ in files]
    for turn in range(rounds + 1):
        for place, (runtime, sample) in enumerate(zip(runtimes, feeds, strict=True)):
            start = time.perf_counter()
            runtime.run(sample)
            # The first run of each warms up.
            if turn:
                times[place].append(1000 * (time.perf_counter() - start))
    for runtime in runtimes:
        runtime.close()
    return [min(found) for found in times]
