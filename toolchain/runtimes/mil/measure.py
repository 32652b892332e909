"""Counts of a program: weights and multiply-adds."""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.runtimes.mil.program import UNKNOWN, Constant, Operation, Program, Reference, ValueType

# What operators that unpack weights or quantize activations read: one number for each channel or table, and
# integers that are counted when unpacked.
PACKED = "constexpr_"
QUANTIZING = ("quantize", "dequantize")


def parameters(program: Program) -> int:
    """Elements of all floating-point weights as they are when unpacked; single numbers do not count, nor do
    scales of activations or a bias of zeros.
    """
    parts = _parts(program)
    total = 0
    for operation in program.block.operations:
        if operation.type.startswith(PACKED):
            total += prod(operation.outputs[0].type.shape)
        elif operation.type == "const" and operation.outputs[0].name not in parts:
            value = operation.attributes["val"].value
            is_weight = isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 1
            if is_weight and (value.ndim > 1 or value.any()):
                total += value.size
    return total


def _parts(program: Program) -> set[str]:
    """Names of constants that are parts of packed weights, which are counted as a whole, and of scales."""
    return {
        argument.name
        for operation in program.block.operations
        if operation.type.startswith(PACKED) or operation.type in QUANTIZING
        for arguments in operation.inputs.values()
        for argument in arguments
        if isinstance(argument, Reference)
    }


def macs(program: Program) -> int | None:
    """Multiply-adds of convolutions and matrix products for one run; None where shapes are not known."""
    types = {named.name: named.type for named in program.inputs}
    types |= {out.name: out.type for operation in program.block.operations for out in operation.outputs}
    flags = {
        operation.outputs[0].name: bool(operation.attributes["val"].value)
        for operation in program.block.operations
        if operation.type == "const" and operation.outputs[0].type.dtype == "bool"
    }
    total = 0
    for operation in program.block.operations:
        if operation.type not in ("conv", "conv_transpose", "linear", "matmul"):
            continue
        sizes = _macs(operation, types, flags)
        if sizes is None:
            return None
        total += sizes
    return total


def _macs(operation: Operation, types: dict[str, ValueType], flags: dict[str, bool]) -> int | None:
    made = operation.outputs[0].type.shape
    x, weight = _shape(operation, "x", types), _shape(operation, "weight", types)
    if not x or UNKNOWN in (*made, *x, *weight):
        return None
    if operation.type == "conv":
        return prod(made) * prod(weight[1:])
    if operation.type == "conv_transpose":
        return prod(x) * prod(weight[1:])
    if operation.type == "linear":
        return prod(made) * x[-1]
    is_turned = any(_flag(argument, flags) for argument in operation.inputs.get("transpose_x", []))
    return prod(made) * x[-2 if is_turned and len(x) > 1 else -1]


def _shape(operation: Operation, parameter: str, types: dict[str, ValueType]) -> tuple[int, ...]:
    arguments = operation.inputs.get(parameter, [])
    if not arguments:
        return ()
    argument = arguments[0]
    return argument.type.shape if isinstance(argument, Constant) else types[argument.name].shape


def _flag(argument: Reference | Constant, flags: dict[str, bool]) -> bool:
    return bool(argument.value) if isinstance(argument, Constant) else flags.get(argument.name, False)
