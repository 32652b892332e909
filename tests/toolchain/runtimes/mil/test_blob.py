"""Weight files, written by coremltools' own writer and by hand."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.blob import ELEMENTS, BlobFile, unpack

GENERATOR = np.random.default_rng(37)
COUNT = 21
WRITTEN = {
    "float": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
    "uint8": np.dtype(np.uint8),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "uint16": np.dtype(np.uint16),
    "int32": np.dtype(np.int32),
    "uint32": np.dtype(np.uint32),
}
BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}
BY_HAND = {5: ml_dtypes.bfloat16, 16: ml_dtypes.float8_e4m3fn, 17: ml_dtypes.float8_e5m2}
"""Element types that coremltools' writer does not have."""


def _values(name: str) -> np.ndarray:
    if name in BITS:
        low = -(2 ** (BITS[name] - 1)) if name[0] == "i" else 0
        values = GENERATOR.integers(low, low + 2 ** BITS[name], COUNT)
        return values.astype(np.int8 if name[0] == "i" else np.uint8)
    dtype = WRITTEN[name]
    if dtype.kind == "f":
        return GENERATOR.normal(size=COUNT).astype(dtype)
    limits = np.iinfo(dtype)
    return GENERATOR.integers(limits.min, limits.max, COUNT, dtype, endpoint=True)


def _writer(path: Path, coremltools: Any) -> Any:
    from coremltools.libmilstoragepython import _BlobStorageWriter

    return _BlobStorageWriter(str(path))


def test_all_element_types_of_one_file(coremltools: Any, tmp_path: Path) -> None:
    path = tmp_path / "weight.bin"
    writer = _writer(path, coremltools)
    kept = {}
    for name in [*WRITTEN, *BITS]:
        values = _values(name)
        raw = values.view(np.uint16) if name == "fp16" else values
        kept[name] = (values, getattr(writer, f"write_{name}_data")(raw))
    del writer
    file = BlobFile.open(path)
    for name, (values, offset) in kept.items():
        got = file.read(offset, COUNT)
        assert got.dtype == values.dtype, name
        np.testing.assert_array_equal(got, values, err_msg=name)
    kinds = {struct.unpack_from("<I", path.read_bytes(), offset + 4)[0] for _, offset in kept.values()}
    assert kinds == set(ELEMENTS) - set(BY_HAND)


def _file(path: Path, kind: int = 2, data: bytes = bytes(12), **changed: int) -> BlobFile:
    """One entry, written by hand; any field may be wrong."""
    fields = {"version": 2, "sentinel": 0xDEADBEEF, "size": len(data), "start": 128, "padding": 0} | changed
    header = struct.pack("<II", 1, fields["version"]).ljust(64, b"\0")
    entry = struct.pack(
        "<IIQQQ", fields["sentinel"], kind, fields["size"], fields["start"], fields["padding"]
    )
    path.write_bytes(header + entry.ljust(64, b"\0") + data)
    return BlobFile.open(path)


@pytest.mark.parametrize("kind", list(BY_HAND))
def test_types_that_coremltools_does_not_write(tmp_path: Path, kind: int) -> None:
    values = GENERATOR.normal(size=COUNT).astype(BY_HAND[kind])
    got = _file(tmp_path / "weight.bin", kind, values.tobytes()).read(64, COUNT)
    np.testing.assert_array_equal(got.astype(np.float32), values.astype(np.float32))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": 1}, "storage version 1"),
        ({"sentinel": 0xDEADBEE0}, "mark of an entry"),
        ({"kind": 0}, "unknown element type 0"),
        ({"kind": 99}, "unknown element type 99"),
        ({"kind": 1}, "not 3 elements of 16 bits"),
        ({"size": 8}, "not 3 elements"),
        ({"size": 16}, "cut off"),
        ({"size": 2**63}, "cut off"),
        ({"start": 2**40}, "cut off"),
        ({"padding": 8}, "not 3 elements"),
        ({"padding": 8, "size": 13, "data": bytes(13)}, "8 padding bits"),
        ({"kind": 8, "data": bytes(4), "padding": 20}, "20 padding bits"),
        ({"padding": 2**63}, "not 3 elements"),
    ],
)
def test_damaged_entries_are_refused(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        _file(tmp_path / "weight.bin", **changed).read(64, 3)


@pytest.mark.parametrize("offset", [0, 63, 192, 2**40, -64])
def test_offsets_outside_are_refused(tmp_path: Path, offset: int) -> None:
    with pytest.raises(UnsupportedError, match="lies outside"):
        _file(tmp_path / "weight.bin", data=bytes(40)).read(offset, 3)


@pytest.mark.parametrize("count", [0, 10, 63])
def test_a_file_without_header_is_refused(tmp_path: Path, count: int) -> None:
    path = tmp_path / "weight.bin"
    path.write_bytes(bytes(count))
    with pytest.raises(UnsupportedError, match=f"cut off after {count} bytes"):
        BlobFile.open(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot be read"):
        BlobFile.open(tmp_path / "weight.bin")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("blob") / "weight.bin"
    return bytes(_file(path).content)


@given(st.data())
def test_any_damage_gives_the_one_error(whole: bytes, data: st.DataObject) -> None:
    content = bytearray(whole[: data.draw(st.integers(64, len(whole)))])
    place = data.draw(st.integers(8, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    file = BlobFile(Path("weight.bin"), np.frombuffer(bytes(content), np.uint8))
    with contextlib.suppress(UnsupportedError):
        assert len(file.read(64, 3)) == 3


@given(st.integers(1, 6), st.lists(st.integers(0, 2**30), max_size=40))
def test_unpacking_takes_low_bits_first(bits: int, numbers: list[int]) -> None:
    values = [number % 2**bits for number in numbers]
    packed = sum(value << bits * place for place, value in enumerate(values))
    data = np.frombuffer(packed.to_bytes(-(-len(values) * bits // 8), "little"), np.uint8)
    np.testing.assert_array_equal(unpack(data, bits, len(values), np.dtype(np.uint8)), values)
    signed = [value - 2**bits if value >> (bits - 1) else value for value in values]
    np.testing.assert_array_equal(unpack(data, bits, len(values), np.dtype(np.int8)), signed)
