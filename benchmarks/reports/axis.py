"""Where a value lies on a chart, in percent of its width: charts fit any page, and text keeps its size."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Ticks of a linear axis are multiples of these times a power of ten.
STEPS = (1.0, 2.0, 5.0, 10.0)
TICKS = 5
# Values this close to each other, of the larger one, or to zero are taken for equal.
CLOSE = 1e-9


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in percent, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A range of values.

    Attributes:
        low: value at 0 percent; above zero on a logarithmic axis.
        high: value at 100 percent, above `low`.
        logarithmic: whether equal ratios are equally far apart.
    """

    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Place in percent (0-100); what lies outside is put on the edge."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return round(100 * (value - low) / (high - low), 3)

    @property
    def ticks(self) -> list[Tick]:
        """Round values inside the range."""
        values = self._powers() if self.logarithmic else self._multiples()
        return [Tick(self.at(value), f"{value:.10g}") for value in values]

    def _multiples(self) -> list[float]:
        rough = (self.high - self.low) / TICKS
        scale = 10.0 ** math.floor(math.log10(rough))
        step = next(factor for factor in STEPS if factor * scale >= rough * 0.999) * scale
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _powers(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors = (1, 2, 5) if len(powers) < 5 else (1,)
        # A range of many powers shows every second, third, ... one.
        chosen = powers[:: math.ceil(len(powers) / (2 * TICKS))]
        values = [factor * 10.0**power for power in chosen for factor in factors]
        return [value for value in values if self.low <= value <= self.high]


def from_zero(high: float) -> Axis:
    """A linear axis for lengths: it begins at zero and ends at `high`."""
    return Axis(0.0, high if high > CLOSE else 1.0)


def around(low: float, high: float, logarithmic: bool = False, room: float = 0.04) -> Axis:
    """An axis for places that holds `low` and `high` with some room beside them.

    Args:
        low: least value; above zero if logarithmic.
        high: greatest value.
        logarithmic: whether equal ratios are equally far apart.
        room: share of the range that is left free on either side.
    """
    if logarithmic:
        ratio = max(high / low, 1.2) ** room
        return Axis(low / ratio, max(high, low * 1.2) * ratio, logarithmic=True)
    apart = high - low > CLOSE * max(abs(high), 1.0)
    span = high - low if apart else max(abs(high) * 0.2, 1e-3)
    return Axis(low - span * room, low + span * (1 + room))
