"""The names of coremltools that the handlers use, imported in silence and in one place."""

from __future__ import annotations

from toolchain.converters.coreml.quiet import import_coremltools, quiet_coremltools

import_coremltools()
with quiet_coremltools():
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import Block, Function, Operation, Placeholder, Program, Var, types
    from coremltools.converters.mil.mil.var import InternalVar

__all__ = ["Block", "Function", "InternalVar", "Operation", "Placeholder", "Program", "Var", "mb", "types"]
