"""How far a file is from its float network, for classifiers and for segmentation alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Pixels that no class is annotated for.
UNKNOWN = 255
RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95


@dataclass
class OutputScore:
    """Class scores of a file against those of the float network, over samples.

    The signal-to-quantization-noise ratio is 10 log10(sum of squares / sum of squared differences) over all
    samples together.
    """

    signal: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    agreements: list[float] = field(default_factory=list)
    right: int = 0
    known: int = 0

    def add(self, found: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> None:
        """Count one sample.

        Args:
            found: class scores of the file, classes on the last axis.
            truth: those of the float network, of the same shape.
            labels: annotated classes, the shape without the last axis; 255 where nothing is known.
        """
        self.signal.append(float(np.square(truth, dtype=np.float64).sum()))
        self.noise.append(float(np.square(found.astype(np.float64) - truth).sum()))
        classes = found.argmax(-1)
        self.agreements.append(float((classes == truth.argmax(-1)).mean()))
        known = labels != UNKNOWN
        self.right += int((classes == labels)[known].sum())
        self.known += int(known.sum())

    @property
    def sqnr_db(self) -> float:
        """Infinite where there is no noise."""
        return decibels(sum(self.signal), sum(self.noise))

    def as_json(self) -> dict[str, Any]:
        """SQNR in dB (None where nothing differs), label agreement with the network, accuracy."""
        ratio = self.sqnr_db
        return {
            "samples": len(self.agreements),
            "sqnr_db": round(ratio, 3) if math.isfinite(ratio) else None,
            "agreement": round(float(np.mean(self.agreements)), 6),
            "worst_agreement": round(min(self.agreements), 6),
            "accuracy": round(self.right / self.known, 6) if self.known else None,
        }


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise), infinite where there is no noise."""
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


@dataclass(frozen=True)
class Gain:
    """What one file has more than another on the same samples.

    Attributes:
        ours: scores of the one.
        peer: scores of the other.
    """

    ours: OutputScore
    peer: OutputScore

    def as_json(self) -> dict[str, float]:
        """`db`, and the `low` and `high` end of its 95 % interval over samples.

        The interval is the percentile bootstrap (Efron 1979) with samples drawn in pairs.
        """
        own, other = np.array(self.ours.noise), np.array(self.peer.noise)
        drawn = np.random.default_rng(SEED).integers(0, len(own), (RESAMPLES, len(own)))
        found = 10 * np.log10(other[drawn].sum(1) / own[drawn].sum(1))
        tail = (1 - CONFIDENCE) / 2
        return {
            "db": round(decibels(float(other.sum()), float(own.sum())), 3),
            "low": round(float(np.quantile(found, tail)), 3),
            "high": round(float(np.quantile(found, 1 - tail)), 3),
        }
