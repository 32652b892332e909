"""Per-channel figures of values inside a network, over calibration samples, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.weights_beside import session_with
from toolchain.converters.quantize.observe import Watcher
from toolchain.errors import UsageError

Sample = Mapping[str, np.ndarray]

BLOCK = 4096


@dataclass
class ChannelStatistics:
    """Figures of one value, float64 arrays with one entry for each channel.

    Attributes:
        low: smallest number.
        high: largest number.
        mean: mean number.
        mean_square: mean of the squares.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    mean_square: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """Mean squared distance from the mean."""
        return np.maximum(self.mean_square - self.mean**2, 0.0)


def channel_statistics(
    model: ir.Model, axes: Mapping[str, int], samples: Iterable[Sample]
) -> dict[str, ChannelStatistics]:
    """Run the network on samples and reduce values to figures per channel.

    Args:
        model: any graph without quantization pairs that ONNX Runtime runs; it is not changed.
        axes: value name -> axis of its channels.
        samples: one {input name: array} each, read once, one at a time.

    Returns:
        Value name -> figures over all samples.

    Raises:
        UsageError: there are no samples.
    """
    watcher = Watcher(model, list(axes), reuse=True, optimized=True)
    total = Total()
    for sample in samples:
        for name, array in watcher.run(sample):
            total.add(name, figures_of(array, axes[name]))
        total.samples += 1
    return total.means()


def figures_of(array: np.ndarray, axis: int) -> ChannelStatistics:
    """The figures of one array, float32, with its channels on `axis`."""
    channels = array.shape[axis]
    rows = np.moveaxis(array, axis, 0).reshape(channels, -1)
    size = max(rows.shape[1], 1)
    return ChannelStatistics(
        rows.min(axis=1, initial=np.inf).astype(np.float64),
        rows.max(axis=1, initial=-np.inf).astype(np.float64),
        _products(rows, np.ones_like(rows[:1])) / size,
        _products(rows, rows) / size,
    )


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Scalar products of rows, float64: in blocks, which round less and need no second thread."""
    cut = left.shape[1] // BLOCK * BLOCK

    def products(part: slice, length: int) -> np.ndarray:
        rows, columns = (array[:, part].reshape(len(array), -1, length) for array in (left, right))
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.matmul(rows[:, :, None, :], columns[:, :, :, None])
        return found.reshape(len(left), -1).sum(axis=1, dtype=np.float64)

    rest = left.shape[1] - cut
    total = products(slice(0, cut), BLOCK)
    return total + products(slice(cut, None), rest) if rest else total


class Total:
    """Figures of several values over samples.

    Attributes:
        samples: how many there were; counted by the caller.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._known: dict[str, ChannelStatistics] = {}

    def add(self, name: str, found: ChannelStatistics) -> None:
        """Take in one value of one sample."""
        known = self._known.get(name)
        if known is None:
            self._known[name] = found
            return
        known.low, known.high = np.minimum(known.low, found.low), np.maximum(known.high, found.high)
        known.mean, known.mean_square = known.mean + found.mean, known.mean_square + found.mean_square

    def means(self) -> dict[str, ChannelStatistics]:
        """Value name -> figures over all samples.

        Raises:
            UsageError: there were no samples.
        """
        if not self.samples:
            raise UsageError("there are no calibration samples", "give some with --calibration")
        count = self.samples
        return {
            name: ChannelStatistics(known.low, known.high, known.mean / count, known.mean_square / count)
            for name, known in self._known.items()
        }


def session_of(model: ir.Model, threads: int = 1) -> Any:
    """An ONNX Runtime session that computes QuantizeLinear/DequantizeLinear as written.

    Args:
        model: any graph that ONNX Runtime runs.
        threads: of one operator; 0 for one for each core.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads would wait actively while figures are added up.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # Integer kernels of ONNX Runtime would round elsewhere than the pairs do.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return session_with(model, options)
