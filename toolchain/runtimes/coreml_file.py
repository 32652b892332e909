"""Finds and reads what is in a .mlpackage or .mlmodel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.errors import ToolchainError, UnsupportedError, UnsupportedOpsError, UsageError
from toolchain.runtimes.base import one_line
from toolchain.runtimes.coreml_proto import coreml_proto

PACKAGE = ".mlpackage"
MODEL = ".mlmodel"
COMPILED = ".mlmodelc"
REJECTED = ".rejected"
SUFFIXES = (PACKAGE, MODEL)
MANIFEST = "Manifest.json"
# What a compiled model has and a package has not.
COMPILED_PART = "coremldata.bin"
NEWEST_SPECIFICATION = 10
"""That of the newest iOS which coremltools 9 knows, 26."""
LARGEST = (1 << 31) - 1
"""Bytes of the largest message that protobuf can read."""
ZIP = b"PK"
DAMAGED = "copy or export the file again: it is damaged"
UNCLEAR = "the file may be damaged, or newer than this tool"
WRONG_KIND = "take the network out of it with coremltools, or give an ML Program or neural network"

PROGRAM = "mlProgram"
NEURAL_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
ENCRYPTED = "serializedModel"


@dataclass(frozen=True)
class CoreMLFile:
    """A saved model.

    Attributes:
        path: the file or package.
        spec: its specification (protobuf message Model); of several functions only the default one is left.
        folder: what "@model_path" stands for in references to weights; None for a .mlmodel.
    """

    path: Path
    spec: Any
    folder: Path | None

    @property
    def kind(self) -> str:
        """What sort of model it is: "mlProgram", "neuralNetwork", "neuralNetworkClassifier", ..."""
        return self.spec.WhichOneof("Type") or "none"

    def refuse_kind(self) -> UnsupportedError:
        """The error for a model that is no network."""
        if self.kind == ENCRYPTED:
            return UnsupportedError(
                f"'{self.path}' holds an encrypted or compiled model, which only Apple's devices can read",
                "give the .mlpackage or .mlmodel that it was made from",
            )
        return UnsupportedError(
            f"'{self.path}' is a Core ML model of the kind '{self.kind}', not a network", WRONG_KIND
        )


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Names the file in errors. What a damaged file makes a library say has no common type."""
    try:
        yield
    except UnsupportedOpsError as error:
        error.message = f"'{path}': {error.message}"
        error.args = (error.message,)
        raise
    except UnsupportedError as error:
        # Names in a damaged file may hold line breaks.
        message = " ".join(error.message.splitlines())
        message = message if str(path) in message else f"'{path}': {message}"
        raise UnsupportedError(
            message, error.hint or "the file may be damaged, or newer than this tool"
        ) from error
    except ToolchainError:
        raise
    except Exception as error:
        raise UnsupportedError(
            f"'{path}' failed: {type(error).__name__}: {one_line(error)}", DAMAGED
        ) from error


def read_coreml(path: Path) -> CoreMLFile:
    """Read the specification of a package or model file; a suffix ".rejected" behind its own does not matter.

    Weights of a package are not read. Of a package with several functions the default one is taken.

    Raises:
        UsageError: there is no such file, or it is a compiled .mlmodelc.
        UnsupportedError: it is damaged, encrypted, or of a newer specification.
        MissingDependencyError: coremltools is not installed.
    """
    with errors_of(path):
        _check_place(path)
        source, folder = path, None
        if path.is_dir():
            source = _root_model(path)
            folder = source.parent
        spec = _parse(path, source)
        if spec.specificationVersion > NEWEST_SPECIFICATION:
            raise UnsupportedError(
                f"'{path}' has specification version {spec.specificationVersion}, this version knows up to"
                f" {NEWEST_SPECIFICATION}",
                "export it for an older iOS, or update coremltools and this tool",
            )
        _choose_function(path, spec)
        return CoreMLFile(path, spec, folder)


