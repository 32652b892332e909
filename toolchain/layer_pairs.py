"""Which value of the float network each tensor of a file stands for, and in which order and units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from toolchain.converters.graph.quantization import Quantization
from toolchain.parity import Arrays
from toolchain.stored_tensors import Stored, StoredFile

if TYPE_CHECKING:
    import onnx_ir as ir

# A tensor without a known name counts as the value that it is this close to, in dB.
SAME_VALUE = 10.0
# Values compared to find that one.
PROBES = 16384
# Channels whose factors differ by more than this were scaled on purpose (equalization), not by mistake.
UNEVEN = 1.2
# A line through fewer values of a channel than these would follow their noise.
LEAST_VALUES = 8
FLATTENING = frozenset({"Reshape", "Flatten"})

BY_NAME, RESCALED, BY_VALUE = "name", "name, channels rescaled", "value"


@dataclass(frozen=True, eq=False)
class Pair:
    """A tensor, the value that it stands for, and how to bring it to that one's axes and units.

    Attributes:
        tensor: of the file.
        value: name of the network's.
        matched: how it was found, see `toolchain.layers.Layer`.
        shape: the value's.
        order: axes of the stored tensor in the order of the value's; None where only the shape differs.
        unflattened: shape of the stored tensor before it was flattened, to which `order` belongs; None where
            it has the axes that it is stored in.
        factors: what the file's channels (axis 1) are of the network's; None for the same.
        offsets: what is added to them after that.
    """

    tensor: Stored
    value: str
    matched: str
    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    unflattened: tuple[int, ...] | None = None
    factors: np.ndarray | None = None
    offsets: np.ndarray | None = None

    def ordered(self, stored: np.ndarray) -> np.ndarray:
        """In the value's axes."""
        if self.order is None:
            return stored.reshape(self.shape)
        return stored.reshape(self.unflattened or stored.shape).transpose(self.order).reshape(self.shape)

    def units(self, value: np.ndarray) -> np.ndarray:
        """The network's numbers in the file's units."""
        return value if self.factors is None else value * self.factors + self.offsets

    def real(self, stored: np.ndarray) -> np.ndarray:
        """The numbers of the network that stored ones stand for, float32."""
        numbers = self.ordered(_real(stored, self.tensor.quantization))
        if self.factors is not None:
            numbers = (numbers - self.offsets) / self.factors
        return np.ascontiguousarray(numbers)


def _real(stored: np.ndarray, quantization: Quantization | None) -> np.ndarray:
    return stored.astype(np.float32) if quantization is None else quantization.real(stored)


def pair_up(file: StoredFile, graph: ir.Model, sample: Arrays) -> list[Pair]:
    """For each tensor the value that it stands for, found on one sample.

    Args:
        file: the file, in whose order the pairs are.
        graph: the float network.
        sample: inputs of the network by name.
    """
    values = dict(_float_values(graph, sample))
    flattened = _flattened(graph, values)
    stored = dict(file.run(sample))
    pairs: dict[str, Pair] = {}
    for tensor in file.tensors:
        name = next((name for name in tensor.aliases if name in values), None)
        if name is not None:
            found = _fit(tensor, stored[tensor.name], name, values[name], BY_NAME, flattened.get(name))
            if found is not None:
                pairs[tensor.name] = _with_factors(found, stored[tensor.name], values[name])
    for tensor in file.tensors:
        if tensor.name in pairs:
            continue
        fits = [
            fit
            for name, value in values.items()
            for fit in [_fit(tensor, stored[tensor.name], name, value, BY_VALUE, flattened.get(name))]
            if fit is not None
        ]
        noise = {id(fit): _closeness(fit, stored[tensor.name], values[fit.value]) for fit in fits}
        best = max(fits, key=lambda fit: noise[id(fit)], default=None)
        if best is not None and noise[id(best)] >= SAME_VALUE:
            pairs[tensor.name] = best
    return [pairs[tensor.name] for tensor in file.tensors if tensor.name in pairs]


def _flattened(graph: ir.Model, values: Arrays) -> dict[str, tuple[int, ...]]:
    """Channel-last shapes of pictures (N, C, spatial...) by the name of the (N, features) made of them.

    A channel-last file has such features in another order.
    """
    found = {}
    for node in graph.graph:
        ends = [value.name for value in (*node.inputs[:1], *node.outputs) if value is not None]
        if node.op_type in FLATTENING and len(ends) == 2 and all(name in values for name in ends):
            before, after = (values[name or ""].shape for name in ends)
            if len(before) > 2 == len(after) and before[0] == after[0]:
                found[ends[1] or ""] = (before[0], *before[2:], before[1])
    return found


