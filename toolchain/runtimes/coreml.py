"""Runs .mlpackage and .mlmodel files: the reference interpreter on any computer, Core ML itself on a Mac."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.errors import MissingDependencyError, UnsupportedError
from toolchain.runtimes.base import DYNAMIC, Arrays, Runtime, check_threads, one_line
from toolchain.runtimes.coreml_features import (
    check_sizes,
    color_space,
    defaults,
    entered,
    left,
    pixels,
    read_inputs,
    read_outputs,
)
from toolchain.runtimes.coreml_file import (
    DAMAGED,
    NEURAL_NETWORKS,
    PROGRAM,
    CoreMLFile,
    errors_of,
    read_coreml,
)
from toolchain.spec import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toolchain.runtimes.mil.program import Program, ValueType

__all__ = [
    "NATIVE",
    "NEURAL_NETWORKS",
    "PROGRAM",
    "REFERENCE",
    "CoreMLNativeRuntime",
    "CoreMLRuntime",
    "read_inputs",
    "read_outputs",
]

REFERENCE = "coreml"
NATIVE = "coreml-native"
# Elements of inputs up to which a network whose output shapes are not stated is run once to find them.
MEASURED = 1 << 26
NUMBERS = {"f": "floating-point numbers", "i": "integers", "u": "integers", "b": "integers"}


class _FileRuntime(Runtime):
    """What both runtimes of Core ML files do with inputs."""

    def __init__(self, file: CoreMLFile) -> None:
        self._path = file.path
        self._taken = _copied(file.spec.description.input)
        with errors_of(file.path):
            self.inputs = read_inputs(file)
            self.outputs = read_outputs(file)
            self._defaults = defaults(self._taken, self.inputs)
        described = [*self._taken, *file.spec.description.output]
        self._spaces = {feature.name: color_space(feature) for feature in described}

    def run(self, inputs: Mapping[str, Any]) -> Arrays:
        """One pass through the network.

        Args:
            inputs: one array per input name; an optional one may be left out when the file states its
                default. An image is a uint8 array (H, W, 3), RGB whatever order the network has inside, or
                (H, W) for a grey one, with or without a first axis of 1; or a PIL image of 8 bits per
                channel and no transparency, which is converted to RGB or grey levels (ITU-R 601). Images
                of the colour space GRAYSCALE_FLOAT16 are float16, and enter as they are.

        Returns:
            One array per output name; a class label is an array of no axes, the probabilities of a
            classifier an array in the order of its labels, an image uint8 (1, H, W, channels).

        Raises:
            UsageError: a name, shape, size or element type does not fit, or the runtime is closed.
            UnsupportedError: the network failed on these values.
        """
        if not isinstance(inputs, Mapping):
            return super().run(inputs)
        images = {spec.name: spec for spec in self.inputs if spec.image}
        given = {
            name: pixels(value, images[name]) if name in images else value for name, value in inputs.items()
        }
        return super().run({**self._defaults, **given})


def _copied(features: Any) -> list[Any]:
    """Messages of their own: a part of a message keeps the whole, and so all weights, in memory."""
    return [type(feature).FromString(feature.SerializeToString()) for feature in features]


class CoreMLRuntime(_FileRuntime):
    """A .mlpackage or .mlmodel on the reference interpreter: torch operators, float16 rounding per operator.

    Weights are decoded once, to float32, when the file is loaded; those of a package are read from the
    mapped weight file, so that no further copy of them is kept.

    Args:
        path: the package or file.
        threads: threads of one operator; None leaves torch's setting alone.

    Raises:
        UsageError: no such file, or a compiled model.
        UnsupportedError: the file is damaged, of a kind that is no network, keeps a state, or has operators
            that the interpreter does not know (UnsupportedOpsError, all of them).
        MissingDependencyError: coremltools is not installed.
    """

    def __init__(self, path: Path | str, threads: int | None = None) -> None:
        check_threads(threads)
        self._threads = threads
        file = read_coreml(Path(path))
        super().__init__(file)
        # What the file promises; `outputs` has the shapes that were found out besides.
        self._stated = self.outputs
        with errors_of(self._path):
            self._engine: Any = self._loaded(file)

    def _loaded(self, file: CoreMLFile) -> Any:
        """Builds what runs the file, and completes `outputs`."""
        if states := file.spec.description.state:
            raise UnsupportedError(
                f"'{file.path}' keeps the state '{states[0].name}' between runs, which is not supported here",
                "convert the network with its states as inputs and outputs",
            )
        if file.kind == PROGRAM:
            from toolchain.runtimes.mil.execute import Interpreter
            from toolchain.runtimes.mil.program import read_program

            program = read_program(file.spec.mlProgram, file.folder)
            self.outputs = _completed(file, self.inputs, self.outputs, program)
            return Interpreter(program)
        if file.kind in NEURAL_NETWORKS:
            from toolchain.runtimes.neuralnetwork import NeuralNetwork

            engine = NeuralNetwork(file.spec)
            arrays = [f.name for f in file.spec.description.output if f.type.HasField("multiArrayType")]
            self.outputs = self._measured(engine, arrays)
            return engine
        raise file.refuse_kind()

    def _execute(self, arrays: Arrays) -> Arrays:
        check_sizes(self._taken, arrays)
        with errors_of(self._path):
            made = self._computed(self._engine, arrays)
            return {spec.name: left(made[spec.name], spec, self._spaces[spec.name]) for spec in self._stated}

    def _computed(self, engine: Any, arrays: Arrays) -> Mapping[str, Any]:
        with _threads(self._threads):
            return engine.run({name: entered(array, self._spaces[name]) for name, array in arrays.items()})

    def _measured(self, engine: Any, arrays: list[str]) -> tuple[TensorSpec, ...]:
        """Outputs with the shapes of a run on zeros: older files do not state them."""
        is_open = any(spec.name in arrays and not spec.shape for spec in self.outputs)
        shapes = [spec.shape for spec in self.inputs]
        if not is_open or any(DYNAMIC in shape or prod(shape) > MEASURED for shape in shapes):
            return self.outputs
        try:
            made = self._computed(engine, {s.name: np.zeros(s.shape, s.dtype) for s in self.inputs})
        except UnsupportedError:
            # Zeros may be no possible input; the caller's will show.
            return self.outputs
        return tuple(
            replace(spec, shape=np.shape(made[spec.name])) if spec.name in arrays else spec
            for spec in self.outputs
        )

    def _release(self) -> None:
        self._engine = None


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch's number of threads, until the end; None leaves it alone."""
    if count is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _completed(
    file: CoreMLFile, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], program: Program
) -> tuple[TensorSpec, ...]:
    """Outputs with the shapes of the program where the description leaves them out.

    Raises:
        UnsupportedError: the description and the program do not fit each other.
    """
    taken = {named.name: named.type for named in program.inputs}
    made = dict(zip(program.block.outputs, program.types(), strict=True))
    if set(taken) != {spec.name for spec in inputs}:
        raise UnsupportedError(
            f"the program takes {sorted(taken)}, its description says {sorted(s.name for s in inputs)}",
            DAMAGED,
        )
    if lost := [spec.name for spec in outputs if spec.name not in made]:
        raise UnsupportedError(
            f"the program does not compute '{lost[0]}', which its description names", DAMAGED
        )
    for spec in inputs:
        _check_type(spec, taken[spec.name], spec.name)
    for spec, feature in zip(outputs, file.spec.description.output, strict=True):
        if feature.type.HasField("multiArrayType"):
            _check_type(spec, made[spec.name], spec.name)
    return tuple(
        replace(spec, shape=made[spec.name].shape)
        if not spec.shape and feature.type.HasField("multiArrayType")
        else spec
        for spec, feature in zip(outputs, file.spec.description.output, strict=True)
    )


