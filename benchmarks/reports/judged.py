"""How measured files did on annotated pictures, from what `toolchain evaluate --json` printed.

Files are known by their hash: a model that was exported anew since has other figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.benchmarks.reports.measured import Measured

VERSION = 1
AGAIN = "write it with `toolchain evaluate FILE --data DATA --json > PATH`"


@dataclass(frozen=True)
class Judged:
    """One file on one set of pictures.

    Attributes:
        overall_f1: in percent.
        text: on which pictures, how, and where that is written.
    """

    overall_f1: float
    text: str


def with_judgements(measured: Sequence[Measured], paths: Sequence[Path]) -> list[Measured]:
    """The entries with what evaluations say about their files.

    Args:
        measured: entries of results files.
        paths: evaluations, as JSON.

    Raises:
        UsageError: an evaluation cannot be read, says nothing about any entry, or contradicts another one.
    """
    known: dict[str, Judged] = {}
    hashes = {one.entry.file.sha256 for one in measured if one.entry.file}
    for path in paths:
        found = _read(path)
        if not hashes & found.keys():
            raise UsageError(
                f"'{path}' judges none of the measured files",
                "evaluate the very files that were measured: an export that was made anew is another file",
            )
        for sha256, judged in found.items():
            before = known.setdefault(sha256, judged)
            if before.overall_f1 != judged.overall_f1:
                raise UsageError(
                    f"one file has an overall F1 of {before.overall_f1} on {before.text},"
                    f" and of {judged.overall_f1} on {judged.text}",
                    "give one evaluation of each file with --accuracy",
                )
    return [
        replace(one, judged=known.get(one.entry.file.sha256)) if one.entry.file else one for one in measured
    ]


def _read(path: Path) -> dict[str, Judged]:
    """Figures by the hash of the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}", "check the path") from error
    except ValueError as error:
        raise UsageError(f"'{path}' is no JSON: {error}", AGAIN) from error
    try:
        return _figures(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"'{path}' is no evaluation: {error!r}", AGAIN) from error


def _figures(content: dict[str, Any], path: Path) -> dict[str, Judged]:
    if content["version"] != VERSION:
        raise UsageError(f"'{path}' is an evaluation of version {content['version']!r}", AGAIN)
    data = content["data"]
    where = f"{data['pictures']} pictures of {data['description']}, {data['split']}"
    text = f"{where}, previous mask: {content['previous']} ({path.name})"
    found = {}
    for entry in content["artifacts"]:
        f1 = entry["overall_f1"]
        if isinstance(f1, bool) or not isinstance(f1, int | float) or not math.isfinite(f1):
            raise UsageError(f"'{path}' has an overall F1 of {f1!r}", AGAIN)
        # Networks in torch have no file.
        if entry["sha256"] is not None:
            found[str(entry["sha256"])] = Judged(float(f1), text)
    return found
