"""Small Core ML files written by coremltools, and what a known error must be."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import ToolchainError, UnsupportedError
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.runtimes.coreml_proto import coreml_proto

SIZE = 8
PROGRAM, NETWORK = "mlprogram", "neuralnetwork"
SUFFIXES = {PROGRAM: "mlpackage", NETWORK: "mlmodel"}


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """The package, without its remarks on versions of torch."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


@pytest.fixture(scope="session")
def originals(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the same network as good.mlpackage and good.mlmodel."""
    from coremltools.converters.mil import mil

    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)

    @mil.Builder.program(
        input_specs=[mil.Builder.TensorSpec((1, 3, 5, 5))], opset_version=coremltools.target.iOS15
    )
    def program(x: Any) -> Any:
        x = mil.Builder.conv(x=x, weight=weight, bias=np.arange(4, dtype=np.float32), pad_type="valid")
        return mil.Builder.softmax(x=mil.Builder.relu(x=x), axis=1, name="y")

    folder = tmp_path_factory.mktemp("originals")
    for kind, name in (("mlprogram", "good.mlpackage"), ("neuralnetwork", "good.mlmodel")):
        options = {"compute_precision": coremltools.precision.FLOAT32} if kind == "mlprogram" else {}
        model = coremltools.convert(
            program, source="milinternal", convert_to=kind, skip_model_load=True, **options
        )
        model.save(str(folder / name))
    return folder


@pytest.fixture
def package(originals: Path, tmp_path: Path) -> Path:
    """A copy of the package."""
    return Path(shutil.copytree(originals / "good.mlpackage", tmp_path / "net.mlpackage"))


@pytest.fixture
def model(originals: Path, tmp_path: Path) -> Path:
    """A copy of the file."""
    return Path(shutil.copyfile(originals / "good.mlmodel", tmp_path / "net.mlmodel"))


def checked(error: ToolchainError) -> None:
    """A known error has one line, a hint and an exit code of its own."""
    assert "\n" not in error.message
    assert error.message
    assert error.hint
    assert error.exit_code in (2, 3, 6)


def refusal(path: Path, *parts: str, kind: type[ToolchainError] = UnsupportedError) -> ToolchainError:
    """Checks that a file is refused when it is loaded, with its name and a hint."""
    with pytest.raises(kind) as caught:
        CoreMLRuntime(path)
    error = caught.value
    checked(error)
    assert path.name in error.message
    for part in parts:
        assert part in error.message, error.message
    return error


@pytest.fixture(scope="session")
def check() -> Callable[[ToolchainError], None]:
    """`checked`."""
    return checked


@pytest.fixture(scope="session")
def refused() -> Callable[..., ToolchainError]:
    """`refusal`."""
    return refusal


@pytest.fixture(scope="session")
def converted(coremltools: Any) -> Callable[..., Any]:
    """Function (network, example, inputs, kind, ios, **options) -> model, by coremltools' own converter."""

    def convert(
        network: nn.Module,
        example: Any,
        inputs: list[Any],
        kind: str = PROGRAM,
        ios: int = 16,
        **options: Any,
    ) -> Any:
        if kind == PROGRAM:
            options.setdefault("compute_precision", coremltools.precision.FLOAT32)
            options["minimum_deployment_target"] = getattr(coremltools.target, f"iOS{ios}")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network.eval(), example)
            return coremltools.convert(
                traced, inputs=inputs, convert_to=kind, skip_model_load=True, **options
            )

    return convert


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Function (model, change) -> path of the saved file, whose specification was changed."""

    def saved(model: Any, change: Callable[[Any], Any] | None = None) -> Path:
        kind = PROGRAM if model.get_spec().WhichOneof("Type") == "mlProgram" else NETWORK
        path = tmp_path / f"net.{SUFFIXES[kind]}"
        model.save(str(path))
        if change is not None:
            source = path / "Data/com.apple.CoreML/model.mlmodel" if path.is_dir() else path
            spec = coreml_proto("Model").Model.FromString(source.read_bytes())
            change(spec)
            source.write_bytes(spec.SerializeToString())
        return path

    return saved


class Double(nn.Module):
    """Doubles a picture and adds 1: easy to predict."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1


@pytest.fixture(scope="session")
def pictures(coremltools, converted) -> dict[tuple[str, int], Any]:
    """The doubled picture as program and network, with three channels and one."""
    return {
        (kind, channels): converted(
            Double(),
            torch.zeros(1, channels, SIZE, SIZE),
            [coremltools.TensorType("x", (1, channels, SIZE, SIZE))],
            kind,
            **({"outputs": [coremltools.TensorType("y")]} if kind == PROGRAM else {}),
        )
        for kind in (PROGRAM, NETWORK)
        for channels in (3, 1)
    }
