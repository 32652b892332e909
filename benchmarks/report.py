"""How a benchmark that is run as `python -m toolchain.benchmarks.NAME` hands out its figures."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolchain.errors import ToolchainError, UsageError


def save_json(values: Any, path: Path) -> None:
    """Write a JSON document, complete or not at all; missing folders are made.

    Raises:
        UsageError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    text = as_text(values) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UsageError(
            f"'{path}' cannot be written: {error.strerror}", "give another path with --output"
        ) from error


def as_text(values: Any) -> str:
    """A JSON document, without NaN or infinity."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)


def run_benchmark(benchmark: Callable[[], str]) -> int:
    """Run a benchmark, write its text to standard output, and return the exit code.

    A known error becomes one line and a hint on standard error, as in the command line.
    """
    try:
        text = benchmark()
    except ToolchainError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error.message}{hint}\n")
        return error.exit_code
    sys.stdout.write(f"{text}\n")
    return 0
