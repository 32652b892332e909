"""What is integer in a quantized file, as its sidecar and `export --json` state it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.converters.tflite.integer_report import IntegerReport
    from toolchain.float_islands import Mixture


def integer_summary(report: IntegerReport, mixture: Mixture | None = None) -> dict[str, Any]:
    """The report as JSON can express it; float operators one by one.

    Args:
        report: of the file.
        mixture: what was measured to choose between integers and floats; None where nothing was.
    """
    return {
        **({"measured": asdict(mixture)} if mixture is not None else {}),
        "integer_ops": report.integer,
        "conversions": report.conversions,
        "float_ops": [asdict(operator) for operator in report.floats],
        "quantized_bytes": report.quantized_bytes,
        "total_bytes": report.total_bytes,
        "borders": [asdict(border) for border in report.borders],
    }
