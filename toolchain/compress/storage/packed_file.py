"""The packed file: all tensors of a network in one file.

Numbers are in little-endian order:

    magic      8 bytes "TCPACKED"
    version    uint32   1
    header     uint32   bytes of the next part
    header     JSON, UTF-8, compressed with zlib
    payload    the bytes of the tensors in the order of the header, see `pack_tensor`
    checksum   SHA-256 of everything before it

The header is an object with

    network    name of the network, "" when it is not known
    source     SHA-256 of the file that was packed
    metadata   object of texts: metadata of the safetensors file
    card       the card that lies beside the weights, null without one
    tensors    a list of objects: name, shape, dtype (of the tensor), stored (type of the numbers in the
               file), coding ("raw", "dense", "sparse"), bits (asked for; 0 for raw), entries (of the
               table), bytes
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toolchain.compress.storage.huffman import HINT
from toolchain.compress.storage.tensor import CODINGS, DTYPES, MOST_ENTRIES, RAW, SHARED, decode_tensor
from toolchain.errors import UnsupportedError, UsageError

MAGIC = b"TCPACKED"
VERSION = 1
FRONT = struct.Struct("<8sII")
CHECKSUM = hashlib.sha256().digest_size
# Inflated bytes of a header; the longest of the zoo takes 40 kB.
MOST_HEADER = 1 << 22
MOST_AXES = 32
# Safetensors keeps its metadata under this name, which no tensor may have.
METADATA = "__metadata__"
# Bytes of all tensors together.
MOST_BYTES = 1 << 32


@dataclass(frozen=True)
class TensorEntry:
    """One tensor as the header describes it.

    Attributes:
        name: its name in the state dict.
        shape: its shape.
        dtype: its type, as in `DTYPES`.
        stored: type of the numbers in the file; another than `dtype` where they were rounded.
        coding: "raw", "dense" or "sparse".
        bits: bits that were asked for; 0 for "raw".
        entries: entries of the table of values; 0 for "raw".
        bytes: how many of the payload are its.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str
    coding: str
    bits: int
    entries: int
    bytes: int

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the tensor in memory."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class Header:
    """What a packed file says of itself; see the module's text."""

    network: str
    source: str
    metadata: dict[str, str]
    card: dict[str, Any] | None
    tensors: tuple[TensorEntry, ...]


def to_bytes(header: Header, payload: list[bytes]) -> bytes:
    """The content of the file.

    Raises:
        UnsupportedError: the header is longer than a reader accepts.
    """
    text = json.dumps(asdict(header), ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) > MOST_HEADER:
        raise UnsupportedError(
            f"names, metadata and card take {len(text):,} bytes; {MOST_HEADER:,} is the most",
            "shorten the metadata of the weights file",
        )
    front = zlib.compress(text, 9)
    content = b"".join([FRONT.pack(MAGIC, VERSION, len(front)), front, *payload])
    return content + hashlib.sha256(content).digest()


def read_packed(path: Path | str, most_bytes: int = MOST_BYTES) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of a file that nobody vouches for.

    Args:
        path: of the file.
        most_bytes: of all tensors together; a file that claims more is refused before memory is taken.

    Raises:
        UsageError: it cannot be opened.
        UnsupportedError: it is no packed file, one of another version, or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"packed file '{path}' cannot be read: {error.strerror}",
            "give a file of `toolchain compress pack`",
        ) from error
    try:
        return from_bytes(content, most_bytes)
    except UnsupportedError as error:
        raise UnsupportedError(f"'{path}': {error.message}", error.hint) from error


