"""Builds small neural networks with coremltools, saves them and runs them with the reference interpreter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.runtimes.coreml_file import read_coreml
from toolchain.runtimes.neuralnetwork.execute import NeuralNetwork

Build = Callable[[Any], object]


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """The package, without its remarks on versions of other packages."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


@pytest.fixture
def network_builder(coremltools: Any) -> Callable[..., Any]:
    """Makes a NeuralNetworkBuilder of {input name: shape} and [output name or (name, shape)].

    With exact=False arrays enter as [Seq, Batch, C, H, W].
    """
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    def make(inputs: Mapping[str, Sequence[int]], outputs: Sequence[Any], exact: bool = True) -> Any:
        described = [(item, None) if isinstance(item, str) else item for item in outputs]
        return NeuralNetworkBuilder(
            [(name, datatypes.Array(*shape)) for name, shape in inputs.items()],
            [(name, shape and datatypes.Array(*shape)) for name, shape in described],
            disable_rank5_shape_mapping=exact,
            use_float_arraytype=True,
        )

    return make


@pytest.fixture
def saved(coremltools: Any, tmp_path: Path) -> Callable[[Any], Any]:
    """Writes a specification to a file and reads it again."""

    def save(spec: Any) -> Any:
        path = tmp_path / "network.mlmodel"
        coremltools.models.utils.save_spec(spec, str(path))
        return read_coreml(path).spec

    return save


@pytest.fixture
def run_layers(network_builder: Callable[..., Any], saved: Callable[[Any], Any]) -> Callable[..., list[Any]]:
    """Runs layers on arrays and returns their outputs.

    `build(builder)` adds the layers; inputs are called x (then x1, x2, ...), outputs y (then y1, y2, ...).
    """

    def run(build: Build, arrays: Sequence[np.ndarray], outputs: int = 1) -> list[np.ndarray]:
        inputs = dict(zip(names("x", len(arrays)), arrays, strict=True))
        results = names("y", outputs)
        builder = network_builder({name: array.shape for name, array in inputs.items()}, results)
        build(builder)
        found = NeuralNetwork(saved(builder.spec)).run(inputs)
        assert list(found) == results
        assert all(array.dtype == np.float32 for array in found.values())
        return list(found.values())

    return run


def names(first: str, count: int) -> list[str]:
    return [first, *(f"{first}{index}" for index in range(1, count))][:count]


@pytest.fixture
def check_layers(run_layers: Callable[..., list[Any]]) -> Callable[..., None]:
    """Runs layers on arrays and compares the shapes and values of their outputs."""

    def check(build: Build, arrays: Sequence[np.ndarray], expected: Any, tolerance: float = 1e-5) -> None:
        wanted = list(expected) if isinstance(expected, tuple | list) else [expected]
        for have, want in zip(run_layers(build, arrays, len(wanted)), wanted, strict=True):
            want = np.asarray(want)
            assert have.shape == want.shape
            np.testing.assert_allclose(have, want, rtol=tolerance, atol=tolerance)

    return check
