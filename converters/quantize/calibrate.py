"""Measures the ranges of all values of a graph on calibration data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import shape_of
from toolchain.converters.quantize.check_data import InputCheck, check_sample, few_samples, unsettled
from toolchain.converters.quantize.equalize import equalize, equalized_values
from toolchain.converters.quantize.ledger import Choose, FirstSamples, Ledger, samples_enough
from toolchain.converters.quantize.observe import MEMORY, Watcher
from toolchain.converters.quantize.ranges import by_entropy, by_percentile, by_squared_error
from toolchain.converters.quantize.scheme import Range
from toolchain.errors import UnsupportedError, UsageError

Sample = Mapping[str, np.ndarray]
Progress = Callable[[int], None]

METHODS: dict[str, Choose | None] = {
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
    equalized: int = 0,
) -> Calibration:
    """Run a graph on samples and find a range for each of its float values.

    One pass over the samples, in memory that does not grow with their number. Extremes are those of all
    values; histograms are of at most `observe.SAMPLED` values of each tensor of each sample. The same samples
    give the same ranges.

    Args:
        model: a cleaned graph after `write_integer_forms`; it is not changed unless `equalized`.
        samples: one array per input name each, in the graph's shapes, element types and value range.
        method: "minmax", "percentile" (99.99 % of the values), "entropy" or "mse".
        progress: called with the number of samples done, after each.
        expected: range of values that the contract's preprocessing makes, by input name; None: not checked.
        names: the values to find ranges of, as `stored_values` lists them; None for all.
        memory: bytes of values held at once; the graph runs several times a sample if they take more.
        threads: of ONNX Runtime; 0 for one for every two cores.
        equalized: equalize the graph in place after so many samples (see `equalize`). What they showed is
            brought to the new scales, so that they are not run again.

    Raises:
        UsageError: there are no samples, one of them does not fit the graph, or the method is unknown.
        UnsupportedError: a value is NaN or infinite; the message names the first layer that makes one.
    """
    if method not in METHODS:
        raise UsageError(f"calibration method '{method}' is unknown", f"one of {', '.join(METHODS)}")
    run = _Run(model, METHODS[method], progress, expected or {}, names, memory, threads)
    numbered = enumerate(samples)
    axes = equalized_values(model) if equalized else {}
    if axes:
        run.equalize(itertools.islice(numbered, equalized), axes)
    run.take(numbered)
    return run.result()


class _Run:
    """Checks samples, runs the graph on them, and takes in what they show."""

    def __init__(
        self,
        model: ir.Model,
        choose: Choose | None,
        progress: Progress,
        expected: Mapping[str, Range],
        names: Collection[str] | None,
        memory: int,
        threads: int,
    ) -> None:
        self.model, self.choose, self.progress = model, choose, progress
        self.memory, self.threads = memory, threads
        self.watched = [name for name in _float_values(model) if names is None or name in names]
        self.shapes, self.types = _inputs(model)
        self.checks = {
            name: InputCheck(name, expected.get(name)) for name in self.shapes if self.types[name].kind == "f"
        }
        self.ledger = Ledger(self.watched, histograms=choose is not None)

    def take(self, samples: Iterable[tuple[int, Sample]]) -> None:
        """Run the graph as it is."""
        watcher = None
        for number, sample in samples:
            watcher = watcher or self._watcher(self.watched)
            self._check(number, sample)
            if not self.ledger.add(number, watcher.run(sample)):
                raise self._not_finite(number, sample)
            self.progress(number + 1)

    def equalize(self, samples: Iterable[tuple[int, Sample]], axes: Mapping[str, int]) -> None:
        """Run the graph as it is, and equalize it."""
        first = FirstSamples(self.watched, axes)
        watcher = self._watcher(list(dict.fromkeys([*self.watched, *axes])))
        for number, sample in samples:
            self._check(number, sample)
            if not first.add(number, watcher.run(sample)):
                raise self._not_finite(number, sample)
            self.progress(number + 1)
        first.enter(self.ledger, equalize(self.model, (), first.statistics()))

    def result(self) -> Calibration:
        """What was found."""
        count = self.ledger.extremes.samples
        if not count:
            raise UsageError(
                "there are no calibration samples", "give at least one; about 100 are a good number"
            )
        warnings = few_samples(count)
        for check in self.checks.values():
            warnings += check.warnings()
        # Where histograms have seen enough, extremes that still grow are cut off.
        enough = None if self.choose is None else samples_enough(self.model, self.watched)
        if enough is None or count < enough:
            warnings += unsettled(self.ledger.extremes)
        return Calibration(self.ledger.ranges(self.choose), warnings, count)

    def _watcher(self, names: Sequence[str]) -> Watcher:
        return Watcher(self.model, names, self.memory, self.threads, reuse=True, optimized=True)

    def _check(self, number: int, sample: Sample) -> None:
        check_sample(number, sample, self.shapes, self.types)
        for name, check in self.checks.items():
            check.add(np.asarray(sample[name]))

    def _not_finite(self, number: int, sample: Sample) -> UnsupportedError:
        """The error for a sample with NaN or infinity inside, with the first layer that makes it."""
        names = _float_values(self.model)
        order = {name: index for index, name in enumerate(names)}
        counts = {
            name: count
            for name, array in Watcher(self.model, names, self.memory).run(sample)
            if (count := int((~np.isfinite(array)).sum()))
        }
        first = min(counts, key=lambda name: order[name])
        maker = next(node for node in self.model.graph if any(v.name == first for v in node.outputs))
        return UnsupportedError(
            f"node '{maker.name}' ({maker.op_type}) makes {counts[first]} NaN or infinite values in '{first}'"
            f" on calibration sample {number}; it is the first of {len(counts)} such values",
            "infinity has no integer: use large finite numbers instead, or find out why it overflows",
        )


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
