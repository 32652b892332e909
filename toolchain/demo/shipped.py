"""The shipped network as a file: exported on first use, and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from toolchain.errors import MissingDependencyError, ToolchainError, UsageError
from toolchain.publish import sha256_of
from toolchain.spec import load_sidecar
from toolchain.versions import versions

NETWORK = "mobile-hourglass"
SUFFIX = ".tflite"
# Characters of the hash in a folder's name.
SHORT = 16


def shipped_artifact(
    precision: str = "fp32",
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda _stage: None,
) -> Path:
    """The shipped face parser as a .tflite file with its sidecar.

    It is exported once for each version of the weights and of the packages that it depends on, and compared
    with the network as any export; later calls take the file, if it is still what was written.

    Args:
        precision: "fp32", "fp16", "w8" or "int8".
        cache: folder of all files that are kept; None for `cache_folder()`.
        progress: told the stages of an export.

    Raises:
        UsageError: the folder cannot be written to, or the precision does not exist.
        MissingDependencyError: this installation has no weights.
    """
    weights = _weights()
    folder = (cache_folder() if cache is None else cache) / "demo" / _key(weights)
    path = folder / f"{NETWORK}-{precision}{SUFFIX}"
    if not is_whole(path):
        from toolchain.export import export_source
        from toolchain.jobs import ExportOptions
        from toolchain.source import resolve

        progress(f"exporting {NETWORK} {precision}, once")
        options = ExportOptions(("tflite",), (precision,), folder, command="toolchain demo")
        export_source(resolve(NETWORK, None, None), options).require_all()
    return path


def is_whole(path: Path) -> bool:
    """Whether a file is there and is what its sidecar was written for."""
    if not path.is_file():
        return False
    try:
        return load_sidecar(path).sha256 == sha256_of(path)
    except ToolchainError:
        return False


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again; the folder need not exist.

    XDG_CACHE_HOME where it is set, else what the system has: ~/.cache, ~/Library/Caches, %LOCALAPPDATA%.

    Raises:
        UsageError: there is no home folder.
    """
    given = os.environ.get("XDG_CACHE_HOME") or (
        os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    )
    if given:
        return Path(given) / "toolchain"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError(
            "there is no home folder to keep the exported network in",
            "set XDG_CACHE_HOME, or give a file with --artifact",
        ) from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "toolchain"


def _weights() -> Path:
    # Without importing the networks, and PyTorch with them.
    spec = importlib.util.find_spec("toolchain.models")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(place) / "weights" / f"{NETWORK}.safetensors"
        if path.is_file():
            return path
    raise MissingDependencyError(
        f"this installation has no weights of {NETWORK}", "give a face parser's file with --artifact"
    )


def _key(weights: Path) -> str:
    """Changes with the weights, with their card, whose ranges int8 needs, and with what exports them."""
    digest = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    for path in (weights, weights.with_suffix(".json")):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:SHORT]