def _fit(
    tensor: Stored,
    stored: np.ndarray,
    name: str,
    value: np.ndarray,
    matched: str,
    unflattened: tuple[int, ...] | None = None,
) -> Pair | None:
    """The order of axes in which a tensor is closest to a value; None where the sizes differ."""
    if stored.size != value.size or not stored.size:
        return None
    found = [Pair(tensor, name, matched, value.shape, order) for order in _orders(stored.shape, value.shape)]
    if unflattened is not None:
        rank = len(unflattened)
        found.append(
            Pair(tensor, name, matched, value.shape, (0, rank - 1, *range(1, rank - 1)), unflattened)
        )
    if len(found) == 1:
        return found[0]
    return max(found, key=lambda pair: _closeness(pair, stored, value))


def _orders(stored: tuple[int, ...], value: tuple[int, ...]) -> list[tuple[int, ...] | None]:
    """Orders of the stored axes that make the value's shape: as it is and channel-last before all others."""
    rank = len(stored)
    if rank != len(value):
        return [None]
    usual = [tuple(range(rank)), (0, rank - 1, *range(1, rank - 1))] if rank else [()]
    others = itertools.permutations(range(rank)) if rank <= 4 else iter(())
    for orders in (usual, others):
        fitting = [order for order in orders if tuple(stored[axis] for axis in order) == value]
        if fitting:
            return list(dict.fromkeys(fitting))
    return [None]


def _closeness(pair: Pair, stored: np.ndarray, value: np.ndarray) -> float:
    """SQNR in dB on some of the values."""
    # An odd stride meets all columns and channels.
    stride = max(1, value.size // PROBES) | 1
    numbers = _real(pair.ordered(stored).reshape(-1)[::stride], pair.tensor.quantization)
    return decibels(*power(value.reshape(-1)[::stride], numbers))


def _with_factors(pair: Pair, stored: np.ndarray, value: np.ndarray) -> Pair:
    """The same with a line fitted to each channel, where these explain most of the difference and differ.

    Equalization scales and moves channels and undoes it in the next layer. One factor or offset for all
    channels would be a wrong scale or zero point, which is an error to be shown. Lines are least squares.
    """
    if value.ndim < 2 or value.shape[1] < 2 or value.size < LEAST_VALUES * value.shape[1]:
        return pair
    real = pair.real(stored).astype(np.float64)
    others = tuple(axis for axis in range(value.ndim) if axis != 1)
    means = [array.mean(others, keepdims=True, dtype=np.float64) for array in (value, real)]
    variance = np.square(value - means[0]).mean(others, keepdims=True)
    covariance = ((value - means[0]) * (real - means[1])).mean(others, keepdims=True)
    varies = variance > 0
    factors = np.where(varies, covariance / np.where(varies, variance, 1), 1.0)
    offsets = np.where(varies, means[1] - factors * means[0], 0.0)
    if not varies.any() or factors.min() <= 0 or not _differ(factors[varies], offsets[varies], real):
        return pair
    found = replace(
        pair, matched=RESCALED, factors=factors.astype(np.float32), offsets=offsets.astype(np.float32)
    )
    before, after = decibels(*power(value, pair.real(stored))), decibels(*power(value, found.real(stored)))
    return pair if after < SAME_VALUE or after < before + SAME_VALUE else found


def _differ(factors: np.ndarray, offsets: np.ndarray, real: np.ndarray) -> bool:
    """Whether factors, or offsets for the size of the numbers, are not about the same in all channels."""
    if factors.max() >= UNEVEN * factors.min():
        return True
    return bool(np.ptp(offsets) >= (UNEVEN - 1) * np.sqrt(np.square(real).mean()))


def _float_values(graph: ir.Model, sample: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    import onnx_ir

    from toolchain.converters.quantize.observe import Watcher

    values = [*graph.graph.inputs, *(value for node in graph.graph for value in node.outputs)]
    names = [value.name for value in values if value.name and value.dtype == onnx_ir.DataType.FLOAT]
    yield from Watcher(graph, names).run(sample)


def power(value: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Sum of squares of the first, and of the difference."""
    difference = value.astype(np.float32) - real
    return float(np.square(value, dtype=np.float64).sum()), float(
        np.square(difference, dtype=np.float64).sum()
    )


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); infinite without noise."""
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
