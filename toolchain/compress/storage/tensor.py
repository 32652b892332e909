"""One tensor of a packed file: as it is, or as codes of shared weights.

    raw     the numbers in little-endian order
    dense   the table of values, then one Huffman section with the entry of every weight
    sparse  the table of values, then two Huffman sections: the gaps, and the entry of every weight that is
            not zero. A gap of 0 to 254 is so many zeros and then one such weight; 255 is 255 zeros alone.

Whichever is smallest is taken. Source: Deep Compression (arXiv:1510.00149), figures 2 and 3; with Huffman
codes after it a dense layer with few zeros is often smaller than the paper's sparse one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from toolchain.compress.storage.clusters import Clusters
from toolchain.compress.storage.huffman import HINT, decode, encode
from toolchain.errors import UnsupportedError

RAW, DENSE, SPARSE = "raw", "dense", "sparse"
CODINGS = (RAW, DENSE, SPARSE)
MOST_ENTRIES = 256
# Zeros that one gap stands for at most, without a weight after them.
FILLER = 255
BITS_PER_BYTE = 8

DTYPES: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.complex64,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint64,
        torch.uint32,
        torch.uint16,
        torch.uint8,
        torch.bool,
    )
}
# Types of shared weights.
SHARED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def code_raw(tensor: Tensor) -> bytes:
    """The numbers of a tensor, little-endian."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def code_shared(clusters: Clusters) -> tuple[str, bytes]:
    """(coding, bytes) of shared weights, the smaller of dense and sparse."""
    table = code_raw(clusters.values)
    codes = clusters.codes.reshape(-1).numpy()
    coded = [(DENSE, table + encode(codes))]
    zeros = np.flatnonzero(clusters.values.double().numpy() == 0)
    if len(zeros):
        positions = np.flatnonzero(codes != zeros[0])
        gaps = _gaps(positions, len(codes))
        coded.append((SPARSE, table + encode(gaps) + encode(codes[positions])))
    return min(coded, key=lambda pair: len(pair[1]))


def decode_tensor(
    coding: str,
    data: memoryview,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    stored: torch.dtype,
    entries: int,
) -> Tensor:
    """The tensor that `data` stands for.

    Args:
        coding: one of CODINGS.
        data: all its bytes, which nobody vouches for.
        shape: of the tensor.
        dtype: of the tensor.
        stored: type of the numbers in the file.
        entries: size of the table, 0 for "raw".

    Raises:
        UnsupportedError: the bytes do not fit the rest.
    """
    size = math.prod(shape)
    if coding == RAW:
        if len(data) != size * stored.itemsize:
            raise _damaged(f"{len(data):,} bytes for {size:,} numbers")
        return _numbers(data, stored).to(dtype).reshape(shape)
    table_bytes = entries * stored.itemsize
    if table_bytes > len(data):
        raise _damaged("its table is cut off")
    values = _numbers(data[:table_bytes], stored)
    rest = data[table_bytes:]
    codes = _dense(rest, size) if coding == DENSE else _sparse(rest, size, values)
    if len(codes) and int(codes.max()) >= entries:
        raise _damaged(f"entry {codes.max()} of a table of {entries}")
    return values.to(dtype)[torch.from_numpy(codes.astype(np.int32))].reshape(shape)


def _numbers(data: memoryview, stored: torch.dtype) -> Tensor:
    if not len(data):
        return torch.empty(0, dtype=stored)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    if stored == torch.bool and bool((raw > 1).any()):
        raise _damaged("a truth value that is neither 0 nor 1")
    return raw.view(stored)


def _gaps(positions: np.ndarray, size: int) -> np.ndarray:
    """Gaps before each position, with fillers where they are long, and fillers for most of the end."""
    zeros = np.diff(np.append(positions, size), prepend=-1) - 1
    fillers = zeros // FILLER
    # A last weight that is zero has a gap like one that is not; the end then needs no rule of its own.
    ends = np.cumsum(fillers + 1)
    gaps = np.full(ends[-1], FILLER)
    gaps[ends - 1] = zeros - fillers * FILLER
    return gaps


def _dense(data: memoryview, size: int) -> np.ndarray:
    codes, used = decode(data, size)
    if len(codes) != size or used != len(data):
        raise _damaged(f"{len(codes):,} weights in {used:,} of {len(data):,} bytes instead of {size:,}")
    return codes


def _sparse(data: memoryview, size: int, values: Tensor) -> np.ndarray:
    zeros = np.flatnonzero(values.double().numpy() == 0)
    if not len(zeros):
        raise _damaged("it has gaps, and no zero in its table")
    gaps, used = decode(data, min(size + 1, BITS_PER_BYTE * len(data)))
    kept, more = decode(data[used:], size)
    if used + more != len(data) or (len(gaps) and int(gaps.max()) > FILLER):
        raise _damaged("its gaps do not end where they should")
    steps = gaps.astype(np.int64) + (gaps != FILLER)
    ends = np.cumsum(steps)[gaps != FILLER] - 1
    # The last gap ends one place behind the tensor.
    if int(steps.sum()) != size + 1 or not len(gaps) or gaps[-1] == FILLER or len(kept) != len(ends) - 1:
        raise _damaged(f"its gaps and weights do not make {size:,} weights")
    codes = np.full(size, zeros[0], np.uint16)
    codes[ends[:-1]] = kept
    return codes


def _damaged(what: str) -> UnsupportedError:
    return UnsupportedError(what, HINT)
