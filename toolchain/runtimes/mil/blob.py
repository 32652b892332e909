"""Reads weight files of ML Programs.

The format (MIL storage, version 2): a header of 64 bytes (uint32 number of entries, uint32 version), then
entries on 64-byte boundaries. An entry's metadata has 64 bytes: uint32 0xDEADBEEF, uint32 element type,
uint64 size in bytes, uint64 offset of the data in the file, uint64 number of padding bits. Everything is
little-endian; elements below one byte are packed from the low bits on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from toolchain.errors import UnsupportedError

HEADER = struct.Struct("<II")
ENTRY = struct.Struct("<IIQQQ")
SENTINEL = 0xDEADBEEF
VERSION = 2
ALIGNMENT = 64
BYTE = 8
DAMAGED = "copy or export the package again: it is damaged"

# Element type of an entry -> (numpy type, bits).
ELEMENTS: dict[int, tuple[np.dtype, int]] = {
    1: (np.dtype(np.float16), 16),
    2: (np.dtype(np.float32), 32),
    3: (np.dtype(np.uint8), 8),
    4: (np.dtype(np.int8), 8),
    5: (np.dtype(ml_dtypes.bfloat16), 16),
    6: (np.dtype(np.int16), 16),
    7: (np.dtype(np.uint16), 16),
    8: (np.dtype(np.int8), 4),
    9: (np.dtype(np.uint8), 1),
    10: (np.dtype(np.uint8), 2),
    11: (np.dtype(np.uint8), 4),
    12: (np.dtype(np.uint8), 3),
    13: (np.dtype(np.uint8), 6),
    14: (np.dtype(np.int32), 32),
    15: (np.dtype(np.uint32), 32),
    16: (np.dtype(ml_dtypes.float8_e4m3fn), 8),
    17: (np.dtype(ml_dtypes.float8_e5m2), 8),
}


@dataclass
class BlobFile:
    """One weight file, mapped into memory.

    Attributes:
        path: of the file.
        content: its bytes.
    """

    path: Path
    content: np.memmap | np.ndarray

    @classmethod
    def open(cls, path: Path) -> BlobFile:
        """Map a file and check its header.

        Raises:
            UnsupportedError: there is none, or it is no weight file.
        """
        try:
            size = path.stat().st_size
            content = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
        except OSError as error:
            raise UnsupportedError(
                f"weight file '{path.name}' cannot be read: {error.strerror}", DAMAGED
            ) from error
        if len(content) < ALIGNMENT:
            raise UnsupportedError(
                f"weight file '{path.name}' is cut off after {len(content)} bytes", DAMAGED
            )
        _, version = HEADER.unpack(content[: HEADER.size].tobytes())
        if version != VERSION:
            raise UnsupportedError(
                f"weight file '{path.name}' has storage version {version}, not {VERSION}", DAMAGED
            )
        return cls(path, content)

    def read(self, offset: int, count: int, width: int | None = None) -> np.ndarray:
        """The `count` elements whose metadata lie at `offset`, one numpy element each.

        Args:
            offset: of the metadata in the file.
            count: elements that the program expects.
            width: bits of an element that the program expects, None for those that the entry has.

        Raises:
            UnsupportedError: the entry is damaged, cut off or of another size.
        """
        name = f"entry at {offset} of weight file '{self.path.name}'"
        if offset % ALIGNMENT or not ALIGNMENT <= offset <= len(self.content) - ENTRY.size:
            raise UnsupportedError(f"{name} lies outside of the file ({len(self.content)} bytes)", DAMAGED)
        entry = self.content[offset : offset + ENTRY.size].tobytes()
        sentinel, kind, size, start, padding = ENTRY.unpack(entry)
        if sentinel != SENTINEL:
            raise UnsupportedError(f"{name} does not begin with the mark of an entry", DAMAGED)
        if kind not in ELEMENTS:
            raise UnsupportedError(f"{name} has the unknown element type {kind}", DAMAGED)
        if start + size > len(self.content):
            raise UnsupportedError(f"{name} is cut off: the file has {len(self.content)} bytes", DAMAGED)
        dtype, bits = ELEMENTS[kind]
        if width not in (None, bits):
            raise UnsupportedError(f"{name} has elements of {bits} bits, the program says {width}", DAMAGED)
        # Only elements below one byte are padded, and to whole bytes.
        if size * 8 - padding != count * bits or padding >= (BYTE if bits < BYTE else 1):
            raise UnsupportedError(
                f"{name} holds {size} bytes with {padding} padding bits, not {count} elements of {bits} bits",
                DAMAGED,
            )
        data = np.asarray(self.content[start : start + size])
        return data.view(dtype) if bits >= BYTE else unpack(data, bits, count, dtype)


def unpack(data: np.ndarray, bits: int, count: int, dtype: np.dtype) -> np.ndarray:
    """Elements of 1 to 6 bits, packed from the low bits of each byte on, one numpy element each."""
    stream = np.unpackbits(data, bitorder="little")[: count * bits].reshape(count, bits)
    values = (stream.astype(np.uint8) << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8)
    if dtype.kind != "i":
        return values
    # Two's complement: shift the sign bit to the top and back.
    return (values << (8 - bits)).view(np.int8) >> (8 - bits)
