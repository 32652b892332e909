"""Pictures and label maps that belong together by name, found without decoding any."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.decode import PICTURE_SUFFIXES
from toolchain.training.datasets.pairs import Skipped


def files_by_stem(folder: Path, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> dict[str, Path]:
    """Name without suffix to path, of the files directly in a folder.

    Raises:
        UsageError: there is no such folder.
        UnsupportedError: two files differ in their suffix only.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}'")
    with os.scandir(folder) as entries:
        paths = sorted(folder / entry.name for entry in entries if entry.name.lower().endswith(suffixes))
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise same_name(found[path.stem], path)
        found[path.stem] = path
    return found


def same_name(first: Path, second: Path) -> UnsupportedError:
    """The error of two files that only one partner can have."""
    return UnsupportedError(
        f"'{first}' and '{second}' have the same name",
        "pictures and label maps are paired by name without suffix: rename one",
    )


def partners(pictures: Iterable[str], labels: Iterable[str]) -> tuple[list[str], tuple[Skipped, ...]]:
    """Names with both, sorted, and those with one of them."""
    pictures, labels = set(pictures), set(labels)
    alone = [Skipped(name, "no label map") for name in pictures - labels]
    alone += [Skipped(name, "no picture") for name in labels - pictures]
    return sorted(pictures & labels), tuple(sorted(alone, key=lambda entry: entry.name))
