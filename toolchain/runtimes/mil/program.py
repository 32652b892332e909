"""A saved ML Program as Python objects, its constants decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.runtimes.coreml_proto import coreml_proto
from toolchain.runtimes.mil.blob import DAMAGED, BlobFile

UNKNOWN = -1
BLOB_PREFIX = "@model_path/"
MAIN = "main"

# Name of a MIL element type -> numpy name. Sub-byte integers are kept one to a byte.
ELEMENTS = {
    "BOOL": "bool",
    "STRING": "str",
    "FLOAT16": "float16",
    "FLOAT32": "float32",
    "FLOAT64": "float64",
    "BFLOAT16": "bfloat16",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "INT4": "int8",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "UINT1": "uint8",
    "UINT2": "uint8",
    "UINT3": "uint8",
    "UINT4": "uint8",
    "UINT6": "uint8",
}
BITS = {"INT4": 4, "UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6}


@dataclass(frozen=True)
class ValueType:
    """Type of a value.

    Attributes:
        kind: "tensor", or "list", "tuple", "dictionary", "state" for what is none.
        dtype: numpy name of the element type ("str" for strings), "" for what is no tensor.
        shape: sizes, UNKNOWN where the size is only known at run time.
        bits: bits of an element that is smaller than a byte, else 0.
    """

    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    bits: int = 0


@dataclass(frozen=True)
class Named:
    """A value with a name: an input of a function or block, or an operation's output."""

    name: str
    type: ValueType


@dataclass(frozen=True)
class Constant:
    """A value that is written down in the program: an array, a string, or a list of such."""

    value: Any
    type: ValueType


@dataclass(frozen=True)
class Reference:
    """The name of a value that an operation computed, or of an input."""

    name: str


Argument = list[Reference | Constant]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        type: MIL operator, "conv".
        name: name of the operation, for messages; that of its first output when it has none.
        inputs: parameter name -> arguments; more than one for a variadic parameter.
        outputs: what it computes.
        attributes: constants that are no inputs; `val` of "const".
        blocks: nested blocks of control flow.
    """

    type: str
    name: str
    inputs: dict[str, Argument]
    outputs: tuple[Named, ...]
    attributes: dict[str, Constant]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Block:
    """Operations in order, and the names of what they return."""

    inputs: tuple[Named, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Program:
    """The function that is run.

    Attributes:
        inputs: of the function.
        block: its body, of the newest operator set that the file holds.
        opset: name of that operator set, "CoreML5".
    """

    inputs: tuple[Named, ...]
    block: Block
    opset: str

    def types(self) -> list[ValueType]:
        """Types of the block's outputs."""
        found = {named.name: named.type for named in self.inputs}
        found |= {out.name: out.type for operation in self.block.operations for out in operation.outputs}
        return [found[name] for name in self.block.outputs]


@dataclass
class _Reader:
    folder: Path | None
    files: dict[str, BlobFile] = field(default_factory=dict)

    def block(self, proto: Any) -> Block:
        return Block(
            tuple(Named(item.name, value_type(item.type)) for item in proto.inputs),
            tuple(proto.outputs),
            tuple(self.operation(item) for item in proto.operations),
        )

    def operation(self, proto: Any) -> Operation:
        outputs = tuple(Named(item.name, value_type(item.type)) for item in proto.outputs)
        attributes = {name: self.constant(value) for name, value in proto.attributes.items()}
        label = attributes.pop("name", None)
        name = str(label.value) if label is not None else ""
        return Operation(
            proto.type,
            name or (outputs[0].name if outputs else proto.type),
            {key: [self.argument(item) for item in found.arguments] for key, found in proto.inputs.items()},
            outputs,
            attributes,
            tuple(self.block(item) for item in proto.blocks),
        )

    def argument(self, proto: Any) -> Reference | Constant:
        return Reference(proto.name) if proto.WhichOneof("binding") == "name" else self.constant(proto.value)

    def constant(self, proto: Any) -> Constant:
        kind = value_type(proto.type)
        which = proto.WhichOneof("value")
        if (which == "blobFileValue" or proto.immediateValue.HasField("tensor")) and not _is_fixed(kind):
            raise UnsupportedError(
                f"a constant of the program is a {kind.kind} of {kind.dtype} {kind.shape}", DAMAGED
            )
        if which == "blobFileValue":
            return Constant(self.stored(proto.blobFileValue, kind), kind)
        immediate = proto.immediateValue
        which = immediate.WhichOneof("value")
        if which == "tensor":
            return Constant(_immediate(immediate.tensor, kind), kind)
        if which in ("list", "tuple"):
            return Constant([self.constant(item).value for item in getattr(immediate, which).values], kind)
        raise UnsupportedError(f"a constant of the program is a {which or 'value of no kind'}", DAMAGED)

    def stored(self, proto: Any, kind: ValueType) -> np.ndarray:
        if self.folder is None or not proto.fileName.startswith(BLOB_PREFIX):
            raise UnsupportedError(
                f"the program's weights lie in '{proto.fileName}', which is not there", DAMAGED
            )
        if proto.fileName not in self.files:
            relative = proto.fileName.removeprefix(BLOB_PREFIX)
            path = self.folder / relative
            if "\0" in relative or not path.resolve().is_relative_to(self.folder.resolve()):
                raise UnsupportedError(f"weight file '{relative}' lies outside of the package", DAMAGED)
            self.files[proto.fileName] = BlobFile.open(path)
        if kind.dtype == "str":
            raise UnsupportedError("the program has strings in its weight file", DAMAGED)
        width = kind.bits or _numpy(kind).itemsize * 8
        data = self.files[proto.fileName].read(int(proto.offset), prod(kind.shape), width)
        if data.dtype != _numpy(kind):
            raise UnsupportedError(
                f"weights at {proto.offset} are {data.dtype}, the program says {kind.dtype}", DAMAGED
            )
        return data.reshape(kind.shape)


