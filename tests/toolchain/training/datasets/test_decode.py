"""Pictures and index maps from bytes: every PNG kind against Pillow, and what must be refused."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from toolchain.errors import UnsupportedError
from toolchain.training.datasets import decode
from toolchain.training.datasets.decode import decode_index_map, decode_picture, file_bytes


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def named_size(width: int, height: int) -> bytes:
    """A PNG file of a few bytes whose header names a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = b"IHDR" + header
    chunk = struct.pack(">I", len(header)) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0" * 32


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from([1, 2, 4, 8]),
    shape=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    seed=st.integers(0, 1000),
    transparent=st.booleans(),
)
def test_palette_maps_give_their_indices_whatever_the_colours(bits, shape, seed, transparent) -> None:
    random = np.random.default_rng(seed)
    indices = random.integers(0, 2**bits, shape, dtype=np.uint8)
    image = Image.frombytes("P", shape[::-1], indices.tobytes())
    image.putpalette(random.integers(0, 256, 3 * 2**bits, dtype=np.uint8).tobytes())
    options = {"transparency": 0} if transparent else {}
    data = encoded(image, bits=bits, **options)
    assert data[24] == bits
    np.testing.assert_array_equal(decode_index_map(data, "'m'"), indices)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_gray_maps_and_colour_files_with_equal_channels(mode: str) -> None:
    indices = np.arange(64, dtype=np.uint8).reshape(8, 8)
    data = encoded(Image.fromarray(indices).convert(mode))
    np.testing.assert_array_equal(decode_index_map(data, "'m'"), indices)


def test_one_bit_gray_map() -> None:
    indices = np.eye(9, dtype=np.uint8)
    data = encoded(Image.fromarray(indices * 255).convert("1"))
    np.testing.assert_array_equal(decode_index_map(data, "'m'"), indices)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))), "has colours"),
        (cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes(), "16 bits"),
        (encoded(Image.new("L", (8, 8)), "JPEG"), "not a PNG"),
        (b"", "not a PNG"),
    ],
)
def test_what_is_no_index_map(data: bytes, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        decode_index_map(data, "'face7.png'")
    assert "face7" in caught.value.message


def test_huge_pictures_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(UnsupportedError, match="60000 x 60000 pixels, more than 50 million"):
        decode_picture(named_size(60000, 60000), "'bomb'")
    with pytest.raises(UnsupportedError, match="bomb"):
        decode_index_map(named_size(60000, 60000), "'bomb'")
    jpeg = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(UnsupportedError, match="65000 x 65000"):
        decode_picture(bytes(jpeg), "'bomb'")


def test_huge_files_are_refused_before_they_are_read(tmp_path, monkeypatch) -> None:
    (tmp_path / "large.png").write_bytes(bytes(11))
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 10)
    with pytest.raises(UnsupportedError, match=r"large\.png"):
        file_bytes(tmp_path / "large.png")


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG"]), share=st.floats(0, 0.999), seed=st.integers(0, 50))
def test_cut_files_are_refused(kind: str, share: float, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(picture), kind)
    # PNG is whole once its last pixel is there: the final chunk of 12 bytes is empty.
    with pytest.raises(UnsupportedError, match="cut7"):
        decode_picture(data[: int(share * (len(data) - 16))], "'cut7'")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_no_bytes_crash_the_decoder(data: bytes, start: bytes) -> None:
    for read in (decode_picture, decode_index_map):
        with pytest.raises(UnsupportedError, match="'x'"):
            read(start + data, "'x'")


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10**6), value=st.integers(1, 255), bits=st.sampled_from([4, 8]))
def test_a_changed_byte_in_an_index_map_never_changes_an_index(at: int, value: int, bits: int) -> None:
    indices = np.random.default_rng(0).integers(0, 16, (12, 12), dtype=np.uint8)
    image = Image.frombytes("P", (12, 12), indices.tobytes())
    image.putpalette(list(range(48)))
    data = bytearray(encoded(image, bits=bits))
    data[at % len(data)] ^= value
    try:
        decoded = decode_index_map(bytes(data), "'m'")
    except UnsupportedError:
        return
    np.testing.assert_array_equal(decoded, indices)


def test_pictures_are_turned_as_exif_says() -> None:
    picture = np.zeros((40, 20, 3), np.uint8)
    picture[:10] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_picture(encoded(Image.fromarray(picture), "JPEG", exif=exif, quality=95), "'p'")
    assert turned.shape == (20, 40, 3)
    assert turned[10, 37, 0] > 200
    assert turned[10, 3, 0] < 50
