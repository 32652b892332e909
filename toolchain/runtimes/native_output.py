"""Native libraries write to the process's standard error, past sys.stderr: catch what they write."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STDERR = 2

# Two threads that swap the descriptor at the same time would restore it in the wrong order.
_one_at_a_time = threading.RLock()


@dataclass
class Captured:
    """What was written.

    Attributes:
        text: empty until the block has ended.
    """

    text: str = ""


@contextmanager
def captured_stderr() -> Iterator[Captured]:
    """Whatever the process writes to file descriptor 2 inside the block goes into the result instead.

    The descriptor belongs to the whole process: keep the block short.
    """
    captured = Captured()
    with _one_at_a_time, tempfile.TemporaryFile() as sink:
        try:
            saved = os.dup(STDERR)
        except OSError:
            # Closed by whoever started the process: there is nobody to disturb.
            yield captured
            return
        try:
            os.dup2(sink.fileno(), STDERR)
            yield captured
        finally:
            os.dup2(saved, STDERR)
            os.close(saved)
            sink.seek(0)
            captured.text = sink.read().decode("utf-8", "replace")
