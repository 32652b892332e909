"""What a quantized file is made of, as the export shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolchain.cli.output import say, show_table

if TYPE_CHECKING:
    from toolchain.converters.tflite.integer import FloatOperator
    from toolchain.converters.tflite.integer_report import Border, IntegerReport
    from toolchain.float_islands import Island, Mixture

FLOAT_COLUMNS = ("float op", "count", "first node", "ONNX op", "reason")
ISLAND_COLUMNS = ("measured ops", "output", "count", "ms integer", "ms float", "chosen")
BORDER_COLUMNS = ("border", "stored as", "scale", "zero point")


def show_integer_report(report: IntegerReport, mixture: Mixture | None = None) -> None:
    """Integer operators, float ones with the reason, bytes, and how inputs and outputs are stored.

    Args:
        report: of the file.
        mixture: what was measured to choose between integers and floats; None where nothing was.
    """
    say(f"integer ops: {sum(report.integer.values())} ({_counts(report.integer)})")
    if report.conversions:
        say(f"between floats and integers: {_counts(report.conversions)}")
    if report.floats:
        show_table("", FLOAT_COLUMNS, [_float_row(members) for members in _grouped(report.floats)])
    else:
        say("float ops: none")
    if mixture is not None:
        _show_mixture(mixture)
    share = report.quantized_bytes / report.total_bytes
    say(f"quantized bytes: {report.quantized_bytes} of {report.total_bytes} ({share:.0%})")
    show_table("", BORDER_COLUMNS, [_border_row(border) for border in report.borders])


def _show_mixture(mixture: Mixture) -> None:
    """Every island that could be float, and the times of the whole file."""
    if mixture.islands:
        show_table("", ISLAND_COLUMNS, [_island_row(island, mixture.taken) for island in mixture.islands])
    mixed = "" if mixture.mixed_ms is None else f", with islands of floats {mixture.mixed_ms:.3g} ms"
    chosen = "the islands" if mixture.taken else "integers"
    say(
        f"whole file on this computer, 1 thread: fp32 {mixture.fp32_ms:.3g} ms,"
        f" integers {mixture.integer_ms:.3g} ms{mixed}; chosen: {chosen}"
    )


def _island_row(island: Island, taken: bool) -> tuple[object, ...]:
    shape = "x".join(map(str, island.shape))
    times = f"{island.integer_ms:.3g}", f"{island.float_ms:.3g}"
    return island.label, shape, island.count, *times, "float" if island.faster and taken else "integer"


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
