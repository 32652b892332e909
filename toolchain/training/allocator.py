"""Keep freed memory inside the process while training on a CPU."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3).
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4

KEEP = 2**31 - 1
TOP_PAD = 2**28


def keep_freed_memory() -> None:
    """Tell glibc not to hand large blocks back to the kernel; does nothing on other C libraries.

    A training step frees and asks for the same hundreds of megabytes over and over; returning them
    costs page faults that take a third of the step (1.45 s against 0.85 s for the light hourglass at
    128 px, 32 pictures, two cores).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, KEEP)
    libc.mallopt(M_TOP_PAD, TOP_PAD)
