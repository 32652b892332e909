"""What a measurement depends on besides the code: computer, load and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
PACKAGES = (
    "mobile-toolchain",
    "ai-edge-litert",
    "torch",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "numpy",
)
# The instruction sets by which XNNPACK chooses its kernels.
INSTRUCTION_SETS = (
    "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_fp16", "avx_vnni", "amx_int8",
    "asimd", "asimdhp", "asimddp", "i8mm", "sve", "sme",
)  # fmt: skip


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Describe this computer and this process.

    Args:
        packages: distributions whose versions are recorded; None where one is not installed.

    Returns:
        `cpu` (model name), `instruction_sets`, `cores` (of the computer), `usable_cores` (of this process),
        `load_average` (1, 5 and 15 minutes, None where the system does not tell), `system`, `python`
        and `versions`.
    """
    return {
        "cpu": cpu_model(),
        "instruction_sets": instruction_sets(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "load_average": load_average(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
    }


def cpu_model() -> str:
    """Name of the processor, as far as the system tells."""
    found = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Which of the instruction sets that XNNPACK uses the processor has; empty where Linux is not told."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return [name for name in INSTRUCTION_SETS if name in flags]


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def load_average() -> list[float] | None:
    """Mean number of runnable processes over 1, 5 and 15 minutes; None where the system does not tell."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def _cpuinfo() -> str:
    try:
        return CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
