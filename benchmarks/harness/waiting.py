"""How long a thread has waited for a core that other programs had."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Self

SCHEDSTAT = "/proc/thread-self/schedstat"
LONGEST = 96


class WaitClock:
    """Nanoseconds that the thread which made this has been ready to run and has not run.

    Source: the second field of /proc/PID/schedstat (Linux, Documentation/scheduler/sched-stats.rst). It
    covers neither the threads of a runtime's own pool nor what a hypervisor takes away.

    Attributes:
        known: whether the system tells; else `read` is always 0.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open(SCHEDSTAT, os.O_RDONLY)
        # A kernel that does not count leaves the third field, the number of turns, at zero.
        self.known = self._file is not None and self._field(2) > 0

    def read(self) -> int:
        """Nanoseconds since the thread began."""
        return self._field(1) if self.known else 0

    def _field(self, index: int) -> int:
        assert self._file is not None
        return int(os.pread(self._file, LONGEST, 0).split()[index])

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file, self.known = None, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