def from_bytes(content: bytes, most_bytes: int = MOST_BYTES) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of the content of a packed file; see `read_packed`."""
    if content[: len(MAGIC)] != MAGIC:
        raise UnsupportedError("this is no packed file", "give a file of `toolchain compress pack`")
    if len(content) < FRONT.size + CHECKSUM:
        raise UnsupportedError("the file is cut off", HINT)
    _, version, size = FRONT.unpack_from(content)
    if version != VERSION:
        raise UnsupportedError(
            f"the packed file has version {version}, not {VERSION}",
            "unpack it with the toolchain that wrote it",
        )
    body = memoryview(content)[:-CHECKSUM]
    if hashlib.sha256(body).digest() != content[-CHECKSUM:]:
        raise UnsupportedError("the checksum is wrong: the file is damaged or cut off", HINT)
    header = _header(bytes(body[FRONT.size : FRONT.size + size]), size)
    claimed = sum(entry.unpacked_bytes for entry in header.tensors)
    if claimed > most_bytes:
        raise UnsupportedError(
            f"the packed file claims {claimed:,} bytes of tensors; {most_bytes:,} is the most", HINT
        )
    return header, _tensors(header, body[FRONT.size + size :])


def _tensors(header: Header, payload: memoryview) -> dict[str, Tensor]:
    if sum(entry.bytes for entry in header.tensors) != len(payload):
        raise UnsupportedError("the header and the size of the file disagree", HINT)
    state = {}
    start = 0
    for entry in header.tensors:
        data = payload[start : start + entry.bytes]
        start += entry.bytes
        types = DTYPES[entry.dtype], DTYPES[entry.stored]
        try:
            state[entry.name] = decode_tensor(entry.coding, data, entry.shape, *types, entry.entries)
        except UnsupportedError as error:
            raise UnsupportedError(f"tensor '{entry.name}' is damaged: {error.message}", HINT) from error
    return state


def _header(data: bytes, size: int) -> Header:
    if len(data) != size:
        raise UnsupportedError("the header is longer than the file", HINT)
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(data, MOST_HEADER)
        if not inflater.eof or inflater.unused_data:
            raise ValueError(f"it is cut off, or longer than {MOST_HEADER:,} bytes")
        return _parsed(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
        raise UnsupportedError(f"the header cannot be read: {_line(error)}", HINT) from error


def _line(error: Exception) -> str:
    """Type and start of the text of an error, whatever a damaged header has put into it."""
    return f"{type(error).__name__}: {error}"[:200].replace("\n", " ")


def _parsed(raw: Any) -> Header:
    # Texts that no file can hold, such as half of a surrogate pair, fail here.
    json.dumps(raw, ensure_ascii=False).encode()
    tensors = tuple(_entry(item) for item in raw["tensors"])
    names = [entry.name for entry in tensors]
    _require(len(set(names)) == len(names), "two tensors have one name")
    metadata, card = raw["metadata"], raw["card"]
    _require(isinstance(metadata, dict), "metadata is no object")
    _require(all(isinstance(value, str) for value in metadata.values()), "metadata is no text")
    _require(card is None or isinstance(card, dict), "card is no object")
    _require(isinstance(raw["network"], str) and isinstance(raw["source"], str), "a name is no text")
    return Header(raw["network"], raw["source"], metadata, card, tensors)


def _entry(raw: dict[str, Any]) -> TensorEntry:
    entry = TensorEntry(**{**raw, "shape": tuple(raw["shape"])})
    _require(isinstance(entry.name, str) and entry.name != METADATA, "the name of a tensor is none")
    numbers = (*entry.shape, entry.bits, entry.entries, entry.bytes)
    sizes = all(type(number) is int and 0 <= number <= MOST_BYTES for number in numbers)
    _require(sizes, "a size is no size")
    _require(math.prod(max(axis, 1) for axis in entry.shape) <= MOST_BYTES, "a shape is too large")
    _require(len(entry.shape) <= MOST_AXES, f"a tensor of {len(entry.shape)} axes")
    _require(entry.dtype in DTYPES and entry.stored in DTYPES, "a type is not known")
    _require(entry.coding in CODINGS, "a coding is not known")
    shared = entry.coding != RAW
    _require(shared == (0 < entry.entries <= MOST_ENTRIES), f"a table of {entry.entries} entries")
    _require(entry.dtype == entry.stored or _may_be_rounded(entry), "a type does not fit the numbers")
    _require(not shared or DTYPES[entry.stored] in SHARED, "shared weights are no floating-point numbers")
    return entry


def _may_be_rounded(entry: TensorEntry) -> bool:
    return DTYPES[entry.stored] == torch.float16 and DTYPES[entry.dtype] in (torch.float32, torch.float64)


def _require(fine: bool, problem: str) -> None:
    if not fine:
        raise ValueError(problem)
