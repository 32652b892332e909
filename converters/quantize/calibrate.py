"""Measures the ranges of all values of a graph on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import shape_of
from toolchain.converters.quantize.check_data import InputCheck, check_sample, few_samples, unsettled
from toolchain.converters.quantize.observe import MEMORY, Extremes, Histogram, Watcher, spread_sample
from toolchain.converters.quantize.ranges import by_entropy, by_percentile, by_squared_error
from toolchain.converters.quantize.scheme import Range
from toolchain.errors import UnsupportedError, UsageError

Sample = Mapping[str, np.ndarray]
Progress = Callable[[int], None]

METHODS: dict[str, Callable[[Histogram, Range], Range] | None] = {
    "minmax": None,
    "percentile": by_percentile,
    "entropy": by_entropy,
    "mse": by_squared_error,
}
"""Calibration method -> the function that reads a range off a histogram; None for the extremes themselves."""


@dataclass(frozen=True)
class Calibration:
    """What calibration found.

    Attributes:
        ranges: value name -> range, of every float value that is not a constant.
        warnings: sentences about data that looks unfit, with figures; empty when nothing is odd.
        samples: how many samples were run.
    """

    ranges: dict[str, Range]
    warnings: list[str]
    samples: int


def calibrate(
    model: ir.Model,
    samples: Iterable[Sample],
    method: str = "minmax",
    progress: Progress = lambda _done: None,
    expected: Mapping[str, Range] | None = None,
    names: Collection[str] | None = None,
    memory: int = MEMORY,
    threads: int = 0,
) -> Calibration:
    """Run a graph on samples and find a range for each of its float values.

    One pass over the samples, in memory that does not grow with their number. Extremes are those of all
    values; histograms are of at most `observe.SAMPLED` values of each tensor of each sample. The same samples
    give the same ranges.

    Args:
        model: a cleaned graph after `write_integer_forms`; it is not changed.
        samples: one array per input name each, in the graph's shapes, element types and value range.
        method: "minmax", "percentile" (99.99 % of the values), "entropy" or "mse".
        progress: called with the number of samples done, after each.
        expected: range of values that the contract's preprocessing makes, by input name; None: not checked.
        names: the values to find ranges of, as `stored_values` lists them; None for all.
        memory: bytes of values held at once; the graph runs several times a sample if they take more.
        threads: of ONNX Runtime; 0 for one for each core.

    Raises:
        UsageError: there are no samples, one of them does not fit the graph, or the method is unknown.
        UnsupportedError: a value is NaN or infinite; the message names the first layer that makes one.
    """
    if method not in METHODS:
        raise UsageError(f"calibration method '{method}' is unknown", f"one of {', '.join(METHODS)}")
    watched = [name for name in _float_values(model) if names is None or name in names]
    shapes, types = _inputs(model)
    checks = {
        name: InputCheck(name, (expected or {}).get(name)) for name in shapes if types[name].kind == "f"
    }
    choose = METHODS[method]
    ledger = _Ledger(watched, histograms=choose is not None)
    watcher = Watcher(model, watched, memory, threads, reuse=True)
    for number, sample in enumerate(samples):
        check_sample(number, sample, shapes, types)
        for name, check in checks.items():
            check.add(np.asarray(sample[name]))
        if not ledger.add(number, watcher.run(sample)):
            raise _not_finite(model, number, sample, memory)
        progress(number + 1)
    if not ledger.extremes.samples:
        raise UsageError("there are no calibration samples", "give at least one; about 100 are a good number")
    warnings = few_samples(ledger.extremes.samples)
    for check in checks.values():
        warnings += check.warnings()
    return Calibration(ledger.ranges(choose), warnings + unsettled(ledger.extremes), ledger.extremes.samples)


class _Ledger:
    """Extremes of all watched values, and their histograms where a method reads them."""

    def __init__(self, names: list[str], histograms: bool) -> None:
        self.extremes = Extremes(names)
        self.histograms = [Histogram() for _ in names] if histograms else []
        self._place = {name: index for index, name in enumerate(names)}

    def add(self, number: int, values: Iterable[tuple[str, np.ndarray]]) -> bool:
        """Take in one sample; False when a value is not finite."""
        lows, highs = np.full(len(self._place), np.inf), np.full(len(self._place), -np.inf)
        for name, array in values:
            if not array.size:
                continue
            low, high = float(array.min()), float(array.max())
            if not np.isfinite([low, high]).all():
                return False
            place = self._place[name]
            lows[place], highs[place] = low, high
            if self.histograms:
                self.histograms[place].add(spread_sample(array, number))
        self.extremes.add(lows, highs)
        return True

    def ranges(self, choose: Callable[[Histogram, Range], Range] | None) -> dict[str, Range]:
        """A range by name; a value without elements has the range 0 to 0."""
        found = {}
        for index, name in enumerate(self.extremes.names):
            low, high = float(self.extremes.low[index]), float(self.extremes.high[index])
            extremes = Range(low, high) if low <= high else Range(0.0, 0.0)
            if choose is None or low > high:
                found[name] = extremes
            else:
                found[name] = choose(self.histograms[index], extremes)
        return found


def _float_values(model: ir.Model) -> list[str]:
    """Names of inputs and of outputs of nodes, in the order of the graph."""
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    return [value.name for value in values if value.name and value.dtype == ir.DataType.FLOAT]


def _inputs(model: ir.Model) -> tuple[dict[str, tuple[int, ...]], dict[str, np.dtype]]:
    """Shape and element type by input name."""
    shapes, types = {}, {}
    for value in model.graph.inputs:
        assert value.name is not None
        assert value.dtype is not None
        shapes[value.name] = shape_of(value) or ()
        types[value.name] = np.dtype(value.dtype.numpy())
    return shapes, types


def _not_finite(model: ir.Model, number: int, sample: Sample, memory: int) -> UnsupportedError:
    """The error for a sample on which the network makes NaN or infinity, with the first layer that does."""
    names = _float_values(model)
    order = {name: index for index, name in enumerate(names)}
    counts = {
        name: count
        for name, array in Watcher(model, names, memory).run(sample)
        if (count := int((~np.isfinite(array)).sum()))
    }
    first = min(counts, key=lambda name: order[name])
    maker = next(node for node in model.graph if any(value.name == first for value in node.outputs))
    return UnsupportedError(
        f"node '{maker.name}' ({maker.op_type}) makes {counts[first]} NaN or infinite values in '{first}' on"
        f" calibration sample {number}; it is the first of {len(counts)} such values",
        "infinity has no integer: use large finite numbers instead, or find out why the network overflows",
    )
