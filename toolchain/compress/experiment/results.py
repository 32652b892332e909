"""The folder of an experiment: one folder per row and seed, each with a marker file once it is finished.

OUT/experiment.json             which recipe and data all of it is of
OUT/ROW-seedS/result.json       written last and whole: the run is finished
OUT/ROW-seedS/POINT/            weights and card of a kept network
OUT/ROW-seedS/...               checkpoints and history, from which an interrupted run goes on
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.compress.experiment.recipe import Experiment, Row
from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.checkpoints import write_atomically

IDENTITY = "experiment.json"
RESULT = "result.json"
LOCK = ".lock"
FINISHED, STARTED, NEW = "finished", "started", "not started"
SHOWN = 6


@dataclass(frozen=True)
class Run:
    """A row with one seed.

    Attributes:
        row: what is done.
        seed: of all random generators.
        folder: where it is.
    """

    row: Row
    seed: int
    folder: Path

    @property
    def state(self) -> str:
        """FINISHED, STARTED or NEW."""
        if (self.folder / RESULT).is_file():
            return FINISHED
        return STARTED if self.folder.is_dir() else NEW

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.row.name}, seed {self.seed}"

    def result(self) -> dict[str, Any]:
        """What the finished run found: `points` by name, `cpu_seconds`, `schedule`.

        Raises:
            UnsupportedError: the marker file is damaged.
        """
        found = read_json(self.folder / RESULT)
        if not isinstance(found, dict) or not isinstance(found.get("points"), dict):
            raise UnsupportedError(
                f"'{self.folder / RESULT}' is no result of a run", "delete it, and the run is finished again"
            )
        return found


def runs_of(experiment: Experiment, folder: Path, seeds: Sequence[int]) -> list[Run]:
    """All runs: seed by seed, so that there is a whole table after the first one."""
    return [Run(row, seed, folder / f"{row.name}-seed{seed}") for seed in seeds for row in experiment.rows]


def claim(folder: Path, experiment: Experiment, data: str) -> None:
    """Make the folder that of this experiment, or see that it is.

    Args:
        folder: of the results; may be missing.
        experiment: the recipe.
        data: description of the data, the same wherever it lies.

    Raises:
        UsageError: it holds results of another recipe, of another version of it, or of other data, or
            something else.
        UnsupportedError: its identity file is damaged.
    """
    path, now = folder / IDENTITY, {**experiment.identity(), "data_description": data}
    way_out = "give another -o folder; results of different recipes are never mixed"
    if path.is_file():
        before = read_json(path)
        if not isinstance(before, dict):
            raise UnsupportedError(f"'{path}' is no identity of an experiment", way_out)
        changed = _differences(before, now)
        if changed:
            more = f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            raise UsageError(
                f"'{folder}' holds results of another recipe or version: {'; '.join(changed[:SHOWN])}{more}",
                way_out,
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"'{folder}' holds files that are no results of an experiment", way_out)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def staged(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the file holds; where there is none, what `make` returns, written whole when it is done."""
    if path.is_file():
        return read_json(path)
    made = make()
    write_json(path, made)
    return made


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UnsupportedError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnsupportedError(f"'{path}' is damaged: {error}", "delete it, and run again") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


@contextmanager
def held(run: Run) -> Iterator[bool]:
    """Hold the run's folder against other processes; False when another one holds it.

    The system lets go of it however this process ends. Where the system knows no such locks (Windows), True.
    """
    try:
        import fcntl
    except ImportError:
        run.folder.mkdir(parents=True, exist_ok=True)
        yield True
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(run.folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def _differences(before: Any, now: Any, key: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in sorted({*before, *now})
            for line in _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for index, pair in pairs for line in _differences(*pair, f"{key}[{index}]")]
    return [] if before == now else [f"{key} was {_short(before)}, not {_short(now)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
