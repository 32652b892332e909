"""Memory of this process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
# What makes Linux forget the peak, proc_pid_clear_refs(5).
FORGET_PEAK = "5"
KIBI = 1024
MEGA = 1e6


def resident_megabytes() -> float | None:
    """Memory that this process occupies now, in MB (10^6 bytes); None where the system does not tell."""
    return _status_field("VmRSS")


def peak_megabytes() -> float:
    """Largest memory that this process has occupied so far, in MB (10^6 bytes).

    Linux: VmHWM of proc_pid_status(5), because `ru_maxrss` of getrusage(2) is inherited from the parent
    across exec and would be that of a large parent. Elsewhere: `ru_maxrss`.

    Raises:
        OSError: the system offers neither.
    """
    peak = _status_field("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError as error:
        raise OSError("this system does not tell the peak memory of a process") from error
    unit = 1 if sys.platform == "darwin" else KIBI
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGA


def reset_peak() -> bool:
    """Let `peak_megabytes` begin anew with what is occupied now; False where the system cannot do that."""
    try:
        CLEAR.write_text(FORGET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _status_field(name: str) -> float | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * KIBI / MEGA if found else None
