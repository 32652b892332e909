"""What coremltools says no to, told apart from faults of our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

THEIRS, OURS = "coremltools", "toolchain"
# coremltools checks parameters by exceptions of all these types; a full disk or memory is none of them.
TYPES = (ValueError, TypeError, RuntimeError, AssertionError, KeyError, IndexError)


class CoremltoolsRefused(Exception):  # noqa: N818
    """coremltools raised; the message is the first line of what it said."""


@contextmanager
def coremltools_refusals() -> Iterator[None]:
    """Inside, an exception out of coremltools becomes CoremltoolsRefused.

    One that our own code raised stays what it is: it is a fault to be seen, not a refusal.
    """
    try:
        yield
    except TYPES as error:
        if _origin(error.__traceback__) != THEIRS:
            raise
        lines = str(error).strip().splitlines()
        raise CoremltoolsRefused(lines[0] if lines else type(error).__name__) from error


def _origin(trace: TracebackType | None) -> str:
    """The package of the innermost frame that belongs to coremltools or to us; libraries between count for
    the one that called them.
    """
    found = ""
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        found = package if package in (THEIRS, OURS) else found
        trace = trace.tb_next
    return found
