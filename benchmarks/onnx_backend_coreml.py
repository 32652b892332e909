"""The Core ML converter, its files run from disk by the reference interpreter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.onnx_backend_engine import Engine, MismatchError, Trial, compare
from toolchain.errors import ToolchainError, UnsupportedError, UnsupportedOpsError
from toolchain.spec import TensorSpec

NEWER = re.compile(r"needs iOS (\d+)")


@dataclass(frozen=True)
class Kind:
    """A kind of Core ML model.

    Attributes:
        name: as `toolchain.converters.coreml.convert` takes it.
        suffix: of its files.
        title: for the head of the report.
        whole: type at the border of a file of an ONNX integer or boolean, where the format has no type of
            its own: ML Programs have no 64-bit integers and no booleans there, neural networks float32 only.
        replaced: the types of ONNX for which it stands.
        least: smallest whole number that the type holds exactly along with all up to `largest`.
        largest: largest such number.
        scalar: shape of an output that has no axes in ONNX.
    """

    name: str
    suffix: str
    title: str
    whole: str
    replaced: tuple[str, ...]
    least: int
    largest: int
    scalar: tuple[int, ...]


KINDS = {
    "coreml": Kind(
        name="mlprogram",
        suffix=".mlpackage",
        title="Core ML (ML Program)",
        whole="int32",
        replaced=("int64", "bool"),
        least=-(2**31),
        largest=2**31 - 1,
        scalar=(),
    ),
    "mlmodel": Kind(
        name="neuralnetwork",
        suffix=".mlmodel",
        title="Core ML (neural network)",
        whole="float32",
        replaced=("int64", "int32", "bool"),
        least=-(2**24),
        largest=2**24,
        scalar=(1,),
    ),
}


class CoreMLEngine(Engine):
    """Convert for the oldest iOS; where operators need a newer one, for the one that they need.

    Args:
        kind: of the model.
    """

    sampled = 2

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.title = kind.title

    def check(self, trial: Trial) -> str:
        """Compare the outputs of the saved file with the expected ones."""
        _check_integers(trial, self.kind)
        (made, names), note = self._converted(trial)
        path = trial.path.with_suffix(self.kind.suffix)
        made.model.save(str(path))
        found = _run(path, made, [trial.feeds[name] for name in names], trial.expected, self.kind)
        compare(found, trial.expected, trial.rtol, trial.atol, f"reference runtime{note and ', ' + note}")
        return note

    def _converted(self, trial: Trial) -> tuple[tuple[Any, list[str]], str]:
        """What `_convert` makes, and for which iOS if not for the oldest."""
        ios: int | None = None
        while True:
            try:
                return self._convert(trial, ios), f"iOS {ios}" if ios else ""
            except UnsupportedOpsError as error:
                asked = [int(n) for refusal in error.refusals for n in NEWER.findall(refusal.reason)]
                if not asked or max(asked) <= (ios or 0):
                    raise
                ios = max(asked)

    def _convert(self, trial: Trial, ios: int | None) -> tuple[Any, list[str]]:
        """The model, and the names that its inputs have in the graph: some are no names for coremltools."""
        from toolchain.converters.coreml.convert import convert
        from toolchain.converters.graph import clean, load_onnx

        graph = load_onnx(trial.path, trial.shapes)
        clean(graph)
        names = [value.name or "" for value in graph.graph.inputs]
        return convert(graph, "fp32", kind=self.kind.name, ios=ios), names


def engine(target: str) -> Engine:
    """The engine of "coreml" or "mlmodel"."""
    return CoreMLEngine(KINDS[target])


def _check_integers(trial: Trial, kind: Kind) -> None:
    """Raises UnsupportedError for integers that no file of the kind can take or return."""
    named = {**trial.feeds, **{f"output {index}": value for index, value in enumerate(trial.expected)}}
    for name, value in named.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "i" or not value.size:
            continue
        if value.min() < kind.least or value.max() > kind.largest:
            raise UnsupportedError(f"the data of '{name}' do not fit into {kind.whole}")


def _run(path: Path, made: Any, feeds: list[Any], expected: Sequence[Any], kind: Kind) -> list[Any]:
    """Outputs in the types of the ONNX model.

    Raises:
        MismatchError: the file does not run, or has other inputs and outputs than the converter says.
    """
    from toolchain.runtimes.coreml import CoreMLRuntime

    try:
        with CoreMLRuntime(path, threads=1) as runtime:
            _check_border("inputs", made.inputs, runtime.inputs)
            _check_border("outputs", made.outputs, runtime.outputs)
            if len(feeds) != len(runtime.inputs):
                raise MismatchError(f"the file has {len(runtime.inputs)} inputs, the graph {len(feeds)}")
            specs = zip(runtime.inputs, feeds, strict=True)
            results = runtime.run({spec.name: _fed(value, spec, kind) for spec, value in specs})
    except ToolchainError as error:
        raise MismatchError(f"reference runtime: {error.message}") from error
    found = [results[spec.name] for spec in made.outputs]
    # Another number of outputs than expected is left to the comparison.
    wanted = [*expected, *[None] * len(found)]
    return [_given_back(value, want, kind) for value, want in zip(found, wanted, strict=False)]


def _check_border(role: str, said: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]) -> None:
    if [(s.name, s.shape, s.dtype) for s in said] != [(s.name, s.shape, s.dtype) for s in found]:
        raise MismatchError(f"the file's {role} are {found}, the converter says {said}")


def _fed(value: np.ndarray, spec: TensorSpec, kind: Kind) -> np.ndarray:
    """An input in the file's type."""
    replaced = spec.dtype == kind.whole and value.dtype.name in kind.replaced
    return value.astype(kind.whole) if replaced else value


def _given_back(value: np.ndarray, expected: Any, kind: Kind) -> np.ndarray:
    """An output in the type of the ONNX model, without axes if it has none there.

    Raises:
        MismatchError: the values are not of that type.
    """
    if not isinstance(expected, np.ndarray):
        return value
    if not expected.shape and value.shape == kind.scalar:
        value = value.reshape(())
    if value.dtype != kind.whole or expected.dtype.name not in kind.replaced:
        return value
    with np.errstate(invalid="ignore"):
        result = value.astype(expected.dtype)
    if not np.array_equal(result.astype(kind.whole), value):
        raise MismatchError(f"an output of {expected.dtype} has other values, such as {value.flat[0]}")
    return result
