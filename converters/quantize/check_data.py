"""Warns about calibration data that cannot be what the network is used on, with figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.converters.quantize.observe import Extremes
from toolchain.converters.quantize.scheme import Range
from toolchain.errors import UsageError
from toolchain.spec import shape_text

FEW_SAMPLES = 32
# A range that has grown by more than this since half of the samples will grow further, too.
GROWTH = 0.1
# Data whose span is this many times wider or narrower than the expected one is on another scale.
OFF_SCALE = 4.0
# Neighbouring pixels of pictures correlate by 0.8 to 0.99, those of noise by 0.
NOISE = 0.2
SMALLEST_PICTURE = 8
# So many samples are looked at for what pictures have in common.
LOOKED_AT = 8
# In a picture whose interleaved colours were taken for rows, pixels of one colour are that much more alike.
INTERLEAVED = 0.03
COLOURS = (2, 3, 4)


def check_sample(
    number: int,
    sample: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    types: Mapping[str, np.dtype],
) -> None:
    """Refuse a sample that the network cannot take.

    Args:
        number: position of the sample, from 0.
        sample: array by input name.
        shapes: shape of each input.
        types: element type of each input.

    Raises:
        UsageError: an input is missing or unknown, has another shape or type, or is not finite.
    """
    place = f"calibration sample {number}"
    if set(sample) != set(shapes):
        raise UsageError(
            f"{place} holds {_listed(sample)}; the network's inputs are {_listed(shapes)}",
            "give one array for each input",
        )
    for name, shape in shapes.items():
        array = np.asarray(sample[name])
        if array.shape != shape:
            raise UsageError(
                f"{place}: '{name}' is {shape_text(array.shape)}, the network takes {shape_text(shape)}",
                _shape_hint(array.shape, shape),
            )
        if array.dtype != types[name]:
            raise UsageError(
                f"{place}: '{name}' is {array.dtype.name}, the network takes {types[name].name}",
                f"convert it with .astype('{types[name].name}') after bringing it to the network's range",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise UsageError(f"{place}: '{name}' holds {count} NaN or infinite values", "remove the sample")


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"


def _shape_hint(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    if len(given) == len(shape) == 4 and (given[0], given[3], given[1], given[2]) == shape:
        return "the channels are last here and second in the network: transpose with (0, 3, 1, 2)"
    if given == shape[1:]:
        return "add the batch axis in front"
    return "calibration arrays have the shape and layout of the ONNX graph's inputs"


@dataclass
class InputCheck:
    """What is learned about one float input while the samples pass, in constant memory.

    Attributes:
        name: of the input.
        expected: the range that the contract's preprocessing makes, None where it is not known.
    """

    name: str
    expected: Range | None = None
    low: float = np.inf
    high: float = -np.inf
    constant: int = 0
    samples: int = 0
    pictures: int = 0
    down: float = 0.0
    along: float = 0.0
    same_colour: float = 0.0

    def add(self, array: np.ndarray) -> None:
        """Take in one sample, any shape."""
        if not array.size:
            return
        low, high = float(array.min()), float(array.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.samples += 1
        self.constant += low >= high
        picture = array.ndim == 4 and min(array.shape[2:]) >= SMALLEST_PICTURE
        if low < high and picture and self.pictures < LOOKED_AT:
            self.pictures += 1
            self.down += _correlation(array, 2)
            self.along += _correlation(array, 3)
            self.same_colour += _correlation(array, 3, array.shape[1]) if array.shape[1] in COLOURS else -1.0

    def warnings(self) -> list[str]:
        """Sentences with figures, none when nothing is odd."""
        found = []
        if self.samples and self.constant == self.samples and self.low == self.high:
            return [f"input '{self.name}' is {self.low:g} everywhere in all {self.samples} samples"]
        if 2 * self.constant > self.samples:
            found.append(
                f"input '{self.name}' has one value only in {self.constant} of {self.samples} samples"
            )
        return found + self._range_warnings() + self._picture_warnings()

    def _range_warnings(self) -> list[str]:
        if self.expected is None or self.samples == 0:
            return []
        expected = self.expected
        span, found = expected.high - expected.low, self.high - self.low
        given = f"input '{self.name}' goes from {self.low:g} to {self.high:g}"
        contract = f"the contract expects {expected.low:g} to {expected.high:g}"
        beyond = max(expected.low - self.low, self.high - expected.high)
        if found > OFF_SCALE * span:
            return [f"{given}, {contract}: was it left without normalization?"]
        if found < span / OFF_SCALE:
            return [f"{given}, {contract}: was it normalized twice, or is it one kind of picture only?"]
        if beyond > 0.01 * span:
            return [f"{given}, {contract}"]
        if self.low >= 0 > expected.low + 0.1 * span:
            return [f"{given}, {contract}: was the mean not taken off?"]
        return []

    def _picture_warnings(self) -> list[str]:
        if not self.pictures:
            return []
        down, along, same = (total / self.pictures for total in (self.down, self.along, self.same_colour))
        if max(abs(down), abs(along), abs(same) if same > -1 else 0) < NOISE:
            return [
                f"input '{self.name}' looks like random noise: neighbouring values correlate by {down:.2f}"
                f" down and {along:.2f} along the rows, in pictures by 0.8 and more"
            ]
        if same > along + INTERLEAVED:
            return [
                f"input '{self.name}' looks channel-last, taken for channel-first without a transpose:"
                f" along its last axis neighbours correlate by {along:.2f},"
                f" every n-th value (n: channels) by {same:.2f}"
            ]
        return []


def _correlation(array: np.ndarray, axis: int, distance: int = 1) -> float:
    """Correlation of values `distance` apart along an axis, the mean taken off before."""
    data = np.moveaxis(array.astype(np.float64), axis, -1)
    before, after = data[..., :-distance], data[..., distance:]
    before, after = before - before.mean(), after - after.mean()
    power = np.sqrt(float((before**2).sum()) * float((after**2).sum()))
    return float((before * after).sum()) / power if power else 0.0


def few_samples(samples: int) -> list[str]:
    """A warning when there are too few samples to see the extremes."""
    if samples >= FEW_SAMPLES:
        return []
    return [f"{samples} calibration samples are few: ranges settle with about {FEW_SAMPLES} to 500"]


def unsettled(extremes: Extremes) -> list[str]:
    """A warning when ranges still grew in the second half of the samples."""
    if extremes.samples < 2:
        return []
    count, growth = extremes.growth()
    grown = np.flatnonzero(growth > GROWTH)
    if not grown.size:
        return []
    worst = int(grown[np.argmax(growth[grown])])
    share = "from nothing" if np.isinf(growth[worst]) else f"by {100 * growth[worst]:.0f} %"
    return [
        f"the ranges of {grown.size} of {len(extremes.names)} tensors have not settled: after {count} of"
        f" {extremes.samples} samples they still grew by more than {100 * GROWTH:.0f} %,"
        f" '{extremes.names[worst]}' {share}"
    ]