def _check_place(path: Path) -> None:
    """What the path is, as far as its name and place tell."""
    try:
        exists = path.exists()
    except OSError as error:
        raise UsageError(f"'{path}' cannot be opened: {error.strerror}", "give the path of a file") from error
    if not exists:
        raise UsageError(f"no model file at '{path}'", "`toolchain export -f coreml` writes one")
    suffix = Path(path.name.lower().removesuffix(REJECTED)).suffix
    if suffix == COMPILED or (path / COMPILED_PART).exists():
        raise UsageError(
            f"'{path}' is a compiled model, which only Apple's devices can read",
            "give the .mlpackage or .mlmodel",
        )
    if path.is_dir():
        if suffix != PACKAGE and not (path / MANIFEST).exists():
            raise UsageError(f"'{path}' is a folder, not a model file", f"give a {' or '.join(SUFFIXES)}")
    elif not path.is_file():
        raise UsageError(f"'{path}' is no regular file", f"give a {' or '.join(SUFFIXES)}")
    elif suffix == PACKAGE:
        with path.open("rb") as file:
            zipped = file.read(len(ZIP)) == ZIP
        raise UsageError(
            f"'{path}' is a file, and a {PACKAGE} is a folder",
            "unzip it first" if zipped else f"if it is a model of one file, name it {MODEL}",
        )


def _root_model(path: Path) -> Path:
    """The specification file that the package's manifest names."""
    manifest = path / MANIFEST
    try:
        raw = json.loads(_contained(path, manifest).read_bytes())
        entry = raw["itemInfoEntries"][raw["rootModelIdentifier"]]
        relative = Path(entry["path"])
        source = _contained(path, path / "Data" / relative)
    except OSError as error:
        raise UnsupportedError(
            f"package '{path}' has no readable {MANIFEST}: {error.strerror}", DAMAGED
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedError(
            f"the {MANIFEST} of '{path}' names no model: {one_line(error)}", DAMAGED
        ) from error
    if not source.is_file():
        raise UnsupportedError(f"package '{path}' lacks its specification '{relative}'", DAMAGED)
    return source


def _contained(path: Path, part: Path) -> Path:
    """A part of a package, unless a link or its name leads out of it.

    Raises:
        UnsupportedError: it lies outside, or links lead in a circle.
        OSError: it is no regular file (a pipe would never end).
    """
    try:
        inside = part.resolve().is_relative_to(path.resolve())
    except RuntimeError as error:
        raise UnsupportedError(f"links of package '{path}' lead in a circle", DAMAGED) from error
    if not inside:
        raise UnsupportedError(f"'{part.name}' of package '{path}' points outside of the package", DAMAGED)
    if part.exists() and not (part.is_file() or part.is_dir()):
        raise UnsupportedError(f"'{part.name}' of package '{path}' is no regular file", DAMAGED)
    return part


def _parse(path: Path, source: Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        if source.stat().st_size > LARGEST:
            raise UnsupportedError(
                f"the specification of '{path}' has more than 2 GiB", "keep the weights in a .mlpackage"
            )
        spec = coreml_proto("Model").Model.FromString(source.read_bytes())
    except DecodeError as error:
        raise UnsupportedError(f"'{path}' holds no Core ML specification", DAMAGED) from error
    except OSError as error:
        raise UnsupportedError(
            f"the specification of '{path}' cannot be read: {error.strerror}", "check who may read it"
        ) from error
    if spec.specificationVersion < 1 or spec.WhichOneof("Type") is None:
        raise UnsupportedError(f"'{path}' holds no Core ML model", DAMAGED)
    return spec


def _choose_function(path: Path, spec: Any) -> None:
    """Makes the default function of a model with several the only one: its interface, its program."""
    description = spec.description
    if not description.functions:
        return
    name = description.defaultFunctionName
    found = [function for function in description.functions if function.name == name]
    functions = spec.mlProgram.functions
    if len(found) != 1 or spec.WhichOneof("Type") != PROGRAM or name not in functions:
        names = ", ".join(function.name for function in description.functions)
        raise UnsupportedError(f"'{path}' has the functions {names}, and not its default '{name}'", DAMAGED)
    for part in ("input", "output", "state"):
        described = getattr(description, part)
        del described[:]
        described.extend(getattr(found[0], part))
    description.predictedFeatureName = found[0].predictedFeatureName
    description.predictedProbabilitiesName = found[0].predictedProbabilitiesName
    for other in [key for key in functions if key != name]:
        del functions[other]
    del description.functions[:]
