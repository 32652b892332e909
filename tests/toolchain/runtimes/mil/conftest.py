"""Builds a tiny ML Program with coremltools, saves it and runs it with the reference interpreter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.converters.coreml.quiet import spared_collections
from toolchain.runtimes.coreml_file import read_coreml
from toolchain.runtimes.mil.execute import Interpreter
from toolchain.runtimes.mil.program import read_program

Build = Callable[..., Any]
RunProgram = Callable[..., dict[str, np.ndarray]]
# Casts around every operator, constants in float16, and no pairs of casts in between.
ROUNDING = [
    f"common::{name}"
    for name in ("add_fp16_cast", "const_elimination", "cast_optimization", "dead_code_elimination")
]


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """The package, without its remarks on versions of torch."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


@pytest.fixture
def run_program(coremltools: Any, tmp_path: Path) -> RunProgram:
    """Give run(build, inputs, ios=15, precision="fp32") -> outputs by name, in order.

    `build(mb, **inputs)` gets coremltools' builder and a variable per input and returns a variable or a
    sequence of variables, no bool ones. Graph passes are off, so that no operator is merged or folded,
    except with precision="fp16", which is a pass.
    """

    def run(
        build: Build, inputs: Mapping[str, np.ndarray], ios: int = 15, precision: str = "fp32"
    ) -> dict[str, np.ndarray]:
        package = save_program(coremltools, build, inputs, tmp_path, ios, precision)
        file = read_coreml(package)
        return Interpreter(read_program(file.spec.mlProgram, file.folder)).run(dict(inputs))

    return run


@pytest.fixture
def fold_program(coremltools: Any) -> Callable[..., list[np.ndarray]]:
    """Give fold(build, inputs, ios=15) -> what coremltools itself computes, in the order of `build`.

    The program is built of constants, which the builder folds with the operators' own evaluation in numpy.
    """

    def fold(build: Build, inputs: Mapping[str, np.ndarray], ios: int = 15) -> list[np.ndarray]:
        from coremltools.converters.mil.mil import Builder, Function

        with Function({}, opset_version=getattr(coremltools.target, f"iOS{ios}")), np.errstate(all="ignore"):
            made = build(Builder, **{name: Builder.const(val=value) for name, value in inputs.items()})
        folded = [variable.val for variable in (made if isinstance(made, list | tuple) else [made])]
        assert all(value is not None for value in folded), "coremltools does not evaluate this operator"
        return [np.asarray(value) for value in folded]

    return fold


def save_program(
    coremltools: Any, build: Build, inputs: Mapping[str, np.ndarray], folder: Path, ios: int, precision: str
) -> Path:
    """Write the program as a package into `folder`."""
    from coremltools.converters.mil.mil import Builder, Function, Placeholder, Program, types

    target = getattr(coremltools.target, f"iOS{ios}")
    program = Program()
    placeholders = {
        name: Placeholder(value.shape, dtype=types.numpy_type_to_builtin_type(value.dtype))
        for name, value in inputs.items()
    }
    with Function(placeholders, opset_version=target) as function:
        made = build(Builder, **function.inputs)
        function.set_outputs(list(made) if isinstance(made, list | tuple) else [made])
    program.add_function("main", function)
    with spared_collections(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = coremltools.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            compute_precision=getattr(coremltools.precision, precision.replace("fp", "FLOAT")),
            minimum_deployment_target=target,
            pass_pipeline=coremltools.PassPipeline(ROUNDING if precision == "fp16" else []),
            skip_model_load=True,
        )
        package = folder / "program.mlpackage"
        model.save(str(package))
    return package
