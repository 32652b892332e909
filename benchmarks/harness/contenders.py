"""Model files and networks of the zoo as contenders."""

from __future__ import annotations

import importlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from toolchain.benchmarks.harness import coreml_units, torch_network
from toolchain.benchmarks.harness.contender import INFERENCE
from toolchain.benchmarks.harness.files import digest_and_size, measured_file, suffix_of
from toolchain.benchmarks.harness.inputs import Shapes, random_inputs
from toolchain.benchmarks.harness.invocation import invocation, timed, xnnpack
from toolchain.benchmarks.harness.measure import Options
from toolchain.benchmarks.harness.results import REFERENCE_INTERPRETER, MeasuredFile
from toolchain.converters.coreml.quiet import import_coremltools
from toolchain.errors import MissingDependencyError, ToolchainError, UnsupportedError, UsageError
from toolchain.runtimes import CORE_ML, SUFFIXES, Runtime, load
from toolchain.runtimes.base import one_line
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.runtimes.litert import INTERPRETERS, PACKAGES, LiteRTRuntime
from toolchain.runtimes.onnx_runtime import OnnxRuntime

MS = 1e-6
SHOWN = {"litert": "LiteRT"}
# What is imported before loading is timed, by suffix; the first of a runtime's files would pay for it.
LIBRARIES = {
    ".tflite": "ai_edge_litert.interpreter",
    ".onnx": "onnxruntime",
    # Of the reference interpreter; on a Mac it is coremltools.
    ".mlpackage": "torch",
    ".mlmodel": "torch",
}


class ModelContender:
    """A network in a runtime; its stage "inference" is the runtime's innermost call.

    Attributes:
        name: unique among the contenders.
        artifact: path, or name of a zoo network.
        file: what is behind it; None for a network with random weights.
        threads: of one operator; None where they cannot be set.
        runtime: name, version and delegate; known after `load`.
        timed: what the time is of; known after `load`.
    """

    def __init__(
        self,
        name: str,
        artifact: str,
        open_runtime: Callable[[], Runtime],
        file: MeasuredFile | None,
        threads: int | None,
        seed: int,
        shapes: Shapes = None,
    ) -> None:
        self.name = name
        self.artifact = artifact
        self.file = file
        self.threads = threads
        self.runtime = ""
        self.timed = ""
        self._open = open_runtime
        self._seed = seed
        self._shapes = shapes
        self._loaded: Runtime | None = None
        self._invoke: Callable[[], Any] = lambda: None
        self._stages = {INFERENCE: 0.0}

    def load(self) -> None:
        """Open the file in its runtime."""
        self._loaded = self._open()

    def prepare(self) -> None:
        """Random inputs that depend on shapes and seed alone, set where the runtime takes them from."""
        assert self._loaded is not None
        self.runtime, self.timed = runtime_label(self._loaded), timed(self._loaded)
        label = f"'{self.name}'"
        arrays = random_inputs(self._loaded.inputs, self._seed, label, self._shapes)
        try:
            self._invoke = invocation(self._loaded, arrays)
        except (ValueError, RuntimeError) as error:
            raise UnsupportedError(f"{label} does not take its inputs: {one_line(error)}") from error

    def run(self) -> dict[str, float]:
        """One inference.

        Raises:
            UnsupportedError: the runtime failed.
        """
        before = time.perf_counter_ns()
        try:
            self._invoke()
        except ToolchainError:
            raise
        except Exception as error:
            # ONNX Runtime's exceptions have no common base class below Exception.
            raise UnsupportedError(f"'{self.name}' failed in {self.runtime}: {one_line(error)}") from error
        self._stages[INFERENCE] = (time.perf_counter_ns() - before) * MS
        return self._stages

    def close(self) -> None:
        """Release the network."""
        self._invoke = lambda: None
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None