def read_program(proto: Any, folder: Path | None) -> Program:
    """Decode the function "main" (or the only one).

    Args:
        proto: the specification's MILSpec.Program.
        folder: where "@model_path" is: the folder of the specification file inside the package; None when
            there is none.

    Raises:
        UnsupportedError: the program is damaged, has several functions and no "main", or constants that
            cannot be read.
    """
    functions = dict(proto.functions)
    name = MAIN if MAIN in functions else next(iter(functions), None)
    if name is None or (name != MAIN and len(functions) > 1):
        raise UnsupportedError(
            f"the program has no function '{MAIN}' ({', '.join(functions) or 'none at all'})",
            "save the function that is to run as a package of its own",
        )
    from toolchain.runtimes.mil.check import check_program

    function = functions[name]
    opset = function.opset
    if opset not in function.block_specializations:
        raise UnsupportedError(f"the program has no block for its operator set '{opset}'", DAMAGED)
    block = _Reader(folder).block(function.block_specializations[opset])
    inputs = tuple(Named(item.name, value_type(item.type)) for item in function.inputs)
    program = Program(inputs, block, opset)
    check_program(program)
    return program


def value_type(proto: Any) -> ValueType:
    """Decode a MILSpec.ValueType."""
    which = proto.WhichOneof("type")
    if which != "tensorType":
        return ValueType((which or "unknown").removesuffix("Type"))
    tensor = proto.tensorType
    # A rank of -1 is open.
    if tensor.rank not in (0, len(tensor.dimensions)):
        raise UnsupportedError(
            f"the program has a tensor of {tensor.rank} axes with {len(tensor.dimensions)} sizes", DAMAGED
        )
    known = coreml_proto("MIL").DataType
    name = known.Name(tensor.dataType) if tensor.dataType in known.values() else str(tensor.dataType)
    if name not in ELEMENTS:
        raise UnsupportedError(f"the program has values of type {name}", "which is not supported here")
    shape = tuple(
        int(size.constant.size) if size.WhichOneof("dimension") == "constant" else UNKNOWN
        for size in tensor.dimensions
    )
    return ValueType("tensor", ELEMENTS[name], shape, BITS.get(name, 0))


def _is_fixed(kind: ValueType) -> bool:
    """Whether a type is that of a tensor whose sizes are all known."""
    return kind.kind == "tensor" and UNKNOWN not in kind.shape


def _numpy(kind: ValueType) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if kind.dtype == "bfloat16" else np.dtype(kind.dtype)


FIELDS = {"floats": "float32", "ints": "int32", "bools": "bool", "longInts": "int64", "doubles": "float64"}


def _immediate(tensor: Any, kind: ValueType) -> Any:
    """An array of the type's shape, or a string or list of strings."""
    which = tensor.WhichOneof("value")
    if (which == "strings") != (kind.dtype == "str"):
        raise UnsupportedError(f"a constant of type {kind.dtype} holds {which} in the program", DAMAGED)
    if which == "strings":
        strings = list(tensor.strings.values)
        if len(strings) != prod(kind.shape):
            raise UnsupportedError(f"{len(strings)} strings do not fit the shape {kind.shape}", DAMAGED)
        return strings if kind.shape else strings[0]
    dtype = _numpy(kind)
    if which == "bytes":
        data: np.ndarray = np.frombuffer(tensor.bytes.values, np.uint8)
        if kind.bits:
            data = _packed(data, kind, dtype)
        elif len(data) % dtype.itemsize == 0:
            data = data.view(dtype)
    elif which in FIELDS:
        data = _converted(np.array(getattr(tensor, which).values, FIELDS[which]), dtype)
    else:
        data = np.zeros(0, dtype)
    if data.size != prod(kind.shape):
        raise UnsupportedError(
            f"a constant of shape {kind.shape} has {data.size} elements in the program", DAMAGED
        )
    return data.reshape(kind.shape)


def _converted(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Immediate values in the type of the constant; integers and truth values must survive."""
    with np.errstate(all="ignore"):
        converted = data.astype(dtype)
    if dtype.kind in "biu" and not np.array_equal(converted, data):
        raise UnsupportedError(f"a constant of type {dtype} has values that do not fit", DAMAGED)
    return converted


def _packed(data: np.ndarray, kind: ValueType, dtype: np.dtype) -> np.ndarray:
    from toolchain.runtimes.mil.blob import unpack

    count = prod(kind.shape)
    if len(data) * 8 < count * kind.bits:
        raise UnsupportedError(f"a constant of shape {kind.shape} is cut off in the program", DAMAGED)
    return unpack(data, kind.bits, count, dtype)


def histogram(operations: Sequence[Operation]) -> dict[str, int]:
    """Operator -> count, the most frequent first; constants are no operators."""
    counts: dict[str, int] = {}
    pending = list(operations)
    while pending:
        operation = pending.pop()
        pending.extend(inner for block in operation.blocks for inner in block.operations)
        if operation.type != "const":
            counts[operation.type] = counts.get(operation.type, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
