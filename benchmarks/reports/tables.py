"""A table as Markdown and HTML show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Attributes:
        title: its heading.
        columns: names of the columns.
        rows: cells, as many as there are columns.
        notes: sentences below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=list)