def open_contenders(
    artifacts: Sequence[str], options: Options, shapes: Shapes = None
) -> list[ModelContender]:
    """A contender for each artefact; on a Mac one per compute unit for a Core ML file.

    Args:
        artifacts: paths of `.tflite`, `.onnx`, `.mlpackage` or `.mlmodel` files, or names of zoo networks.
        options: threads and seed.
        shapes: as for `random_inputs`.

    Raises:
        UsageError: no such file or network, an unknown suffix, or a sidecar of another file.
        MissingDependencyError: the runtime is not installed.
    """
    options.check()
    if not artifacts:
        raise UsageError("nothing to measure", "name at least one model file")
    made = []
    for artifact, name in zip(artifacts, _names(artifacts), strict=True):
        made.extend(_contenders(artifact, name, options, shapes))
    return made


def _names(artifacts: Sequence[str]) -> list[str]:
    """File names; paths where two are alike; numbered where the same is given twice."""
    short = [Path(artifact).name or artifact for artifact in artifacts]
    names = [
        artifact if short.count(name) > 1 else name for artifact, name in zip(artifacts, short, strict=True)
    ]
    return [
        f"{name} #{names[:index].count(name) + 1}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _contenders(artifact: str, name: str, options: Options, shapes: Shapes) -> list[ModelContender]:
    path, threads, seed = Path(artifact), options.threads, options.seed
    suffix = suffix_of(path)
    if suffix not in SUFFIXES and not path.exists():
        return [_zoo_contender(artifact, name, options, shapes)]
    if not path.exists():
        raise UsageError(f"no model file at '{path}'", "`toolchain export` writes one")
    if suffix not in SUFFIXES:
        raise UsageError(
            f"'{path}' has no suffix of a known model file", f"supported are {', '.join(SUFFIXES)}"
        )
    file = measured_file(path, artifact)
    if suffix in CORE_ML and sys.platform == "darwin":
        with suppress(MissingDependencyError):
            import_coremltools()
        return [
            ModelContender(f"{name} [{unit}]", artifact, opened, file, None, seed, shapes)
            for unit, opened in coreml_units.openers(path).items()
        ]
    _import(LIBRARIES[suffix])
    return [ModelContender(name, artifact, lambda: load(path, threads), file, threads, seed, shapes)]


def _import(library: str) -> None:
    try:
        importlib.import_module(library)
    except ImportError:
        # The runtime says what is missing and how to get it.
        return


def _zoo_contender(artifact: str, name: str, options: Options, shapes: Shapes) -> ModelContender:
    from toolchain.models.zoo import zoo

    try:
        entry = zoo().get(artifact)
    except UsageError as error:
        raise UsageError(f"'{artifact}' is neither a file nor a network of the zoo", error.hint) from error
    threads, file = options.threads, None
    if entry.weights is not None:
        digest, size = digest_and_size(entry.weights)
        file = MeasuredFile(artifact, digest, size, "torch", "fp32", artifact)
    return ModelContender(
        name,
        artifact,
        lambda: torch_network.open_network(entry, threads),
        file,
        threads,
        options.seed,
        shapes,
    )


def runtime_label(runtime: Runtime) -> str:
    """Name, version and delegate of what runs a network."""
    if isinstance(runtime, LiteRTRuntime):
        kernels = "XNNPACK" if xnnpack(runtime) else "built-in kernels"
        return f"{_interpreter(runtime)}, {kernels}"
    if isinstance(runtime, OnnxRuntime):
        return f"ONNX Runtime {_version('onnxruntime')}, CPU"
    if isinstance(runtime, CoreMLRuntime):
        return f"{REFERENCE_INTERPRETER} on PyTorch {_version('torch')}, not Core ML"
    if isinstance(runtime, coreml_units.CoreMLUnitRuntime):
        return f"Core ML of macOS {platform.mac_ver()[0]}, {runtime.unit}"
    return f"PyTorch {_version('torch')}, eager, CPU"


def _interpreter(runtime: LiteRTRuntime) -> str:
    module = type(runtime._interpreter).__module__
    found = next(name for name, place in INTERPRETERS.items() if place.split(".")[0] == module.split(".")[0])
    return f"{SHOWN.get(found, found)} {_version(PACKAGES[found])}"


def _version(package: str) -> str:
    return metadata.version(package)
