"""How figures are written."""

from __future__ import annotations

KILO = 1000


def milliseconds(value: float | None) -> str:
    """Three or four digits, without a unit; "-" for None."""
    if value is None:
        return "-"
    for limit, digits in ((1, 3), (10, 2), (KILO, 1), (1e6, 0)):
        if value < limit:
            return f"{value:.{digits}f}"
    return f"{value:.3g}"


def percent(share: float, digits: int = 1) -> str:
    """A share (0-1) in percent."""
    return f"{100 * share:.{digits}f} %"


def size(count: int) -> str:
    """Bytes in units of 1000."""
    for limit, unit in ((KILO, "B"), (KILO**2, "kB"), (KILO**3, "MB")):
        if count < limit:
            return f"{count} B" if unit == "B" else f"{count * KILO / limit:.1f} {unit}"
    return f"{count / KILO**3:.2f} GB"
