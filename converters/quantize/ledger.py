"""What calibration samples have shown: extremes and histograms of values, also across an equalization."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import shape_of
from toolchain.converters.quantize.channel_statistics import ChannelStatistics, Total, figures_of
from toolchain.converters.quantize.equalize import Rescaled
from toolchain.converters.quantize.observe import Extremes, Histogram, spread_places, spread_sample
from toolchain.converters.quantize.scheme import Range

# So many samples, and so many numbers of each value, are enough for histograms. Measured on mobile-hourglass
# with two sets of samples: 38.3 and 38.0 dB with 32, 38.2 and 38.1 with 40, 38.1 and 38.2 with 100. LeNet's
# values have 10 to 2880 numbers a sample: 32 would be 0.7 dB worse than 100.
ENOUGH, SHOWN = 32, 1 << 15

Values = Iterable[tuple[str, np.ndarray]]
Choose = Callable[[Histogram, Range], Range]
Ends = tuple[float, float]


def samples_enough(model: ir.Model, names: Collection[str]) -> int | None:
    """So many samples show the histograms of these values as well as more would; None: their sizes vary."""
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    shapes = [shape_of(value) for value in values if value.name in names]
    known = [math.prod(shape) for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    return max(ENOUGH, math.ceil(SHOWN / min(filter(None, known), default=SHOWN)))


class Ledger:
    """Extremes of all watched values, and their histograms where a method reads them."""

    def __init__(self, names: Sequence[str], histograms: bool) -> None:
        self.extremes = Extremes(names)
        self.histograms = [Histogram() for _ in names] if histograms else []
        self._place = {name: index for index, name in enumerate(names)}

    def add(self, number: int, values: Values) -> bool:
        """Take in one sample; False when a value is not finite."""
        ends = {}
        for name, array in values:
            if not array.size:
                continue
            ends[name] = float(array.min()), float(array.max())
            if not np.isfinite(ends[name]).all():
                return False
            self.count(name, spread_sample(array, number))
        self.enter(ends)
        return True

    def enter(self, ends: Mapping[str, Ends]) -> None:
        """Take in the extremes of one sample."""
        lows, highs = np.full(len(self._place), np.inf), np.full(len(self._place), -np.inf)
        for name, (low, high) in ends.items():
            place = self._place[name]
            lows[place], highs[place] = low, high
        self.extremes.add(lows, highs)

    def count(self, name: str, numbers: np.ndarray) -> None:
        """Take numbers of a value into its histogram."""
        if self.histograms:
            self.histograms[self._place[name]].add(numbers)

    def ranges(self, choose: Choose | None) -> dict[str, Range]:
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


@dataclass
class _Sample:
    """What one sample showed of the watched values: by name, extremes of each channel or of all."""

    number: int
    sizes: dict[str, int] = field(default_factory=dict)
    lows: dict[str, np.ndarray] = field(default_factory=dict)
    highs: dict[str, np.ndarray] = field(default_factory=dict)
    drawn: dict[str, np.ndarray] = field(default_factory=dict)


class FirstSamples:
    """Samples that a graph is equalized on; what they show afterwards is worked out, not run again.

    Args:
        watched: names of the values that a ledger is kept of.
        axes: name -> axis of the channels, of the values that `equalize` needs figures of.
    """

    def __init__(self, watched: Sequence[str], axes: Mapping[str, int]) -> None:
        self._watched, self._axes = set(watched), axes
        self._total = Total()
        self._samples: list[_Sample] = []
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(self, number: int, values: Values) -> bool:
        """Take in one sample; False when a watched value is not finite."""
        sample = _Sample(number)
        for name, array in values:
            found = figures_of(array, self._axes[name]) if name in self._axes else None
            if found is not None:
                self._total.add(name, found)
            if name in self._watched and array.size and not self._note(sample, name, array, found):
                return False
        self._samples.append(sample)
        self._total.samples += 1
        return True

    def _note(self, sample: _Sample, name: str, array: np.ndarray, found: ChannelStatistics | None) -> bool:
        low = np.array([array.min()]) if found is None else found.low
        high = np.array([array.max()]) if found is None else found.high
        sample.lows[name], sample.highs[name], sample.sizes[name] = low, high, array.size
        sample.drawn[name] = spread_sample(array, sample.number).copy()
        self._shapes[name] = array.shape
        return bool(np.isfinite(low).all() and np.isfinite(high).all())

    def statistics(self) -> dict[str, ChannelStatistics]:
        """Figures for `equalize`.

        Raises:
            UsageError: there were no samples.
        """
        return self._total.means()

    def enter(self, ledger: Ledger, changed: Mapping[str, Rescaled]) -> None:
        """Tell a ledger what the samples show in the equalized graph."""
        for sample in self._samples:
            ends = {}
            for name, size in sample.sizes.items():
                low, high, drawn = sample.lows[name], sample.highs[name], sample.drawn[name]
                if name in changed:
                    low, high = changed[name].of(low), changed[name].of(high)
                    drawn = changed[name].of(drawn, self._channels(name, size, sample.number))
                ends[name] = float(low.min()), float(high.max())
                ledger.count(name, drawn)
            ledger.enter(ends)

    def _channels(self, name: str, size: int, number: int) -> np.ndarray:
        """The channels of the numbers drawn from a value."""
        shape, axis = self._shapes[name], self._axes[name]
        places = spread_places(size, number)
        rows = np.arange(places.start, places.stop, places.step) // math.prod(shape[axis + 1 :])
        return rows if math.prod(shape[:axis]) == 1 else rows % shape[axis]
