"""What must be known of a .tflite file before an interpreter may see it: is it one, and what are its names.

Field numbers are those of the tables in LiteRT's schema.fbs. Interpreters verify the flatbuffer's offsets
themselves; a file without subgraphs passes that check and then crashes the process, so it is refused here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from flatbuffers import number_types as numbers
from flatbuffers.table import Table

from toolchain.errors import UnsupportedError

IDENTIFIER = b"TFL3"
MODEL_SUBGRAPHS, MODEL_BUFFERS, MODEL_SIGNATURES = 2, 4, 7
SIGNATURE_INPUTS, SIGNATURE_OUTPUTS, SIGNATURE_KEY, SIGNATURE_SUBGRAPH = 0, 1, 2, 4
MAP_NAME, MAP_TENSOR = 0, 1


@dataclass(frozen=True)
class Signature:
    """Public names of a subgraph's tensors.

    Attributes:
        key: name of the signature, usually "serving_default".
        subgraph: number of the subgraph.
        inputs: input name -> tensor number.
        outputs: output name -> tensor number.
    """

    key: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


def read_signatures(data: bytes, label: str) -> list[Signature]:
    """Signatures of a .tflite file, in the order of the file.

    Args:
        data: the whole file.
        label: how messages call the file.

    Raises:
        UnsupportedError: it is not a .tflite file, or it is damaged.
    """
    if data[4:8] != IDENTIFIER:
        raise UnsupportedError(
            f"{label} is not a .tflite file: the identifier {IDENTIFIER.decode()} is missing",
            "export the model again",
        )
    try:
        (root,) = struct.unpack_from("<I", data)
        model = Table(data, root)
        if not _tables(model, MODEL_SUBGRAPHS) or not _tables(model, MODEL_BUFFERS):
            raise ValueError("it holds no graph")
        return [_signature(table) for table in _tables(model, MODEL_SIGNATURES)]
    except struct.error as error:
        raise UnsupportedError(f"{label} is damaged or cut off", "export or download it again") from error
    except (ValueError, TypeError, IndexError) as error:
        raise UnsupportedError(f"{label} is damaged: {error}", "export or download it again") from error


def _signature(table: Table) -> Signature:
    return Signature(
        key=_string(table, SIGNATURE_KEY),
        subgraph=_number(table, SIGNATURE_SUBGRAPH),
        inputs=_tensor_map(table, SIGNATURE_INPUTS),
        outputs=_tensor_map(table, SIGNATURE_OUTPUTS),
    )


def _tensor_map(table: Table, field: int) -> dict[str, int]:
    return {_string(entry, MAP_NAME): _number(entry, MAP_TENSOR) for entry in _tables(table, field)}


def _offset(table: Table, field: int) -> int:
    # A vtable starts with its own size and the table's, two bytes each; then come the fields.
    return table.Offset(4 + 2 * field)


def _tables(table: Table, field: int) -> list[Table]:
    """The members of a vector of tables; empty when the field is absent."""
    offset = _offset(table, field)
    if not offset:
        return []
    length, start = table.VectorLen(offset), table.Vector(offset)
    if start + 4 * length > len(table.Bytes):
        raise ValueError("a vector is longer than the file")
    return [Table(table.Bytes, table.Indirect(start + 4 * index)) for index in range(length)]


def _string(table: Table, field: int) -> str:
    offset = _offset(table, field)
    return table.String(table.Pos + offset).decode("utf-8") if offset else ""


def _number(table: Table, field: int) -> int:
    offset = _offset(table, field)
    return int(table.Get(numbers.Uint32Flags, table.Pos + offset)) if offset else 0
