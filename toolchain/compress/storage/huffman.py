"""Canonical Huffman codes, decoded many blocks at a time.

A section of a packed file, numbers in little-endian order:

    count      uint32                    symbols
    alphabet   uint32                    entries of the next table
    lengths    uint8  x alphabet         bits of each symbol's code, 0 for a symbol that does not occur
    blocks     uint16 x ceil(count/1024) bits of each block of 1024 symbols
    bits       the codes one after another, the first in the high bits; the rest of the last byte is 0

Codes are canonical: numbered in the order of (length, symbol). They are at most 16 bits long, so that one
table decodes a whole code; every symbol takes a bit at least, so that no small file stands for a large one.
Where each block starts is known, so that all of them are decoded side by side.

Sources: Huffman (1952); Larmore and Hirschberg, A fast algorithm for optimal length-limited Huffman codes
(package-merge, 1990).
"""

from __future__ import annotations

import struct

import numpy as np

from toolchain.errors import UnsupportedError

BLOCK = 1024
LONGEST = 16
MOST_SYMBOLS = 1 << LONGEST
HEAD = struct.Struct("<II")
# Symbols that are encoded at once; bounds the memory that it takes.
SLAB = 1 << 20
HINT = "copy the file again, or pack the weights again"


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Bits of each symbol's code: the shortest total of all prefix codes of at most 16 bits.

    Args:
        counts: (alphabet,) how often each symbol occurs, at most 65,536 of them more than 0.

    Returns:
        (alphabet,) uint8; 0 where the count is 0; a single symbol gets one bit.
    """
    lengths = np.zeros(len(counts), np.uint8)
    used = np.flatnonzero(counts)
    if len(used) <= 1:
        lengths[used] = 1
        return lengths
    order = used[np.argsort(counts[used], kind="stable")]
    leaves = counts[order].astype(np.int64)
    # Level by level, the leaves are merged with pairs of the level below; is_leaf tells them apart.
    levels: list[np.ndarray] = []
    row = leaves
    is_leaf = np.ones(len(leaves), bool)
    for _ in range(LONGEST - 1):
        levels.append(is_leaf)
        pairs = row[: len(row) // 2 * 2].reshape(-1, 2).sum(1)
        merged = np.concatenate([leaves, pairs])
        place = np.argsort(merged, kind="stable")
        row, is_leaf = merged[place], place < len(leaves)
    levels.append(is_leaf)
    taken = 2 * len(leaves) - 2
    depths = np.zeros(len(leaves), np.uint8)
    for is_leaf in reversed(levels):
        chosen = int(is_leaf[:taken].sum())
        depths[:chosen] += 1
        taken = 2 * (taken - chosen)
    lengths[order] = depths
    return lengths


def encode(symbols: np.ndarray) -> bytes:
    """A section with these symbols.

    Args:
        symbols: (n,) integers from 0 to 65,535, fewer than 2 ** 32.
    """
    counts = np.bincount(symbols) if len(symbols) else np.zeros(0, np.int64)
    lengths = code_lengths(counts)
    sizes = lengths[symbols]
    starts = np.arange(0, len(symbols), BLOCK)
    blocks = np.add.reduceat(sizes, starts, dtype=np.int64) if len(symbols) else sizes
    bits = _bits(symbols, lengths, int(blocks.sum()))
    return b"".join(
        [HEAD.pack(len(symbols), len(lengths)), lengths.tobytes(), blocks.astype("<u2").tobytes(), bits]
    )


def decode(section: memoryview, most: int) -> tuple[np.ndarray, int]:
    """Symbols of the section at the start of `section`, and how many bytes it takes.

    Args:
        section: bytes that nobody vouches for.
        most: largest number of symbols that makes sense; more are refused before memory is taken for them.

    Returns:
        (symbols, bytes): uint16 (n,) and the length of the section.

    Raises:
        UnsupportedError: it is damaged.
    """
    if len(section) < HEAD.size:
        raise _damaged("a section is cut off")
    count, alphabet = HEAD.unpack_from(section)
    if count > most or alphabet > MOST_SYMBOLS or bool(count) != bool(alphabet):
        raise _damaged(f"a section claims {count:,} symbols out of {alphabet:,}")
    start = HEAD.size + alphabet
    block_count = -(-count // BLOCK)
    first_bit = start + 2 * block_count
    if first_bit > len(section):
        raise _damaged("a section is cut off")
    lengths = np.frombuffer(section[HEAD.size : start], np.uint8)
    blocks = np.frombuffer(section[start:first_bit], "<u2").astype(np.int64)
    total = int(blocks.sum())
    size = first_bit + -(-total // 8)
    if size > len(section) or total < count:
        raise _damaged("a section is cut off")
    if not count:
        return np.zeros(0, np.uint16), size
    stream = np.frombuffer(section[first_bit:size], np.uint8)
    if total % 8 and stream[-1] & (0xFF >> total % 8):
        raise _damaged("a section ends in bits of no meaning")
    return _decoded(stream, blocks, count, *_table(lengths)), size


def _canonical(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Used symbols in the order of their codes, and each one's code with its first bit in bit 15."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    shares = np.left_shift(1, LONGEST - lengths[order].astype(np.int64))
    return order, np.cumsum(shares) - shares


def _table(lengths: np.ndarray) -> tuple[np.ndarray, int]:
    """(symbol * 32 + length per key, bits of a key); a length of 0 is no code.

    Raises:
        UnsupportedError: the lengths belong to no complete prefix code.
    """
    if lengths.max() > LONGEST:
        raise _damaged(f"a code of {lengths.max()} bits; {LONGEST} is the most")
    order, _codes = _canonical(lengths)
    longest = int(lengths.max())
    repeats = np.left_shift(1, longest - lengths[order].astype(np.int64))
    filled = int(repeats.sum())
    single = len(order) == 1 and longest == 1
    if not longest or (filled != 1 << longest and not single):
        raise _damaged("the lengths of the codes belong to no prefix code")
    table = np.zeros(1 << longest, np.int32)
    table[:filled] = np.repeat(order.astype(np.int32) * 32 + lengths[order], repeats)
    return table, longest


def _decoded(stream: np.ndarray, blocks: np.ndarray, count: int, table: np.ndarray, width: int) -> np.ndarray:
    # A damaged block may run on past its end, but by no more than its longest codes.
    padded = np.concatenate([stream, np.zeros(BLOCK * LONGEST // 8 + 4, np.uint8)]).astype(np.uint32)
    windows = (padded[:-2] << 16) | (padded[1:-1] << 8) | padded[2:]
    ends = np.cumsum(blocks)
    position = ends - blocks
    found = np.empty((BLOCK, len(blocks)), np.uint16)
    last = count - (len(blocks) - 1) * BLOCK
    key_mask = (1 << width) - 1
    whole = len(blocks)
    broken = False
    for step in range(min(BLOCK, count)):
        if step == last:
            whole -= 1
        here = position[:whole]
        window = windows[here >> 3] >> (24 - width - (here & 7)).astype(np.uint32)
        entry = table[window & key_mask]
        length = entry & 31
        broken = broken or not length.all()
        found[step, :whole] = entry >> 5
        here += length
    if broken or not np.array_equal(position, ends):
        raise _damaged("a block of codes does not end where the next begins")
    return found.T.reshape(-1)[:count]


def _bits(symbols: np.ndarray, lengths: np.ndarray, total: int) -> bytes:
    order, codes = _canonical(lengths)
    aligned = np.zeros(len(lengths), np.uint64)
    # The code in the high bits of 64.
    aligned[order] = codes.astype(np.uint64) << np.uint64(64 - LONGEST)
    words = np.zeros(total // 32 + 2, np.uint32)
    position = 0
    for start in range(0, len(symbols), SLAB):
        part = symbols[start : start + SLAB]
        sizes = lengths[part].astype(np.int64)
        ends = position + np.cumsum(sizes)
        begins = ends - sizes
        shifted = aligned[part] >> (begins & 31).astype(np.uint64)
        place = begins >> 5
        first = int(place[0])
        # Codes share no bit, so that a sum is an "or"; sums below 2 ** 53 are exact in float64.
        for offset, half in ((0, shifted >> np.uint64(32)), (1, shifted & np.uint64(0xFFFFFFFF))):
            sums = np.bincount(place - first, weights=half.astype(np.float64)).astype(np.uint32)
            words[first + offset : first + offset + len(sums)] += sums
        position = int(ends[-1])
    return words.astype(">u4").tobytes()[: -(-total // 8)]


def _damaged(what: str) -> UnsupportedError:
    return UnsupportedError(f"the packed weights are damaged: {what}", HINT)
