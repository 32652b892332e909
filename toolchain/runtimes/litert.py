"""Run .tflite files with LiteRT, or with the older interpreters that apps still carry."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from toolchain.errors import MissingDependencyError, UnsupportedError, UsageError
from toolchain.runtimes.base import DYNAMIC, Arrays, Runtime, check_threads, one_line
from toolchain.runtimes.native_output import captured_stderr
from toolchain.runtimes.tflite_header import Signature, read_signatures
from toolchain.spec import TensorSpec

SERVING = "serving_default"
# Runtime name -> module with Interpreter and OpResolverType, preferred first.
INTERPRETERS = {
    "litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime", "tensorflow": "tensorflow"}

log = logging.getLogger(__name__)


class LiteRTRuntime(Runtime):
    """A .tflite model in an interpreter, on the CPU.

    Tensors are called by the names of the signature `serving_default` (or of the only signature), else by
    their names in the graph. Arrays go in as they are: nobody changes their layout.

    Args:
        source: path of the file, or its bytes.
        threads: threads of one operator; None is the interpreter's default, one thread.
        delegate: False runs the built-in kernels without XNNPACK.
        interpreters: names in INTERPRETERS; the first that is installed is used.
        keep_tensors: keep the values of all tensors for `tensor`; takes memory for all of them.

    Raises:
        MissingDependencyError: none of the interpreters is installed.
        UsageError: the file cannot be read.
        UnsupportedError: the file is damaged, or the interpreter cannot run it.
    """

    def __init__(
        self,
        source: Path | str | bytes,
        threads: int | None = None,
        delegate: bool = True,
        interpreters: Sequence[str] = tuple(INTERPRETERS),
        keep_tensors: bool = False,
    ) -> None:
        check_threads(threads)
        self._label = "the .tflite model" if isinstance(source, bytes) else f"'{source}'"
        data = source if isinstance(source, bytes) else _read(Path(source))
        signature = self._signature(read_signatures(data, self._label))
        module = _import_interpreter(interpreters)
        options: dict[str, Any] = {"model_content": data, "num_threads": threads}
        if not delegate:
            options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        if keep_tensors:
            options["experimental_preserve_all_tensors"] = True
        with captured_stderr() as native, warnings.catch_warnings():
            # The interpreter warns of the memory that `keep_tensors` asks for.
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors.*")
            try:
                self._interpreter: Any = module.Interpreter(**options)
                self._interpreter.allocate_tensors()
                inputs = self._interpreter.get_input_details()
                outputs = self._interpreter.get_output_details()
                self._details: list[dict[str, Any]] = (
                    self._interpreter.get_tensor_details() if keep_tensors else []
                )
            except (ValueError, RuntimeError) as error:
                raise UnsupportedError(
                    f"{self._label} cannot be loaded by LiteRT: {one_line(error)}",
                    "check that the file is complete; a newer ai-edge-litert knows more operators",
                ) from error
        if native.text:
            log.info("%s: %s", self._label, native.text.strip())
        self._input_index = self._names(inputs, signature.inputs if signature else None)
        self._output_index = self._names(outputs, signature.outputs if signature else None)
        self.inputs = self._specs(inputs, self._input_index)
        self.outputs = self._specs(outputs, self._output_index)
        self._dynamic = any(DYNAMIC in spec.shape for spec in self.inputs)

    def _signature(self, signatures: list[Signature]) -> Signature | None:
        named = [item for item in signatures if item.key == SERVING] or signatures
        if not named:
            return None
        if len(named) > 1 or named[0].subgraph != 0:
            raise UnsupportedError(
                f"{self._label} has the signatures {', '.join(item.key for item in signatures)}, "
                f"none of them is '{SERVING}' on the first subgraph",
                "export the one that is meant as a file of its own",
            )
        return named[0]

    def _names(self, details: list[dict[str, Any]], names: dict[str, int] | None) -> dict[str, int]:
        """Name -> tensor number in the order of the graph; from the signature where there is one."""
        order = list(dict.fromkeys(int(detail["index"]) for detail in details))
        if names is None:
            names = {detail["name"]: int(detail["index"]) for detail in details}
        if set(names.values()) != set(order):
            raise UnsupportedError(
                f"{self._label} is damaged: its names do not cover the tensors of its graph one to one",
                "export it again, with a signature",
            )
        return dict(sorted(names.items(), key=lambda item: order.index(item[1])))

    def _specs(self, details: list[dict[str, Any]], names: dict[str, int]) -> tuple[TensorSpec, ...]:
        by_index = {int(detail["index"]): detail for detail in details}
        return tuple(self._spec(name, by_index[index]) for name, index in names.items())

    def _spec(self, name: str, detail: dict[str, Any]) -> TensorSpec:
        dtype = np.dtype(detail["dtype"])
        if dtype.kind not in "biufc":
            raise UnsupportedError(
                f"tensor '{name}' of {self._label} is {dtype}", "numeric tensors are supported"
            )
        quantization = detail["quantization_parameters"]
        quantized = len(quantization["scales"]) == 1
        # tflite-runtime leaves the signature empty when nothing is dynamic.
        signature = detail.get("shape_signature", ())
        return TensorSpec(
            name,
            tuple(int(size) for size in (signature if len(signature) else detail["shape"])),
            dtype.name,
            scale=float(quantization["scales"][0]) if quantized else None,
            zero_point=int(quantization["zero_points"][0]) if quantized else None,
        )

    def _execute(self, arrays: Arrays) -> Arrays:
        by_index = {self._input_index[name]: array for name, array in arrays.items()}
        try:
            self._resize(by_index)
            for index, array in by_index.items():
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            details = {int(detail["index"]): detail for detail in self._interpreter.get_output_details()}
            return {name: self._output(details[index]) for name, index in self._output_index.items()}
        except (ValueError, RuntimeError) as error:
            raise UnsupportedError(f"{self._label} failed in LiteRT: {one_line(error)}") from error

    def tensor(self, index: int) -> np.ndarray:
        """What the last run left in tensor `index` of the file's graph; needs `keep_tensors`.

        Raises:
            UnsupportedError: the tensor has no memory of its own.
        """
        try:
            return self._interpreter.get_tensor(index)
        except (ValueError, RuntimeError) as error:
            raise UnsupportedError(
                f"tensor {index} of {self._label} cannot be read: {one_line(error)}"
            ) from error

    def quantization(self, index: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Scales, zero points and their axis, as the file has them for tensor `index`; empty for floats."""
        found = self._details[index]["quantization_parameters"]
        return found["scales"], found["zero_points"], int(found["quantized_dimension"])

    def _resize(self, by_index: dict[int, np.ndarray]) -> None:
        """Tell the interpreter about input shapes that differ from those of the call before."""
        changed = False
        for detail in self._interpreter.get_input_details() if self._dynamic else ():
            shape = by_index[int(detail["index"])].shape
            if shape != tuple(detail["shape"]):
                self._interpreter.resize_tensor_input(int(detail["index"]), shape)
                changed = True
        if changed:
            with captured_stderr():
                self._interpreter.allocate_tensors()

    def _output(self, detail: dict[str, Any]) -> np.ndarray:
        if 0 in detail["shape"]:
            # Tensors without elements have no memory that could be read.
            return np.empty(tuple(detail["shape"]), detail["dtype"])
        return self._interpreter.get_tensor(detail["index"])

    def _release(self) -> None:
        self._interpreter = None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}", "give a .tflite file") from error


def _import_interpreter(names: Sequence[str]) -> ModuleType:
    failures = []
    with captured_stderr():
        for name in names:
            try:
                return importlib.import_module(INTERPRETERS[name])
            except ImportError as error:
                failures.append(f"{name}: {error}")
    raise MissingDependencyError(
        f"running .tflite files needs an interpreter ({'; '.join(failures)})",
        f"pip install {PACKAGES[names[0]]}",
    )
