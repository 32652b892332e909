"""The protobuf classes of Core ML's specification, without the seconds that coremltools takes to start."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from toolchain.errors import MissingDependencyError

PACKAGE = "_toolchain_coreml_proto"
INSTALL = "pip install 'coremltools>=9'"


def coreml_proto(name: str) -> Any:
    """One of the generated modules: "Model", "MIL", "NeuralNetwork" or "FeatureTypes".

    The modules need nothing of coremltools but each other, so that they are loaded from its folder under a
    package name of their own. Their classes are the same objects as coremltools', since protobuf keeps one
    class per message of its pool.

    Raises:
        MissingDependencyError: coremltools is not installed.
    """
    _package()
    try:
        return importlib.import_module(f"{PACKAGE}.{name}_pb2")
    except Exception as error:
        # A protobuf that is too old or too new for the classes has errors of its own.
        raise MissingDependencyError(
            f"the protobuf classes of coremltools cannot be loaded ({error})", INSTALL
        ) from error


def _package() -> ModuleType:
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE]
    found = importlib.util.find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError("Core ML files need coremltools", INSTALL)
    folder = Path(found.submodule_search_locations[0]) / "proto"
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules[PACKAGE]
        raise MissingDependencyError(
            f"the protobuf classes of coremltools cannot be loaded ({error})", INSTALL
        ) from error
    return module
