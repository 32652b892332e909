"""Engines judge one conversion: convert a file, run the result, compare it with stored outputs."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Target -> module of this package with `engine() -> Engine`; imported where it is used: each takes seconds.
MODULES = {
    "tflite": "onnx_backend_tflite",
    "coreml": "onnx_backend_coreml",
    "mlmodel": "onnx_backend_coreml",
}
TARGETS = tuple(MODULES)


class MismatchError(Exception):
    """A file that does not run, or not as it should."""


@dataclass(frozen=True)
class Trial:
    """A model with one set of data.

    Attributes:
        path: the ONNX file.
        shapes: shapes of inputs that the file leaves open, as a user gives them with --input-shape.
        feeds: array by name of the graph's inputs; names that the graph has no more are there too.
        expected: outputs in the order of the graph.
        rtol: relative tolerance.
        atol: absolute tolerance.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]] | None
    feeds: dict[str, Any]
    expected: Sequence[Any]
    rtol: float
    atol: float


class Engine(ABC):
    """A converter, and the runtimes for its files.

    Attributes:
        title: what the cases go through, for the head of the report.
        sampled: how many node cases of each operator the tests judge; 0 for all.
    """

    title: str
    sampled = 0

    @abstractmethod
    def check(self, trial: Trial) -> str:
        """Convert, run and compare.

        Returns:
            A remark on how it passed, "" for the usual way.

        Raises:
            ToolchainError: the converter refuses the model.
            MismatchError: the file does not compute what it should.
        """


def engine(target: str) -> Engine:
    """The engine of one of TARGETS."""
    module = importlib.import_module(f"toolchain.benchmarks.{MODULES[target]}")
    return module.engine(target)


def compare(found: Sequence[Any], expected: Sequence[Any], rtol: float, atol: float, where: str) -> None:
    """The rule of the ONNX backend runner: shapes and types are equal, numbers close, NaN where NaN is.

    Raises:
        MismatchError: they are not.
    """
    if len(found) != len(expected):
        raise MismatchError(f"{where}: {len(found)} outputs instead of {len(expected)}")
    for index, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        place = f"{where}, output {index}"
        if not isinstance(wanted, np.ndarray):
            raise MismatchError(f"{place}: a tensor instead of {type(wanted).__name__}")
        if got.shape != wanted.shape:
            raise MismatchError(f"{place}: shape {got.shape} instead of {wanted.shape}")
        if got.dtype != wanted.dtype:
            raise MismatchError(f"{place}: {got.dtype} instead of {wanted.dtype}")
        try:
            np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)
        except AssertionError as error:
            text = " ".join(str(error).split())
            raise MismatchError(f"{place}: {text[:400]}") from error
