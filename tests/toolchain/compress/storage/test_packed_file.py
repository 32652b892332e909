"""A packed file that nobody vouches for: one clear error, or exactly what was packed."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from toolchain.compress.storage.pack import pack
from toolchain.compress.storage.packed_file import (
    CHECKSUM,
    FRONT,
    MAGIC,
    MOST_HEADER,
    VERSION,
    from_bytes,
    read_packed,
)
from toolchain.errors import UnsupportedError


@cache
def sample() -> bytes:
    """A packed file with a raw, a dense and a sparse tensor."""
    generator = torch.Generator().manual_seed(0)
    sparse = torch.randn(60, 60, generator=generator)
    sparse[sparse.abs() < 2.5] = 0
    state = {
        "dense.weight": torch.randn(4, 3, 5, 5, generator=generator),
        "sparse.weight": sparse,
        "bias": torch.randn(20, generator=generator),
        "count": torch.tensor(7),
    }
    with TemporaryDirectory() as name:
        source = Path(name) / "w.safetensors"
        save_file(state, source, metadata={"terms": "none"})
        pack(source, Path(name) / "w.packed", {"conv": 4, "linear": 3})
        return (Path(name) / "w.packed").read_bytes()


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload."""
    size = FRONT.unpack_from(content)[2]
    header = json.loads(zlib.decompress(content[FRONT.size : FRONT.size + size]))
    return header, content[FRONT.size + size : -CHECKSUM]


def signed(front: bytes, payload: bytes, version: int = VERSION, size: int | None = None) -> bytes:
    """A file with a checksum that fits."""
    content = FRONT.pack(MAGIC, version, len(front) if size is None else size) + front + payload
    return content + hashlib.sha256(content).digest()


def with_header(change: Callable[[dict[str, Any]], object]) -> bytes:
    header, payload = parts(sample())
    change(header)
    return signed(zlib.compress(json.dumps(header).encode()), payload)


def require_exact(state: dict[str, Tensor]) -> None:
    wanted = from_bytes(sample())[1]
    assert state.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor)


def test_all_codings_are_in_the_sample() -> None:
    assert [tensor["coding"] for tensor in parts(sample())[0]["tensors"]] == ["raw", "raw", "dense", "sparse"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_told(changes: list[tuple[int, int]]) -> None:
    content = bytearray(sample())
    for place, value in changes:
        content[place % len(content)] = value
    try:
        state = from_bytes(bytes(content))[1]
    except UnsupportedError:
        return
    assert bytes(content) == sample()
    require_exact(state)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 20))
def test_cut_files_are_told(length: int) -> None:
    with pytest.raises(UnsupportedError):
        from_bytes(sample()[: length % len(sample())])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_payload_with_a_forged_checksum_never_fails_in_another_way(changes: list[tuple[int, int]]) -> None:
    """What decodes has the shapes of the header; the numbers are those that the forger wanted."""
    header, payload = parts(sample())
    forged = bytearray(payload)
    for place, value in changes:
        forged[place % len(forged)] = value
    try:
        state = from_bytes(signed(zlib.compress(json.dumps(header).encode()), bytes(forged)))[1]
    except UnsupportedError:
        return
    assert {name: list(tensor.shape) for name, tensor in state.items()} == {
        tensor["name"]: tensor["shape"] for tensor in header["tensors"]
    }


VALUES = st.one_of(
    st.integers(-2, 1 << 70),
    st.sampled_from(["", "dense", "sparse", "raw", "float32", "int64", "\ud800", "__metadata__", None]),
    st.lists(st.integers(-1, 1 << 34), max_size=40),
    st.floats(),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 3),
    st.sampled_from(["name", "shape", "dtype", "stored", "coding", "bits", "entries", "bytes", "more"]),
    VALUES,
)
def test_a_header_that_lies_never_fails_in_another_way(index: int, key: str, value: Any) -> None:
    content = with_header(lambda header: header["tensors"][index].__setitem__(key, value))
    tracemalloc.start()
    try:
        from_bytes(content)
    except UnsupportedError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50 << 20


def _tensor(header: dict[str, Any], name: str) -> dict[str, Any]:
    return next(tensor for tensor in header["tensors"] if tensor["name"] == name)


def _set(tensor: str, **values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda header: _tensor(header, tensor).update(values)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda header: header.pop("tensors"), "header"),
        (lambda header: header.update(tensors=5), "header"),
        (lambda header: header.update(metadata={"a": 1}), "metadata is no text"),
        (lambda header: header.update(metadata=[]), "metadata is no object"),
        (lambda header: header.update(card=[1]), "card is no object"),
        (lambda header: header.update(network=3), "name is no text"),
        (lambda header: header["tensors"].append(header["tensors"][0]), "one name"),
        (_set("bias", name="__metadata__"), "name"),
        (_set("bias", shape=[1 << 31, 1 << 31]), "too large"),
        (_set("bias", shape=[0, 1 << 32, 1 << 32]), "too large"),
        (_set("bias", shape=[1] * 60), "60 axes"),
        (_set("bias", shape=[21]), "'bias' is damaged"),
        (_set("bias", dtype="int64"), "type"),
        (_set("bias", dtype="complex128"), "type is not known"),
        (_set("bias", bytes=81), "disagree"),
        (_set("bias", shape=[True]), "no size"),
        (_set("dense.weight", shape=[4, 3, 5, 6]), r"'dense\.weight' is damaged: 300 weights"),
        (_set("dense.weight", shape=[1 << 28]), "'dense.weight' is damaged"),
        (_set("dense.weight", shape=[1 << 29, 2]), "claims"),
        (_set("dense.weight", entries=15), r"'dense\.weight' is damaged"),
        (_set("dense.weight", entries=300), "300 entries"),
        (_set("dense.weight", coding="sparse"), r"'dense\.weight' is damaged: it has gaps, and no zero"),
        (_set("sparse.weight", coding="dense"), r"'sparse\.weight' is damaged"),
        (_set("sparse.weight", shape=[60, 61]), "do not make 3,660 weights"),
        (_set("sparse.weight", coding="zip"), "coding is not known"),
    ],
)
def test_each_lie_has_its_error(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        from_bytes(with_header(change), most_bytes=3 << 29)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no packed file"),
        (b"PK\3\4" * 40, "no packed file"),
        (MAGIC + b"\1", "cut off"),
        (signed(b"", b"", version=2), "version 2, not 1"),
        (signed(b"", b""), "cannot be read"),
        (signed(b"nonsense", b""), "cannot be read"),
        (signed(zlib.compress(b"[" * 100_000), b""), "cannot be read"),
        (signed(zlib.compress(b'{"tensors": ' + b"9" * 10_000 + b"}"), b""), "cannot be read"),
        (signed(zlib.compress(b"\xff\xfe"), b""), "cannot be read"),
        (signed(zlib.compress(b" " * (MOST_HEADER + 9)), b""), "longer than"),
        (signed(zlib.compress(b"{}"), b"", size=1 << 31), "longer than the file"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "file",
)
def test_what_is_no_packed_file_of_this_version(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.packed"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match=rf"odd\.packed': .*{problem}"):
        read_packed(path)


def test_a_claim_beyond_the_limit_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(UnsupportedError, match="claims"):
        from_bytes(sample(), most_bytes=1000)
