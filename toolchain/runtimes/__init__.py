"""Run any model file behind one small interface: `load(path).run({name: array})`."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.base import Runtime
from toolchain.runtimes.litert import INTERPRETERS, LiteRTRuntime
from toolchain.runtimes.onnx_runtime import OnnxRuntime

__all__ = ["Runtime", "load"]

ONNX = "onnxruntime"
SUFFIXES = (".tflite", ".onnx")
CORE_ML = (".mlpackage", ".mlmodel")


def load(
    path: Path | str, threads: int | None = None, runtime: str | None = None, delegate: bool = True
) -> Runtime:
    """Load a model file, ours or not.

    Args:
        path: a `.tflite` or `.onnx` file.
        threads: threads of one operator; None is the runtime's default (LiteRT: 1, ONNX Runtime: all cores).
        runtime: "onnxruntime", "litert", "tflite-runtime" or "tensorflow". By default the suffix decides, and
            a `.tflite` file goes to the first of the last three that is installed.
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
    elif runtime not in (ONNX, *INTERPRETERS):
        raise UsageError(f"unknown runtime '{runtime}'", f"runtimes are {', '.join((ONNX, *INTERPRETERS))}")
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder, not a model file", f"give a {_suffixes()} file")
    if not path.exists():
        raise UsageError(f"no model file at '{path}'", "`toolchain export` writes one")
    if runtime == ONNX or (runtime is None and path.suffix.lower() == ".onnx"):
        return OnnxRuntime(path, threads, optimize=delegate)
    return LiteRTRuntime(path, threads, delegate, interpreters=[runtime] if runtime else list(INTERPRETERS))


def _check_suffix(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in CORE_ML:
        raise UnsupportedError(
            f"'{path}': Core ML files cannot be run in this version", f"use a {_suffixes()} file"
        )
    if suffix not in SUFFIXES:
        raise UsageError(f"'{path}' has no suffix of a known model file", f"supported are {_suffixes()}")


def _suffixes() -> str:
    return " or ".join(SUFFIXES)
