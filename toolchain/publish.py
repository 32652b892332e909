"""Files appear whole or not at all: written aside, moved into place when they are good."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from toolchain.errors import ToolchainError, UsageError
from toolchain.spec import REJECTED, Artifact, sidecar_path

CHUNK = 1 << 20
# Every package of Core ML has it, and no other folder that may lie in the way.
MANIFEST = "Manifest.json"
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Staged:
    """A folder inside the output folder where files wait until they have passed.

    Args:
        output: where good files go.
        folder: where they are written first; on the same file system, so that moving is atomic.
    """

    def __init__(self, output: Path, folder: Path) -> None:
        self.output = output
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where to write a file for now."""
        return self.folder / name

    def publish(self, name: str, artifact: Artifact) -> Artifact:
        """Move a file and its sidecar into place; returns the artifact with size and hash filled in.

        Raises:
            UsageError: a folder lies where the file belongs, or the other way round.
        """
        staged = self.path(name)
        artifact = replace(artifact, bytes=size_of(staged), sha256=sha256_of(staged))
        sidecar = sidecar_path(staged)
        sidecar.write_text(
            json.dumps(artifact.sidecar(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        _check_replaceable(staged, artifact.path)
        _check_replaceable(sidecar, artifact.sidecar_path)
        _replace(staged, artifact.path)
        _replace(sidecar, artifact.sidecar_path)
        return artifact

    def reject(self, name: str) -> Path:
        """Move a file that failed to `NAME.rejected`; nothing under its own name is touched."""
        target = self.output / f"{name}{REJECTED}"
        _check_replaceable(self.path(name), target)
        _replace(self.path(name), target)
        return target


@contextmanager
def staging(output: Path) -> Iterator[Staged]:
    """Make the output folder and a place to write aside in it; whatever is left there is removed at the end.

    Raises:
        UsageError: the folder cannot be made or written to.
        ToolchainError: the disk is full.
    """
    created = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
    except OSError as error:
        raise UsageError(
            f"output folder '{output}' cannot be written to: {error.strerror}", "choose another with -o"
        ) from error
    try:
        yield Staged(output, folder)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise ToolchainError(
                f"no room to write in '{output}': the disk is full or a limit is reached ({error.strerror})",
                "make room, or choose another folder with -o",
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if created and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def _check_replaceable(source: Path, target: Path) -> None:
    """A file never replaces a folder, whose content would be lost, and a package nothing but a package."""
    if target.is_symlink() or not target.exists():
        return
    if source.is_dir() != target.is_dir() or (target.is_dir() and not (target / MANIFEST).is_file()):
        kind = "folder" if target.is_dir() else "file"
        raise UsageError(
            f"there is a {kind} at '{target}', which must not be overwritten", "move it, or choose another -o"
        )


def _replace(source: Path, target: Path) -> None:
    """Move over what is there; links are replaced, what they point to is left.

    A package is a folder, over which os.replace cannot move: the older one waits aside until the new one is
    in its place.
    """
    if not source.is_dir() or not (target.exists() or target.is_symlink()):
        os.replace(source, target)
        return
    aside = source.with_name(f"{source.name}.older")
    os.replace(target, aside)
    try:
        os.replace(source, target)
    except BaseException:
        os.replace(aside, target)
        raise


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a package."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def require_own(sidecar: Artifact, path: Path) -> None:
    """Raises UsageError for the sidecar of another file than the one at `path`."""
    if sidecar.sha256 != sha256_of(path):
        raise UsageError(
            f"the sidecar beside '{path}' describes another file: the SHA-256 differs",
            f"export again, or move '{sidecar_path(path)}' away, or copy the one that belongs to the file",
        )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; of a package, of its files' names and contents in sorted order."""
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
