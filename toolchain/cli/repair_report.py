"""What `--max-drop` left in float, as the export shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from toolchain.cli.output import say, show_table

if TYPE_CHECKING:
    from toolchain.repair import Repair, RepairRow

FULL = 100.0
COLUMNS = ("left in float", "op", "points", "dB", "ms")


def show_repair(repair: Repair) -> None:
    """Which layers stay float, what each bought in accuracy, and what it costs in latency."""
    where = f"on {repair.samples} {repair.inputs} samples"
    reference = f" (float: {repair.best:.2f})" if repair.best != FULL else ""
    if not repair.rows:
        say(f"nothing has to stay float: {repair.metric} {repair.points_before:.2f} %{reference}, {where}")
        return
    show_table("", COLUMNS, [_row(row) for row in repair.rows])
    say(
        f"{len(repair.rows)} of {repair.candidates} layers stay float: {repair.metric}"
        f" {repair.points_before:.2f} -> {repair.points_after:.2f} %{reference},"
        f" {repair.sqnr_before:.1f} -> {repair.sqnr_after:.1f} dB, {where}"
    )
    if repair.milliseconds_before is not None and repair.milliseconds_after is not None:
        say(
            f"LiteRT, 1 thread, this computer: {repair.milliseconds_before:.2f} ->"
            f" {repair.milliseconds_after:.2f} ms"
        )


def repair_json(repair: Repair) -> dict[str, Any]:
    """The same for JSON."""
    return asdict(repair)


def _row(row: RepairRow) -> tuple[str, ...]:
    cost = "-" if row.milliseconds is None else f"{row.milliseconds:+.2f}"
    return row.node, row.op, f"{row.points_gain:+.2f}", f"{row.sqnr_gain:+.1f}", cost