def _check_type(spec: TensorSpec, kind: ValueType, name: str) -> None:
    """Raises UnsupportedError when a description and the program's type contradict each other."""
    if kind.kind != "tensor" or not kind.dtype or kind.dtype == "str":
        raise UnsupportedError(
            f"'{name}' is a {kind.kind} of {kind.dtype} in the program, not an array", DAMAGED
        )
    stated, own = (NUMBERS["f" if "float" in dtype else "i"] for dtype in (spec.dtype, kind.dtype))
    if stated != own and not spec.image:
        raise UnsupportedError(f"'{name}' holds {own} in the program, its description says {stated}", DAMAGED)
    n, h, w, c = spec.shape if spec.image else (0, 0, 0, 0)
    shape = (n, c, h, w) if spec.image else spec.shape
    sizes = zip(shape, kind.shape, strict=False)
    # A size of 0 is not stated.
    if shape and (
        len(shape) != len(kind.shape)
        or any(a != b and a not in (0, DYNAMIC) and b != DYNAMIC for a, b in sizes)
    ):
        raise UnsupportedError(
            f"'{name}' has the shape {kind.shape} in the program, its description says {shape}", DAMAGED
        )


class CoreMLNativeRuntime(_FileRuntime):
    """The same files on Apple's Core ML, through coremltools; on macOS only.

    Args:
        path: the package or file.

    Raises:
        MissingDependencyError: this is no Mac, or coremltools' native part is not there.
        UnsupportedError: Core ML refuses the file.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(read_coreml(Path(path)))
        if sys.platform != "darwin":
            raise MissingDependencyError(
                f"'{NATIVE}' is Apple's Core ML, which only macOS has (this is {sys.platform})",
                f"use the reference interpreter: leave --runtime out, or --runtime {REFERENCE}",
            )
        import coremltools

        try:
            self._model: Any = coremltools.models.MLModel(str(path))
        except Exception as error:
            # Core ML's errors come as bare exceptions.
            raise UnsupportedError(f"Core ML cannot load '{path}': {one_line(error)}") from error

    def _execute(self, arrays: Arrays) -> Arrays:
        from PIL import Image

        check_sizes(self._taken, arrays)
        images = {spec.name: spec for spec in self.inputs if spec.image}
        feeds: dict[str, Any] = {name: array for name, array in arrays.items() if name not in images}
        for name, spec in images.items():
            array = arrays[name][0].squeeze(-1) if spec.shape[-1] == 1 else arrays[name][0]
            # A picture of numbers is one of mode F, which has 32 bits.
            feeds[name] = Image.fromarray(array.astype(np.float32) if spec.dtype == "float16" else array)
        try:
            made = self._model.predict(feeds)
        except Exception as error:
            raise UnsupportedError(f"'{self._path}' failed in Core ML: {one_line(error)}") from error
        return {spec.name: _native(made[spec.name], spec) for spec in self.outputs}

    def _release(self) -> None:
        self._model = None


def _native(value: Any, spec: TensorSpec) -> np.ndarray:
    if isinstance(value, Mapping):
        return np.array(list(value.values()), np.float32)
    array = np.asarray(value)
    if not spec.image:
        return array
    # Core ML gives colour pictures an alpha channel.
    channels = spec.shape[-1]
    return array.reshape(1, *array.shape[:2], -1)[..., :channels].astype(spec.dtype)
