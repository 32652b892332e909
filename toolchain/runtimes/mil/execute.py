"""Runs a program operation by operation with torch.

Values of type float16 are float32 tensors whose numbers are float16 numbers: every operator computes in
float32 and its result is rounded, as hardware with a wide accumulator does. Pictures lie channel-last in
memory, which is how torch computes convolutions fastest.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from toolchain.errors import Refusal, ToolchainError, UnsupportedError, UnsupportedOpsError
from toolchain.runtimes.base import one_line
from toolchain.runtimes.mil.operators import Operator, operators
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

PICTURE_AXES = 4
NATIVE_HINT = "run the file on a Mac: --runtime coreml-native"
ROUNDED = {"float16": torch.float16, "bfloat16": torch.bfloat16}
TYPES = {
    "bool": torch.bool,
    "float16": torch.float32,
    "bfloat16": torch.float32,
    "float32": torch.float32,
    "float64": torch.float64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.int32,
    "uint32": torch.int64,
}
"""Element type -> the torch type that holds it; torch cannot compute with wide unsigned types."""


def to_tensor(value: Any, kind: ValueType) -> Any:
    """A constant or an input as operators take it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [torch.from_numpy(np.array(item)) if isinstance(item, np.ndarray) else item for item in value]
    if kind.dtype not in TYPES:
        raise UnsupportedError(f"values of type {kind.dtype or kind.kind} cannot be computed here")
    tensor = torch.from_numpy(np.array(value, dtype=_holder(kind.dtype), order="C"))
    return channels_last(tensor)


