"""How close two runs are: SQNR, largest difference, label agreement; and the gates (design: parity)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.spec import (
    CLASSIFICATION,
    GENERIC,
    SEGMENTATION,
    ModelSpec,
    Parity,
    Preprocess,
    TensorSpec,
    shape_text,
)

Arrays = dict[str, np.ndarray]

SQNR_GATES = {"fp32": 80.0, "fp16": 45.0}
# Coarser precisions are judged by their labels. Where there are none, a file that computes something else is
# still told apart: between unrelated outputs of one size there are about -3 dB.
UNLABELLED_GATE = 10.0
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
            self.broken, self.max_abs = True, math.inf
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
            hit = _same_labels(truth[first], found[first])
            same, total = same + int(hit.sum()), total + hit.size
    return Parity(
        sqnr_db=min(tally.sqnr_db for tally in tallies.values()),
        max_abs=max(tally.max_abs for tally in tallies.values()),
        agreement=same / total if total else None,
        samples=len(expected),
        reference=reference,
        inputs=inputs,
    )


def _same_labels(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Where the most probable classes are the same; integers are labels already, in a file perhaps floats."""
    return found == truth if truth.dtype.kind in "iu" else found.argmax(1) == truth.argmax(1)


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


def failures(parity: Parity, precision: str, spec: ModelSpec, max_drop: float | None = None) -> list[str]:
    """Which gates a file of this precision fails, as sentences; empty when it passes.

    Labels have no signal-to-noise ratio: where the network's first output holds labels, their agreement
    decides at every precision. What is not finite where the network's output is fails at every precision.

    Args:
        parity: how close the file is to its network.
        precision: of the file.
        spec: the network's contract.
        max_drop: points of label agreement that may be lost, 0 to 100, instead of AGREEMENT_GATES.
    """
    found = []
    task = spec.task
    labels = task != GENERIC and np.dtype(spec.outputs[0].dtype).kind in "iu"
    floor = None if labels else SQNR_GATES.get(precision)
    if floor is None and parity.agreement is None:
        floor = UNLABELLED_GATE
    if floor is not None and not parity.sqnr_db >= floor:
        found.append(f"SQNR {parity.sqnr_db:.1f} dB is below {floor:.0f} dB")
    if floor is None and parity.agreement is not None:
        points = 100.0 * AGREEMENT_GATES[task] if max_drop is None else 100.0 - max_drop
        if 100.0 * parity.agreement < points:
            found.append(f"label agreement {parity.agreement:.2%} is below {points:g}%")
    if not found and not math.isfinite(parity.max_abs):
        found.append("an output is not finite where the network's is, or the other way round")
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


def to_file(feeds: Arrays, tensors: Sequence[TensorSpec], preprocess: Preprocess | None = None) -> Arrays:
    """Arrays in ONNX order and the network's range -> as the file takes them.

    Args:
        feeds: one array per input of the file.
        tensors: the file's inputs.
        preprocess: the network's; needed for a file that takes pixels and normalizes them itself.

    Raises:
        UsageError: the file takes pixels, and the network does not say how it normalizes them.
    """
    return {tensor.name: _to_file(feeds[tensor.name], tensor, preprocess) for tensor in tensors}


def _to_file(array: np.ndarray, tensor: TensorSpec, preprocess: Preprocess | None) -> np.ndarray:
    if tensor.image:
        if preprocess is None:
            raise UsageError(
                f"input '{tensor.name}' of the file is an image; how the network normalizes one is not known",
                "compare with a network whose ModelSpec has `preprocess`",
            )
        return channels_last(to_pixels(array, preprocess))
    if tensor.scale is not None:
        limits = np.iinfo(tensor.dtype)
        steps = np.rint(array / tensor.scale) + (tensor.zero_point or 0)
        array = np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
    if tensor.dtype == "int32" and array.dtype in (np.bool_, np.int64):
        # Core ML files have neither type at their borders.
        array = array.astype(np.int32)
    return channels_last(array) if is_channels_last(tensor) else array


def to_pixels(array: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Normalized planes (N, C, H, W) -> the 8-bit pixels that they were made from."""
    mean, std = (np.reshape(v, (1, -1, 1, 1)) for v in (preprocess.mean, preprocess.std))
    return np.clip(np.rint(array * std + mean), 0, 255).astype(np.uint8)


def from_pixels(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Pixels (N, C, H, W) on the 0-255 scale -> normalized planes, float32."""
    mean, std = (np.reshape(v, (1, -1, 1, 1)).astype(np.float32) for v in (preprocess.mean, preprocess.std))
    return (pixels.astype(np.float32) - mean) / std


def contract_range(preprocess: Preprocess) -> tuple[float, float]:
    """The least and the greatest value that the preprocessing makes of pixels, over all channels."""
    ends = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(len(preprocess.mean), 1)
    values = from_pixels(ends, preprocess)
    return float(values.min()), float(values.max())


def from_file(results: Arrays, tensors: Sequence[TensorSpec]) -> Arrays:
    """Arrays as the file returns them -> ONNX order."""
    real = {t.name: _dequantized(results[t.name], t) for t in tensors}
    return {t.name: channels_first(real[t.name]) if is_channels_last(t) else real[t.name] for t in tensors}


def _dequantized(array: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    if tensor.scale is None:
        return array
    return ((array.astype(np.float64) - (tensor.zero_point or 0)) * tensor.scale).astype(np.float32)
