"""Figures of a network that need no training: filters, parameters, multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.compress.experiment.points import filters_of
from toolchain.compress.experiment.task import Predict
from toolchain.compress.removal.figures import network_size
from toolchain.runtimes import Runtime
from toolchain.spec import Artifact, ModelSpec, TensorSpec

CHANNELS_LAST = "NHWC"


def network_figures(
    network: nn.Module, example: tuple[Tensor, ...], full: int, exempt: Sequence[str] = ()
) -> dict[str, Any]:
    """What a network is made of.

    Args:
        network: in eval mode; its zeroed filters do not count as filters, but as parameters.
        example: inputs of `forward`, batch 1.
        full: filters of the network at full size.
        exempt: layers whose filters do not count.

    Returns:
        `filters` left by layer, `gone` (share 0-1 of all filters at full size), `parameters`,
        `multiply_adds` of convolutions and matrix products for one run.
    """
    filters = filters_of(network, exempt)
    size = network_size(network, example)
    return {
        "filters": filters,
        "gone": (full - sum(filters.values())) / full,
        "parameters": size.parameters,
        "multiply_adds": size.macs,
    }


def predictor(network: nn.Module, spec: ModelSpec) -> Predict:
    """First input of a batch -> first output; inputs beside the first are zeros (an empty previous mask)."""

    def predict(image: Tensor) -> Tensor:
        others = [torch.zeros(len(image), *tensor.shape[1:]) for tensor in spec.inputs[1:]]
        return network(image, *others)

    return predict


def file_predictor(runtime: Runtime, artifact: Artifact) -> Predict:
    """The same for a model file that takes one picture at a time, with the tensors of its sidecar."""
    first, *others = artifact.inputs
    output = artifact.outputs[0]

    def predict(image: Tensor) -> Tensor:
        rows = []
        for one in image.numpy():
            arrays = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in others}
            arrays[first.name] = _to_file(one[None], first)
            rows.append(_from_file(runtime.run(arrays)[output.name], output))
        return torch.from_numpy(np.concatenate(rows))

    return predict


def _to_file(array: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if tensor.layout == CHANNELS_LAST else array


def _from_file(array: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    return array.transpose(0, 3, 1, 2) if tensor.layout == CHANNELS_LAST else array