def _holder(dtype: str) -> np.dtype:
    return np.dtype(str(TYPES[dtype]).removeprefix("torch."))


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, pictures and weights channel-last in memory."""
    if tensor.ndim == PICTURE_AXES and tensor.is_floating_point():
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


@dataclass(frozen=True)
class _Step:
    """One operation, ready to run: its function and where its arguments come from."""

    operation: Operation
    function: Operator
    constants: dict[str, Any]
    references: dict[str, str]
    variadic: dict[str, list[tuple[str | None, Any]]]
    blocks: tuple[_Compiled, ...]
    forgotten: tuple[str, ...]

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.operation.type} '{self.operation.name}'"

    def run(self, values: dict[str, Any]) -> None:
        arguments = dict(self.constants)
        for parameter, name in self.references.items():
            arguments[parameter] = values[name]
        for parameter, parts in self.variadic.items():
            arguments[parameter] = [constant if name is None else values[name] for name, constant in parts]
        if self.blocks:
            arguments["blocks"] = [block.bound(values) for block in self.blocks]
        try:
            result = self.function(**arguments)
        except ToolchainError:
            raise
        except Exception as error:
            # What torch says of a shape that does not fit has no common type.
            raise UnsupportedError(
                f"{self.label} failed: {type(error).__name__}: {one_line(error)}"
            ) from error
        made = result if isinstance(result, tuple | list) else (result,)
        if len(made) != len(self.operation.outputs):
            raise UnsupportedError(
                f"{self.label} has {len(self.operation.outputs)} outputs, {len(made)} were computed"
            )
        for value, output in zip(made, self.operation.outputs, strict=True):
            values[output.name] = self._checked(value, output)
        for name in self.forgotten:
            values.pop(name, None)

    def _checked(self, value: Any, output: Named) -> Any:
        """The value rounded to its type; another type or shape than the program states is an error."""
        kind = output.type
        if not isinstance(value, torch.Tensor):
            return value
        if kind.kind == "tensor":
            sizes = zip(value.shape, kind.shape, strict=False)
            if value.ndim != len(kind.shape) or any(want not in (UNKNOWN, have) for have, want in sizes):
                raise UnsupportedError(
                    f"{self.label} computes the shape {tuple(value.shape)}, the program says {kind.shape} for"
                    f" '{output.name}'"
                )
            if TYPES.get(kind.dtype) != value.dtype:
                raise UnsupportedError(
                    f"{self.label} computes {value.dtype}, the program says {kind.dtype} for '{output.name}'"
                )
            if kind.dtype in ROUNDED:
                return value.to(ROUNDED[kind.dtype]).float()
        return value


class _Compiled:
    """A block whose constants are decoded and whose operators are known."""

    def __init__(self, block: Block, outer: Mapping[str, Any]) -> None:
        self.inputs = [named.name for named in block.inputs]
        self.outputs = block.outputs
        self.known: dict[str, Any] = dict(outer)
        self.steps: list[_Step] = []
        last_use = _last_uses(block)
        for index, operation in enumerate(block.operations):
            if operation.type == "const":
                value = operation.attributes["val"]
                self.known[operation.outputs[0].name] = to_tensor(value.value, value.type)
                continue
            forgotten = tuple(name for name, place in last_use.items() if place == index)
            step = self._step(operation, forgotten)
            if operation.type.startswith("constexpr_"):
                step.run(self.known)
                for output in operation.outputs:
                    self.known[output.name] = channels_last(self.known[output.name])
            else:
                self.steps.append(step)

    def _step(self, operation: Operation, forgotten: tuple[str, ...]) -> _Step:
        constants = {name: to_tensor(item.value, item.type) for name, item in operation.attributes.items()}
        references: dict[str, str] = {}
        variadic: dict[str, list[tuple[str | None, Any]]] = {}
        function = operators().get(operation.type)
        for parameter, arguments in operation.inputs.items():
            parts = [self._part(argument) for argument in arguments]
            if len(parts) != 1 or parameter in VARIADIC.get(operation.type, ()):
                variadic[parameter] = parts
            elif parts[0][0] is None:
                constants[parameter] = parts[0][1]
            else:
                references[parameter] = parts[0][0]
        _check_parameters(operation, function, {*constants, *references, *variadic})
        blocks = tuple(_Compiled(block, self.known) for block in operation.blocks)
        return _Step(operation, function, constants, references, variadic, blocks, forgotten)

    def _part(self, argument: Reference | Constant) -> tuple[str | None, Any]:
        if isinstance(argument, Constant):
            return None, to_tensor(argument.value, argument.type)
        if argument.name in self.known:
            return None, self.known[argument.name]
        return argument.name, None

    def run(self, values: dict[str, Any]) -> list[Any]:
        for step in self.steps:
            step.run(values)
        return [self.known[name] if name in self.known else values[name] for name in self.outputs]

    def bound(self, outer: dict[str, Any]) -> Callable[..., list[Any]]:
        """The block as a function of its inputs; it sees the values around it."""

        def call(*arguments: Any) -> list[Any]:
            return self.run({**outer, **dict(zip(self.inputs, arguments, strict=True))})

        return call


VARIADIC = {
    "concat": ("values",),
    "stack": ("values",),
    "einsum": ("values",),
    "reshape_like": ("ref_tensors", "begins", "ends", "end_masks"),
    "while_loop": ("loop_vars",),
}
"""Parameters that are lists even with one argument."""


def _last_uses(block: Block) -> dict[str, int]:
    """Value computed in this block -> index of the operation that reads it last; results are kept."""
    found: dict[str, int] = {}
    own = {output.name for operation in block.operations for output in operation.outputs}
    for index, operation in enumerate(block.operations):
        for name in _reads(operation):
            if name in own:
                found[name] = index
    return {name: index for name, index in found.items() if name not in block.outputs}


def _reads(operation: Operation) -> set[str]:
    names = {
        argument.name
        for arguments in operation.inputs.values()
        for argument in arguments
        if isinstance(argument, Reference)
    }
    for block in operation.blocks:
        names.update(block.outputs)
        for inner in block.operations:
            names |= _reads(inner)
    return names


def _check_parameters(operation: Operation, function: Operator, given: set[str]) -> None:
    known = inspect.signature(function).parameters
    if unknown := sorted(given - set(known)):
        raise UnsupportedError(
            f"{operation.type} '{operation.name}' has the parameter '{unknown[0]}', which is not known here",
            "please report it with the file",
        )
    needed = {name for name, parameter in known.items() if parameter.default is parameter.empty}
    if lost := sorted(needed - given - {"blocks"} if operation.blocks else needed - given):
        raise UnsupportedError(
            f"{operation.type} '{operation.name}' lacks the parameter '{lost[0]}'",
            "convert the network again: the program is damaged",
        )


class Interpreter:
    """A program that is ready to run.

    Args:
        program: from `read_program`.

    Raises:
        UnsupportedOpsError: operators that are not known, all of them.
        UnsupportedError: a constant cannot be decoded.
    """

    def __init__(self, program: Program) -> None:
        _check_operators(program.block.operations)
        self.program = program
        with torch.inference_mode():
            self._body = _Compiled(program.block, {})

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """One pass.

        Args:
            inputs: numpy array by name of the function's inputs, of the types that the program states.

        Returns:
            Value by name of the block's outputs: numpy arrays (float16 values as float16), strings and lists
            as they are.
        """
        with torch.inference_mode():
            values = {}
            for named in self.program.inputs:
                value = to_tensor(inputs[named.name], named.type)
                to = ROUNDED.get(named.type.dtype)
                values[named.name] = value.to(to).float() if to is not None else value
            results = self._body.run(values)
        made = zip(self.program.block.outputs, results, self.program.types(), strict=True)
        return {name: _to_numpy(value, kind) for name, value, kind in made}


def _to_numpy(value: Any, kind: ValueType) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    array = value.contiguous().numpy()
    return array.astype(kind.dtype) if kind.dtype != "bfloat16" else array


def _check_operators(operations: Sequence[Operation]) -> None:
    unknown: list[Refusal] = []
    pending = list(operations)
    while pending:
        operation = pending.pop()
        pending.extend(inner for block in operation.blocks for inner in block.operations)
        if operation.type != "const" and operation.type not in operators():
            unknown.append(
                Refusal(operation.type, operation.name, "the reference runtime does not know it", NATIVE_HINT)
            )
    if unknown:
        counts = Counter(refusal.op for refusal in unknown)
        kinds = ", ".join(f"{op} ({count})" for op, count in sorted(counts.items()))
        raise UnsupportedOpsError(unknown, "the reference runtime", "run by") from UnsupportedError(kinds)
