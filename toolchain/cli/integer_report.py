"""What a quantized file is made of, as the export shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from toolchain.cli.output import say, show_table

if TYPE_CHECKING:
    from toolchain.converters.tflite.integer import FloatOperator
    from toolchain.converters.tflite.integer_report import Border, IntegerReport

FLOAT_COLUMNS = ("float op", "count", "first node", "ONNX op", "reason")
BORDER_COLUMNS = ("border", "stored as", "scale", "zero point")


def show_integer_report(report: IntegerReport) -> None:
    """Integer operators, float ones with the reason, bytes, and how inputs and outputs are stored."""
    say(f"integer ops: {sum(report.integer.values())} ({_counts(report.integer)})")
    if report.conversions:
        say(f"between floats and integers: {_counts(report.conversions)}")
    if report.floats:
        show_table("", FLOAT_COLUMNS, [_float_row(members) for members in _grouped(report.floats)])
    else:
        say("float ops: none")
    share = report.quantized_bytes / report.total_bytes
    say(f"quantized bytes: {report.quantized_bytes} of {report.total_bytes} ({share:.0%})")
    show_table("", BORDER_COLUMNS, [_border_row(border) for border in report.borders])


def integer_report_json(report: IntegerReport) -> dict[str, Any]:
    """The same for JSON; float operators one by one."""
    return {
        "integer_ops": report.integer,
        "conversions": report.conversions,
        "float_ops": [asdict(operator) for operator in report.floats],
        "quantized_bytes": report.quantized_bytes,
        "total_bytes": report.total_bytes,
        "borders": [asdict(border) for border in report.borders],
    }


def _counts(ops: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in ops.items()) or "none"


def _grouped(floats: tuple[FloatOperator, ...]) -> list[list[FloatOperator]]:
    """Operators of one kind with one reason together; those that compute before those that only move."""
    grouped: dict[tuple[bool, str, str], list[FloatOperator]] = {}
    for operator in sorted(floats, key=lambda operator: operator.view):
        grouped.setdefault((operator.view, operator.op, operator.reason), []).append(operator)
    return list(grouped.values())


def _float_row(members: list[FloatOperator]) -> tuple[object, ...]:
    first = members[0]
    return first.op, len(members), first.node, first.node_op, first.reason


def _border_row(border: Border) -> tuple[object, ...]:
    if border.scale is None:
        return border.name, border.dtype, "-", "-"
    return border.name, border.dtype, f"{border.scale:.6g}", border.zero_point
