"""The only place that prints."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from rich.console import Console
from rich.table import Table

from toolchain.errors import ToolchainError, UnsupportedOpsError


def on_terminal() -> bool:
    """Whether progress bars make sense: standard error is a terminal."""
    return sys.stderr.isatty()


def say(text: str) -> None:
    """One line on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """One line on standard error, for what is not a result."""
    print(text, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """A JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], stderr: bool = False
) -> None:
    """A table; columns whose cells all are numbers are right-aligned."""
    console = Console(stderr=stderr, soft_wrap=False)
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_figure(str(row[index])) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    if not console.is_terminal:
        console.width = 200
    console.print(table, markup=False)


@contextmanager
def foreign_prints_aside() -> Iterator[None]:
    """What a user's network prints goes to standard error: standard output holds results only."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def show_stage(visible: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error with the name of the stage that runs; nothing unless `visible`."""
    if not visible:
        yield lambda _stage: None
        return
    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda stage: status.update(stage)


def show_error(error: ToolchainError) -> int:
    """Print a known error: one line, a table of refusals if there is one, and the hint."""
    if os.environ.get("TOOLCHAIN_DEBUG"):
        traceback.print_exception(error)
    note(f"error: {error.message}")
    if isinstance(error, UnsupportedOpsError):
        columns = ("op", "count", "first node", "reason", "what to do")
        show_table("", columns, error.rows(), stderr=True)
    if error.hint:
        note(f"hint: {error.hint}")
    return error.exit_code


def _is_figure(text: str) -> bool:
    return text[:1].isdigit() or text[:2].lstrip("-")[:1].isdigit() or text in {"inf", "-", ""}
