"""Run a PyTorch module as a runtime: the reference that files are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.runtimes.base import Arrays, Runtime
from toolchain.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


class TorchRuntime(Runtime):
    """A module under its contract; the inputs go to `forward` in the order of `spec.inputs`.

    Args:
        module: put into evaluation mode, and left in it.
        spec: names and shapes, NCHW.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec) -> None:
        self.inputs = spec.inputs
        self.outputs = spec.outputs
        self._name = spec.name
        self._module: nn.Module | None = module.eval()
        first = next(iter(module.parameters()), None)
        self._device = first.device if first is not None else "cpu"

    def _execute(self, arrays: Arrays) -> Arrays:
        import torch

        assert self._module is not None
        with torch.inference_mode():
            tensors = [
                torch.from_numpy(_writable(arrays[spec.name])).to(self._device) for spec in self.inputs
            ]
            try:
                result = self._module(*tensors)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise UnsupportedError(f"'{self._name}' failed in PyTorch: {error}") from error
        values = _flat(result)
        if len(values) != len(self.outputs):
            raise UnsupportedError(
                f"'{self._name}' returns {len(values)} tensor(s), its contract names {len(self.outputs)}",
                "make forward return exactly the tensors that the contract names",
            )
        # Copied: a module may hand out its own buffer, or the same tensor twice.
        return {
            spec.name: value.detach().cpu().numpy().copy()
            for spec, value in zip(self.outputs, values, strict=True)
        }

    def _release(self) -> None:
        self._module = None


def _writable(array: np.ndarray) -> np.ndarray:
    # Modules with in-place operations would otherwise write into the caller's array.
    return array.copy()


def _flat(result: Any) -> list[Tensor]:
    """The tensors of a result in order: a tensor, or tuples, lists and dicts of them."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (tuple, list)):
        return [tensor for item in result for tensor in _flat(item)]
    return [result]
