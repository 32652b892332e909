"""How close two runs are: SQNR, largest difference, label agreement; and the gates (design: parity)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.spec import CLASSIFICATION, GENERIC, SEGMENTATION, Parity, TensorSpec, shape_text

Arrays = dict[str, np.ndarray]

SQNR_GATES = {"fp32": 80.0, "fp16": 45.0}
AGREEMENT_GATES = {SEGMENTATION: 0.99, CLASSIFICATION: 0.98}


@dataclass
class _Tally:
    """Sums over all samples of one output.

    SQNR is 10 log10(sum of squares / sum of squared differences): infinite for equal arrays, minus
    infinite where only one of the two is finite.
    """

    signal: float = 0.0
    noise: float = 0.0
    max_abs: float = 0.0
    broken: bool = False

    def add(self, expected: np.ndarray, actual: np.ndarray) -> None:
        a, b = expected.astype(np.float64), actual.astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        if not (finite | (a == b) | (np.isnan(a) & np.isnan(b))).all():
            self.broken = True
            return
        difference = np.where(finite, a, 0.0) - np.where(finite, b, 0.0)
        self.signal += float(np.square(np.where(finite, a, 0.0)).sum())
        self.noise += float(np.square(difference).sum())
        self.max_abs = max(self.max_abs, float(np.abs(difference).max(initial=0.0)))

    @property
    def sqnr_db(self) -> float:
        if self.broken:
            return -math.inf
        if self.noise == 0.0:
            return math.inf
        return 10.0 * math.log10(self.signal / self.noise) if self.signal > 0.0 else -math.inf


def compare(
    expected: Sequence[Arrays],
    actual: Sequence[Arrays],
    task: str,
    reference: str = "torch",
    inputs: str = "synthetic",
) -> Parity:
    """Parity of the worst output over all samples.

    Args:
        expected: one {name: array} per sample; class scores have the classes on axis 1.
        actual: the same, in the same layout.
        task: decides the agreement figure; it is taken from the first output.
        reference: runtime that made `expected`.
        inputs: where the inputs came from.

    Raises:
        UsageError: an output has another shape than the reference's.
        UnsupportedError: an output of the reference is not finite anywhere, so that nothing can be compared.
    """
    _check_comparable(expected, actual)
    tallies = {name: _Tally() for name in expected[0]}
    same = total = 0
    for truth, found in zip(expected, actual, strict=True):
        for name, tally in tallies.items():
            tally.add(truth[name], found[name])
        if task != GENERIC:
            first = next(iter(truth))
            hit = truth[first].argmax(1) == found[first].argmax(1)
            same, total = same + int(hit.sum()), total + hit.size
    return Parity(
        sqnr_db=min(tally.sqnr_db for tally in tallies.values()),
        max_abs=max(tally.max_abs for tally in tallies.values()),
        agreement=same / total if total else None,
        samples=len(expected),
        reference=reference,
        inputs=inputs,
    )


def _check_comparable(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> None:
    for name in expected[0]:
        for truth, found in zip(expected, actual, strict=True):
            if truth[name].shape != found[name].shape:
                raise UsageError(
                    f"output '{name}' has shape {shape_text(found[name].shape)}, the network's has"
                    f" {shape_text(truth[name].shape)}",
                    "compare the file with the network that it was made from",
                )
        if not any(np.isfinite(truth[name]).any() or not truth[name].size for truth in expected):
            raise UnsupportedError(
                f"output '{name}' of the network is NaN or infinite everywhere, on every sample",
                "give inputs on which it computes something, with --calibration",
            )


def failures(parity: Parity, precision: str, task: str) -> list[str]:
    """Which gates a file of this precision fails, as sentences; empty when it passes."""
    found = []
    floor = SQNR_GATES.get(precision)
    if floor is not None and not parity.sqnr_db >= floor:
        found.append(f"SQNR {parity.sqnr_db:.1f} dB is below {floor:.0f} dB")
    if floor is None and parity.agreement is not None and parity.agreement < AGREEMENT_GATES[task]:
        found.append(f"label agreement {parity.agreement:.2%} is below {AGREEMENT_GATES[task]:.0%}")
    return found


def channels_last(array: np.ndarray) -> np.ndarray:
    """(N, C, spatial...) -> (N, spatial..., C)."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def channels_first(array: np.ndarray) -> np.ndarray:
    """(N, spatial..., C) -> (N, C, spatial...)."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def is_channels_last(tensor: TensorSpec) -> bool:
    """Whether the file stores this tensor channel-last."""
    return len(tensor.layout) >= 3 and tensor.layout.endswith("C")


def to_file(feeds: Arrays, tensors: Sequence[TensorSpec]) -> Arrays:
    """Arrays in ONNX order -> the order in which the file takes them."""
    return {t.name: channels_last(feeds[t.name]) if is_channels_last(t) else feeds[t.name] for t in tensors}


def from_file(results: Arrays, tensors: Sequence[TensorSpec]) -> Arrays:
    """Arrays as the file returns them -> ONNX order."""
    return {
        t.name: channels_first(results[t.name]) if is_channels_last(t) else results[t.name] for t in tensors
    }
