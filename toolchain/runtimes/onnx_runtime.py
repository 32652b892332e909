"""Run ONNX files with ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from toolchain.errors import MissingDependencyError, UnsupportedError
from toolchain.runtimes.base import DYNAMIC, Arrays, Runtime, check_threads, one_line
from toolchain.spec import TensorSpec

DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}
ERRORS_ONLY = 3
# What ONNX Runtime otherwise computes less exactly than the file says, without a word: on x86 processors
# without VNNI, sums of int8 products that saturate in 16 bits; with 8-bit weights, activations cut to 8 bits.
AS_WRITTEN = {"session.x64quantprecision": "1", "session.qdq_matmulnbits_accuracy_level": "1"}


class OnnxRuntime(Runtime):
    """An ONNX model in ONNX Runtime.

    Args:
        source: path of the file, or its bytes; weights in a separate file need the path.
        weights: arrays by name for what the bytes refer to instead of having it, as `weights_beside` makes
            them; read where they are, and not to be written to.
        threads: threads of one operator; None leaves it to ONNX Runtime.
        optimize: False turns ONNX Runtime's own graph optimizations off.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        UnsupportedError: the model is damaged, or ONNX Runtime cannot run it.
    """

    def __init__(
        self,
        source: Path | str | bytes,
        weights: Mapping[str, np.ndarray] | None = None,
        *,
        threads: int | None = None,
        optimize: bool = True,
    ) -> None:
        check_threads(threads)
        ort = _import_onnxruntime()
        options = session_options(threads)
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # The session reads them, but does not hold them.
        self._weights = dict(weights or {})
        if self._weights:
            arrays = [ort.OrtValue.ortvalue_from_numpy(array) for array in self._weights.values()]
            options.add_external_initializers(list(self._weights), arrays)
        self._label = "the ONNX model" if isinstance(source, bytes) else f"'{source}'"
        try:
            model = source if isinstance(source, bytes) else str(source)
            self._session: Any = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime's exceptions have no common base class below Exception.
            raise UnsupportedError(
                f"{self._label} cannot be loaded by ONNX Runtime: {one_line(error)}",
                "check that it is a complete ONNX model; a newer onnxruntime knows more operators",
            ) from error
        self.inputs = tuple(self._spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(self._spec(node) for node in self._session.get_outputs())

    def _spec(self, node: Any) -> TensorSpec:
        if node.type not in DTYPES:
            raise UnsupportedError(
                f"tensor '{node.name}' of {self._label} has type {node.type}", "numeric tensors are supported"
            )
        shape = tuple(size if isinstance(size, int) else DYNAMIC for size in node.shape)
        return TensorSpec(node.name, shape, DTYPES[node.type])

    def _execute(self, arrays: Arrays) -> Arrays:
        names = [spec.name for spec in self.outputs]
        try:
            values = self._session.run(names, arrays)
        except Exception as error:
            raise UnsupportedError(f"{self._label} failed in ONNX Runtime: {one_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    def _release(self) -> None:
        self._session = None
        self._weights = {}


def session_options(threads: int | None) -> Any:
    """Options with which ONNX Runtime computes what a file says, and says nothing but errors.

    Args:
        threads: threads of one operator; None leaves it to ONNX Runtime.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """
    options = _import_onnxruntime().SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    for key, value in AS_WRITTEN.items():
        options.add_session_config_entry(key, value)
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    return options


def _import_onnxruntime() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            f"running ONNX files needs onnxruntime ({error})", "pip install onnxruntime"
        ) from error
