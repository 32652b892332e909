"""Versions of the packages that a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = (
    "mobile-toolchain",
    "torch",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
    "coremltools",
)


def versions() -> dict[str, str]:
    """Package to version, of those that are installed, and Python's own."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        version = version_of(package)
        if version is not None:
            found[package] = version
    return found


def version_of(package: str) -> str | None:
    """Version of an installed distribution, None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
