"""Bytes of picture files to arrays, with a limit on what they may unpack to.

The size is read from the header before anything is decoded: a file of a few bytes can name a picture of
gigabytes.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import UnsupportedError

# More than phone cameras take in one picture, and 150 MB when decoded.
MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 64 * 2**20

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")

_PNG = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3
# Start-of-frame markers of JPEG: C0 to CF without C4 (Huffman tables), C8 (reserved), CC (arithmetic coding).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone, without a length: TEM, RST0 to RST7, SOI.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def file_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises:
        UnsupportedError: it cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UnsupportedError(f"'{path}' is larger than {MAX_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise UnsupportedError(f"'{path}' cannot be read: {error.strerror}") from error


def decode_picture(data: bytes, where: str) -> np.ndarray:
    """A JPEG or PNG file as (height, width, 3) RGB uint8, turned as its EXIF orientation says.

    Args:
        data: the file.
        where: its name, for messages.

    Raises:
        UnsupportedError: it is no whole JPEG or PNG file, or has more than `MAX_PIXELS` pixels.
    """
    _check_size(data, where)
    return cv2.cvtColor(_decode(data, cv2.IMREAD_COLOR, where), cv2.COLOR_BGR2RGB)


def decode_index_map(data: bytes, where: str) -> np.ndarray:
    """The indices of a PNG file as (height, width) uint8.

    Grayscale values count as indices; so do the indices of a palette, whatever its colours are. A colour
    file is read where its three channels agree.

    Raises:
        UnsupportedError: it is no whole PNG file, has 16 bits or colours, or more than `MAX_PIXELS` pixels.
    """
    if not data.startswith(_PNG):
        raise UnsupportedError(f"label map {where} is not a PNG file", "JPEG changes indices: save as PNG")
    _check_size(data, where)
    depth, kind = data[24], data[25]
    if depth == 16:
        raise UnsupportedError(f"label map {where} has 16 bits", "save it with 8 bits")
    if kind == _PALETTE:
        data = _palette_as_gray(data, where)
        kind = _GRAY
    decoded = _decode(data, cv2.IMREAD_UNCHANGED, where)
    if kind == _GRAY:
        # Fewer bits than 8 are stretched to 0-255 by the decoder.
        return decoded if depth == 8 else decoded // np.uint8(255 // (2**depth - 1))
    plane = decoded[..., 0]
    if (decoded[..., 1:3] != plane[..., None]).any():
        raise UnsupportedError(f"label map {where} has colours", "save indices: 8-bit grayscale or palette")
    return np.ascontiguousarray(plane)


def _decode(data: bytes, mode: int, where: str) -> np.ndarray:
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise UnsupportedError(f"{where} is damaged: {error}") from error
    if decoded is None:
        raise UnsupportedError(f"{where} is not a picture, or damaged")
    return decoded


def _check_size(data: bytes, where: str) -> None:
    if data.startswith(_PNG):
        width, height = _png_size(data, where)
    elif data.startswith(b"\xff\xd8"):
        width, height = _jpeg_size(data, where)
    else:
        raise UnsupportedError(f"{where} is not a picture", "JPEG and PNG files are read")
    if width * height > MAX_PIXELS:
        raise UnsupportedError(
            f"{where} has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million", "scale it down"
        )


def _png_size(data: bytes, where: str) -> tuple[int, int]:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise UnsupportedError(f"{where} is a damaged PNG file")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _jpeg_size(data: bytes, where: str) -> tuple[int, int]:
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        if marker in _FRAMES:
            # Some decoders fill a cut file up with gray: a whole one has an end after its frame. An end
            # before it belongs to a thumbnail.
            if data.rfind(b"\xff\xd9") < at:
                raise UnsupportedError(f"{where} is not whole: the end of the JPEG file is missing")
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise UnsupportedError(f"{where} is a damaged JPEG file")


def _palette_as_gray(data: bytes, where: str) -> bytes:
    """The same PNG file with its palette taken away, so that the indices become gray values."""
    parts = [_PNG]
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if name == b"IHDR":
            if zlib.crc32(name + body) != int.from_bytes(data[at + 8 + length : at + 12 + length], "big"):
                raise UnsupportedError(f"{where} is a damaged PNG file")
            body = body[:9] + bytes([_GRAY]) + body[10:]
            parts.append(_chunk(name, body))
        elif name in (b"IDAT", b"IEND"):
            # As it is, checksum included: damage must stay damage.
            parts.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
