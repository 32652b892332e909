"""Checks that a decoded program is whole: every name has a meaning before it is used, every type a size."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.program import (
    UNKNOWN,
    Block,
    Constant,
    Named,
    Operation,
    Program,
    Reference,
    ValueType,
)

DAMAGED = "convert the network again: the program is damaged"
PACKED = "constexpr_"
LARGEST = 1 << 31
"""Elements of the largest tensor that is believed; a phone has no memory for more."""

Scope = Mapping[str, bool]
"""Name of a visible value -> whether it is a constant."""


def check_program(program: Program) -> None:
    """Raises UnsupportedError when the program cannot be run from top to bottom.

    A value is read before it is computed (or in a circle), never computed, or computed twice; a constant has
    no value; a packed weight depends on an input; an input is no tensor; a tensor is impossibly large.
    """
    for named in program.inputs:
        if named.type.kind != "tensor":
            raise UnsupportedError(
                f"the program's input '{named.name}' is a {named.type.kind}, not a tensor",
                "convert the network with its states as inputs and outputs",
            )
        _check_size(named)
    _check_block(program.block, {named.name: False for named in program.inputs})


def _check_block(block: Block, outer: Scope) -> None:
    known = {**outer, **{named.name: False for named in block.inputs}}
    later = {output.name for operation in block.operations for output in operation.outputs}
    for operation in block.operations:
        label = f"{operation.type} '{operation.name}'"
        _check_operation(operation, label)
        for name in _references(operation):
            if name not in known:
                reason = "computed only later" if name in later else "never computed"
                raise UnsupportedError(f"{label} reads '{name}', which is {reason}", DAMAGED)
            if operation.type.startswith(PACKED) and not known[name]:
                raise UnsupportedError(f"{label} unpacks '{name}', which is no constant", DAMAGED)
        for inner in operation.blocks:
            _check_block(inner, known)
        is_constant = operation.type == "const" or operation.type.startswith(PACKED)
        for output in operation.outputs:
            if output.name in known:
                raise UnsupportedError(f"{label} computes '{output.name}' a second time", DAMAGED)
            _check_size(output)
            known[output.name] = is_constant
    if lost := [name for name in block.outputs if name not in known]:
        raise UnsupportedError(f"the program gives out '{lost[0]}', which is never computed", DAMAGED)


def _check_operation(operation: Operation, label: str) -> None:
    if not operation.outputs:
        raise UnsupportedError(f"{label} has no output", DAMAGED)
    if lost := [name for name, arguments in operation.inputs.items() if not arguments]:
        raise UnsupportedError(f"{label}: its parameter '{lost[0]}' is empty", DAMAGED)
    if operation.type == "const" and (len(operation.outputs) > 1 or "val" not in operation.attributes):
        raise UnsupportedError(f"{label} is a constant without a value of its own", DAMAGED)
    if operation.type == "const":
        _check_constant(operation.outputs[0].type, operation.attributes["val"], label)


def _check_constant(stated: ValueType, constant: Constant, label: str) -> None:
    if stated.kind == "tensor" and stated != constant.type:
        raise UnsupportedError(
            f"{label} has the type {stated.dtype} {stated.shape}, its value {constant.type.dtype}"
            f" {constant.type.shape}",
            DAMAGED,
        )


def _references(operation: Operation) -> list[str]:
    return [
        argument.name
        for arguments in operation.inputs.values()
        for argument in arguments
        if isinstance(argument, Reference)
    ]


def _check_size(named: Named) -> None:
    sizes = [size for size in named.type.shape if size != UNKNOWN]
    if prod(sizes) > LARGEST:
        raise UnsupportedError(f"'{named.name}' has the impossible shape {named.type.shape}", DAMAGED)
