"""What a results file says about a model file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from toolchain.benchmarks.harness.results import MeasuredFile
from toolchain.errors import UsageError
from toolchain.spec import REJECTED, Artifact, load_sidecar, sidecar_path

CHUNK = 1 << 20


def suffix_of(path: Path) -> str:
    """The suffix that says what a file is, without the mark of one that failed its gate."""
    return Path(path.name.lower().removesuffix(REJECTED)).suffix


def measured_file(path: Path, given: str | None = None) -> MeasuredFile:
    """Hash, size, and what the sidecar knows.

    Args:
        path: a file or package.
        given: how the user wrote it; None for `path`.

    Raises:
        UsageError: it cannot be read, or its sidecar describes another file.
        UnsupportedError: the sidecar is damaged.
    """
    try:
        digest, size = digest_and_size(path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}") from error
    described = _sidecar(path, digest)
    return MeasuredFile(
        path=given or str(path),
        sha256=digest,
        bytes=size,
        format=suffix_of(path).lstrip("."),
        precision=described.precision if described else None,
        model=described.name if described else None,
        parity=described.parity.as_json() if described and described.parity else None,
    )


def digest_and_size(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file; of a package, of its files' names and contents in sorted order.

    The digest is the one that sidecars have.
    """
    digest, size = hashlib.sha256(), 0
    package = path.is_dir()
    for file in sorted(file for file in path.rglob("*") if file.is_file()) if package else [path]:
        if package:
            digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    return digest.hexdigest(), size


def _sidecar(path: Path, digest: str) -> Artifact | None:
    if not sidecar_path(path).is_file():
        return None
    described = load_sidecar(path)
    if described.sha256 != digest:
        raise UsageError(
            f"the sidecar beside '{path}' describes another file: the SHA-256 differs",
            "export it again, or move the .json away",
        )
    return described
