"""From a PyTorch network to a phone: export, verify, run.

Attributes are loaded on first use, so that `import toolchain` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from toolchain.export import export
    from toolchain.runtimes import load

__all__ = ["__version__", "export", "load"]


def __getattr__(name: str) -> Any:
    if name == "export":
        from toolchain.export import export

        return export
    if name == "load":
        from toolchain.runtimes import load

        return load
    raise AttributeError(f"module 'toolchain' has no attribute '{name}'")
