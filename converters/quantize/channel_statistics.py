"""Per-channel figures of values inside a network, over calibration samples, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import add_initializer
from toolchain.errors import UsageError

Sample = Mapping[str, np.ndarray]

REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceSumSquare")


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
    """Run the network on samples and reduce values to figures per channel inside the graph.

    Args:
        model: any graph that ONNX Runtime runs, opset 18 or newer; it is not changed.
        axes: value name -> axis of its channels.
        samples: one {input name: array} each, read once, one at a time.

    Returns:
        Value name -> figures over all samples.

    Raises:
        UsageError: there are no samples.
    """
    probed = model.clone()
    _add_reductions(probed.graph, axes)
    session = session_of(probed, threads=0)
    names = [f"{name}:{kind}" for name in axes for kind in REDUCTIONS]
    total: dict[str, ChannelStatistics] = {}
    count = 0
    for sample in samples:
        made = iter(session.run(names, dict(sample))) if names else iter(())
        count += 1
        for name in axes:
            low, high, mean, square = (next(made).astype(np.float64) for _ in REDUCTIONS)
            if name not in total:
                total[name] = ChannelStatistics(low, high, mean, square)
                continue
            known = total[name]
            known.low, known.high = np.minimum(known.low, low), np.maximum(known.high, high)
            known.mean, known.mean_square = known.mean + mean, known.mean_square + square
    if not count:
        raise UsageError("there are no calibration samples", "give some with --calibration")
    for name, known in total.items():
        size = _elements_per_channel(probed.graph, name, axes[name])
        known.mean, known.mean_square = known.mean / count, known.mean_square / (count * size)
    return total


def session_of(model: ir.Model, threads: int = 1) -> Any:
    """An ONNX Runtime session that computes QuantizeLinear/DequantizeLinear as written.

    Args:
        model: any graph that ONNX Runtime runs.
        threads: of one operator; 0 for one for each core.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # In the order of the graph, so that nodes placed behind a value run while it is there.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.intra_op_num_threads = threads
    # Its threads would wait actively while figures are added up.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # Integer kernels of ONNX Runtime would round elsewhere than the pairs do.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    found = {value.name: value for value in graph.inputs if value.name}
    found.update({value.name: value for node in graph for value in node.outputs if value.name})
    return found


def _elements_per_channel(graph: ir.Graph, name: str, axis: int) -> int:
    shape = _values(graph)[name].shape
    assert shape is not None
    sizes = shape.numpy()
    return int(np.prod(sizes)) // max(sizes[axis], 1)


def _add_reductions(graph: ir.Graph, axes: Mapping[str, int]) -> None:
    values = _values(graph)
    graph.outputs.clear()
    for name, axis in axes.items():
        value = values[name]
        assert value.shape is not None
        others = np.array([a for a in range(len(value.shape)) if a != axis % len(value.shape)], np.int64)
        place = add_initializer(graph, others, f"{name}:axes")
        for kind in REDUCTIONS:
            node = ir.node(kind, [value, place], {"keepdims": 0})
            made = node.outputs[0]
            made.name, made.type = f"{name}:{kind}", ir.TensorType(ir.DataType.FLOAT)
            made.shape = ir.Shape([value.shape[axis]])
            # Behind the value, so that it can be forgotten: at the end of the graph all would be held.
            producer = value.producer()
            if producer is None:
                graph.insert_before(graph[0], node)
            else:
                graph.insert_after(producer, node)
            graph.outputs.append(made)
