"""A report as Markdown with tables as GitHub reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from toolchain.benchmarks.reports.fact_tables import (
    environment_tables,
    file_table,
    memory_table,
    operator_tables,
    provenance,
)
from toolchain.benchmarks.reports.headline import headline
from toolchain.benchmarks.reports.latency_tables import latency_table, ratio_tables, stage_tables
from toolchain.benchmarks.reports.measured import Measured
from toolchain.benchmarks.reports.tables import Table

# What has a meaning inside a line of Markdown or begins HTML; names come from files that anyone may write.
SPECIAL = re.compile(r"([\\`*\[\]<>|&~#])")


def markdown(measured: Sequence[Measured]) -> str:
    """Headline, latency, ratios, stages, operators, files, memory, environment, and how all was obtained."""
    tables = [
        headline(measured),
        latency_table(measured),
        *ratio_tables(measured),
        *stage_tables(measured),
        *operator_tables(measured),
        file_table(measured),
        memory_table(measured),
        *environment_tables(measured),
    ]
    blocks = ["# Benchmark"]
    for table in tables:
        if table.rows or table.notes:
            blocks += _blocks(table)
    blocks.append("## How each figure was obtained")
    blocks.append("\n".join(f"- {literal(sentence)}" for sentence in provenance(measured)))
    return "\n\n".join(blocks) + "\n"


def _blocks(table: Table) -> Iterator[str]:
    yield f"## {literal(table.title)}"
    if table.rows:
        yield "\n".join(_lines(table))
    yield from (literal(note) for note in table.notes)


def _lines(table: Table) -> Iterator[str]:
    yield _line(table.columns)
    # A row must have as many dashes as columns; figures stand right.
    yield "|" + "|".join([" --- "] + [" ---: "] * (len(table.columns) - 1)) + "|"
    yield from (_line(row) for row in table.rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(literal(cell) for cell in cells)} |"


def literal(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return SPECIAL.sub(r"\\\1", " ".join(shown.split()))
