"""Measured ranges of every tensor of a network's ONNX graph, for its card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn

from toolchain.converters.graph import clean
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.spec import ModelSpec


def measure_ranges(network: nn.Module, spec: ModelSpec, pictures: Iterable[Tensor]) -> dict[str, list[float]]:
    """Smallest and largest value of every floating-point tensor of the cleaned graph.

    A network with a previous mask sees each picture twice: with an empty mask, and with the class
    probabilities that its own first answer gives.

    Args:
        network: the trained network, in eval mode.
        spec: its contract; pictures are brought into its range here.
        pictures: RGB (3, H, W) in 0-255, of the size that the contract says.

    Returns:
        Tensor name to [smallest, largest], inputs and outputs included.
    """
    graph = torch_to_onnx(network, spec.inputs, [tensor.name for tensor in spec.outputs])
    clean(graph)
    session = _session_with_all_outputs(graph)
    names = [output.name for output in session.get_outputs()]
    ranges: dict[str, list[float]] = {}
    for picture in pictures:
        feeds = _feeds(spec, picture)
        results = _note(ranges, feeds, dict(zip(names, session.run(names, feeds), strict=True)))
        if len(spec.inputs) > 1:
            scores = torch.from_numpy(results[spec.outputs[0].name])
            feeds[spec.inputs[1].name] = torch.softmax(scores, 1).numpy()
            _note(ranges, feeds, dict(zip(names, session.run(names, feeds), strict=True)))
    return ranges


def _session_with_all_outputs(graph: ir.Model) -> onnxruntime.InferenceSession:
    known = set(graph.graph.outputs)
    for node in graph.graph:
        for value in node.outputs:
            if value not in known and value.dtype is not None and value.dtype.is_floating_point():
                graph.graph.outputs.append(value)
    options = onnxruntime.SessionOptions()
    # Optimization would fuse away the tensors that are asked for.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        ir.to_proto(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _feeds(spec: ModelSpec, picture: Tensor) -> dict[str, np.ndarray]:
    assert spec.preprocess is not None
    mean = torch.tensor(spec.preprocess.mean).view(3, 1, 1)
    std = torch.tensor(spec.preprocess.std).view(3, 1, 1)
    feeds = {spec.inputs[0].name: ((picture.float() - mean) / std)[None].numpy()}
    for tensor in spec.inputs[1:]:
        feeds[tensor.name] = np.zeros(tensor.shape, np.float32)
    return feeds


def _note(
    ranges: dict[str, list[float]], feeds: dict[str, np.ndarray], results: dict[str, Any]
) -> dict[str, np.ndarray]:
    for name, values in (feeds | results).items():
        low, high = float(values.min()), float(values.max())
        if name in ranges:
            low, high = min(low, ranges[name][0]), max(high, ranges[name][1])
        ranges[name] = [low, high]
    return results
