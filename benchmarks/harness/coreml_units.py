"""A Core ML file on each compute unit of a Mac."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.runtimes import Runtime
from toolchain.runtimes.base import Arrays, one_line
from toolchain.runtimes.coreml import read_inputs, read_outputs
from toolchain.runtimes.coreml_file import read_coreml

# Names of coremltools.ComputeUnit.
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")


class CoreMLUnitRuntime(Runtime):
    """A .mlpackage or .mlmodel on Apple's Core ML, restricted to a compute unit; on macOS only.

    What `predict` of coremltools does around Core ML, such as making arrays of its outputs, is in its time.

    Attributes:
        unit: one of UNITS.
    """

    def __init__(self, path: Path, unit: str) -> None:
        import coremltools

        self.unit = unit
        self._path = path
        file = read_coreml(path)
        self.inputs = read_inputs(file)
        self.outputs = read_outputs(file)
        self._images = {spec.name for spec in self.inputs if spec.image}
        try:
            self._model: Any = coremltools.models.MLModel(
                str(path), compute_units=coremltools.ComputeUnit[unit]
            )
        except Exception as error:
            # Core ML's errors come as bare exceptions.
            raise UnsupportedError(f"Core ML cannot load '{path}' for {unit}: {one_line(error)}") from error

    def feeds(self, arrays: Arrays) -> dict[str, Any]:
        """The arrays as Core ML takes them: images as PIL images."""
        from PIL import Image

        return {
            name: Image.fromarray(np.squeeze(array)) if name in self._images else array
            for name, array in arrays.items()
        }

    def predict(self, feeds: dict[str, Any]) -> Any:
        """One pass."""
        return self._model.predict(feeds)

    def _execute(self, arrays: Arrays) -> Arrays:
        try:
            made = self.predict(self.feeds(arrays))
        except Exception as error:
            raise UnsupportedError(f"'{self._path}' failed in Core ML: {one_line(error)}") from error
        return {spec.name: np.asarray(made[spec.name]) for spec in self.outputs}

    def _release(self) -> None:
        self._model = None


def openers(path: Path) -> dict[str, Callable[[], Runtime]]:
    """Functions that load `path`, by compute unit."""
    return {unit: partial(CoreMLUnitRuntime, path, unit) for unit in UNITS}
