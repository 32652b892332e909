"""Writing of elements by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.gather import indices_within, multi_index
from toolchain.runtimes.neuralnetwork.layers.parameters import axis_of, enum_name


def _set(target: np.ndarray, index: Any, updates: np.ndarray) -> None:
    target[index] = updates


_MODES: dict[str, Callable[[np.ndarray, Any, np.ndarray], None]] = {
    "SCATTER_UPDATE": _set,
    "SCATTER_ADD": np.add.at,
    "SCATTER_SUB": np.subtract.at,
    "SCATTER_MUL": np.multiply.at,
    "SCATTER_DIV": np.divide.at,
    "SCATTER_MAX": np.maximum.at,
    "SCATTER_MIN": np.minimum.at,
}
"""An index that occurs twice is written twice, in the order of the indices."""


def _written(
    mode: str, container: torch.Tensor, index: tuple[Any, ...], updates: torch.Tensor
) -> torch.Tensor:
    target = np.array(container.numpy(), order="C")
    places = tuple(item.numpy() if isinstance(item, torch.Tensor) else item for item in index)
    if target[places].shape != tuple(updates.shape):
        raise UnsupportedError(f"updates of shape {tuple(updates.shape)} do not fit {target[places].shape}")
    _MODES[mode](target, places, updates.numpy())
    return torch.from_numpy(target)


@computes("scatter")
def scatter(p: Any) -> Kernel:
    """Slices of an axis written by index."""
    mode = enum_name(p, "mode")

    def run(container: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, container.ndim)
        index = indices_within(indices, container.shape[axis])
        return _written(mode, container, (*[slice(None)] * axis, index), updates)

    return run


@computes("scatterND")
def scatter_nd(p: Any) -> Kernel:
    """Slices written by multi-index, which lies in the last axis of the second input."""
    mode = enum_name(p, "mode")
    return lambda container, indices, updates: _written(
        mode, container, multi_index(container, indices), updates
    )


@computes("scatterAlongAxis")
def scatter_along_axis(p: Any) -> Kernel:
    """Elements along an axis written by index, as numpy.put_along_axis."""
    mode = enum_name(p, "mode")

    def run(container: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, container.ndim)
        index = indices_within(indices, container.shape[axis])
        places = list(torch.meshgrid(*(torch.arange(size) for size in index.shape), indexing="ij"))
        places[axis] = index
        return _written(mode, container, tuple(places), updates)

    return run
