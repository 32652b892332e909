"""Huffman codes: any symbols come back, as few bits as theory allows, and damage is told."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from toolchain.compress.storage.huffman import BLOCK, HEAD, LONGEST, code_lengths, decode, encode
from toolchain.errors import UnsupportedError


def round_trip(symbols: np.ndarray) -> bytes:
    section = encode(symbols)
    found, size = decode(memoryview(section + b"rest"), len(symbols))
    assert size == len(section)
    assert np.array_equal(found, symbols)
    return section


def plain_huffman_bits(counts: list[int]) -> int:
    """Bits that Huffman codes of any length take: the sum of all inner nodes."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 65535)), max_size=300), st.integers(1, 40))
@example([], 1)
@example([65535], 1)
@example([7], 3 * BLOCK)
@example([0, 1], BLOCK // 2)
@example([0, 1, 2], 2049)
def test_symbols_come_back(symbols: list[int], repeats: int) -> None:
    round_trip(np.array(symbols * repeats, np.int64))


@pytest.mark.parametrize(
    "symbols",
    [
        np.arange(1 << 16),
        np.random.default_rng(0).integers(0, 1 << 16, 300_000),
        np.minimum(np.random.default_rng(1).geometric(0.95, 50_000), 255),
        np.repeat(np.arange(30), [1 << min(i, 17) for i in range(30)]),
    ],
    ids=["every-symbol-once", "uniform", "skewed", "longer-than-16-bits"],
)
def test_large_alphabets_and_skewed_counts_come_back(symbols: np.ndarray) -> None:
    round_trip(symbols)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=2, max_size=60))
def test_codes_are_as_short_as_huffman_codes(counts: list[int]) -> None:
    """Counts this even need no code beyond 16 bits, so that the limit costs nothing."""
    lengths = code_lengths(np.array(counts))
    used = [count for count in counts if count]
    if len(used) > 1:
        assert int((lengths * np.array(counts)).sum()) == plain_huffman_bits(counts)
        assert sum(2.0 ** -int(length) for length in lengths if length) == 1
    assert [bool(length) for length in lengths] == [bool(count) for count in counts]


def test_limited_codes_are_complete_and_near_the_entropy() -> None:
    counts = np.array([1 << i for i in range(40)])
    lengths = code_lengths(counts)
    assert lengths.max() == LONGEST
    assert sum(2.0 ** -int(length) for length in lengths) == 1
    assert (lengths * counts).sum() < plain_huffman_bits(list(counts)) * 1.001


def section_of(lengths: list[int], blocks: list[int], bits: bytes, count: int) -> bytes:
    table = np.array(lengths, np.uint8).tobytes() + np.array(blocks, "<u2").tobytes()
    return HEAD.pack(count, len(lengths)) + table + bits


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (b"\0\0\0", "cut off"),
        (HEAD.pack(1 << 31, 4), "claims"),
        (HEAD.pack(9, 1 << 30), "claims"),
        (HEAD.pack(9, 0), "claims"),
        (HEAD.pack(9, 4) + b"\1\1", "cut off"),
        (section_of([1, 1], [80], b"\0", 9), "cut off"),
        (section_of([1, 1], [3], b"\0", 9), "cut off"),
        (section_of([1, 1, 1], [9], b"\0\0", 9), "no prefix code"),
        (section_of([1, 2], [9], b"\0\0", 9), "no prefix code"),
        (section_of([2], [18], b"\0\0\0", 9), "no prefix code"),
        (section_of([0, 0], [9], b"\0\0", 9), "no prefix code"),
        (section_of([1, 200], [9], b"\0\0", 9), "200 bits"),
        (section_of([1], [9], b"\x80\0", 9), "does not end"),
        (section_of([1, 2, 2], [9], b"\xff\x80", 9), "does not end"),
        (section_of([1, 1], [9], b"\0\1", 9), "no meaning"),
    ],
)
def test_damage_is_told(section: bytes, problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        decode(memoryview(section), 1000)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(1, 3000))
def test_no_bytes_make_it_fail_in_another_way(noise: bytes, count: int) -> None:
    try:
        found, _ = decode(memoryview(HEAD.pack(count, 2) + b"\1\1" + noise), 3000)
    except UnsupportedError:
        return
    assert len(found) == count
