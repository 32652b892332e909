"""Run any model file behind one small interface: `load(path).run({name: array})`."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import UsageError
from toolchain.runtimes.base import Runtime
from toolchain.runtimes.coreml import NATIVE, REFERENCE, CoreMLNativeRuntime, CoreMLRuntime
from toolchain.runtimes.litert import INTERPRETERS, LiteRTRuntime
from toolchain.runtimes.onnx_runtime import OnnxRuntime
from toolchain.spec import REJECTED

__all__ = ["Runtime", "load"]

ONNX = "onnxruntime"
CORE_ML = (".mlpackage", ".mlmodel")
SUFFIXES = (".tflite", ".onnx", *CORE_ML)
RUNTIMES = (ONNX, *INTERPRETERS, REFERENCE, NATIVE)


def load(
    path: Path | str, threads: int | None = None, runtime: str | None = None, delegate: bool = True
) -> Runtime:
    """Load a model file, ours or not.

    Args:
        path: a `.tflite`, `.onnx`, `.mlpackage` or `.mlmodel` file.
        threads: threads of one operator; None is the runtime's default (LiteRT: 1, the others: all cores).
        runtime: "onnxruntime", "litert", "tflite-runtime", "tensorflow", "coreml" or "coreml-native". By
            default the suffix decides: a `.tflite` file goes to the first interpreter of the second to
            fourth that is installed, a Core ML file to the reference interpreter "coreml".
        delegate: False is the plain way: LiteRT's own kernels without XNNPACK, ONNX Runtime without its
            graph optimizations.

    Returns:
        The loaded network; close it, or use it in a `with` statement.

    Raises:
        UsageError: no such file, an unknown suffix or runtime, or a thread count below 1.
        UnsupportedError: the file is damaged, or nothing here can run it.
        MissingDependencyError: the package that runs such files is not installed.
    """
    path = Path(path)
    if runtime is None:
        _check_suffix(path)
        runtime = _default_runtime(path)
    elif runtime not in RUNTIMES:
        raise UsageError(f"unknown runtime '{runtime}'", f"runtimes are {', '.join(RUNTIMES)}")
    if runtime in (REFERENCE, NATIVE):
        return CoreMLRuntime(path, threads) if runtime == REFERENCE else CoreMLNativeRuntime(path)
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder, not a model file", f"give a {_suffixes()} file")
    if not path.exists():
        raise UsageError(f"no model file at '{path}'", "`toolchain export` writes one")
    if runtime == ONNX:
        return OnnxRuntime(path, threads=threads, optimize=delegate)
    interpreters = [runtime] if runtime in INTERPRETERS else list(INTERPRETERS)
    return LiteRTRuntime(path, threads, delegate, interpreters=interpreters)


def _default_runtime(path: Path) -> str:
    """Name of the runtime that a suffix stands for; "" for any TFLite interpreter."""
    suffix = _suffix(path)
    return {".onnx": ONNX, ".tflite": ""}.get(suffix, REFERENCE)


def _suffix(path: Path) -> str:
    """The suffix that says what a file is; one that failed its gate can be run as well."""
    return Path(path.name.lower().removesuffix(REJECTED)).suffix


def _check_suffix(path: Path) -> None:
    if _suffix(path) not in (*SUFFIXES, ".mlmodelc"):
        raise UsageError(f"'{path}' has no suffix of a known model file", f"supported are {_suffixes()}")


def _suffixes() -> str:
    return " or ".join(SUFFIXES)
