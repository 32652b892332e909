"""Picture files of every kind that a user may bring, and broken ones."""

from __future__ import annotations

import os
import struct

import cv2
import numpy as np
import pytest

from toolchain.errors import UsageError
from toolchain.face.picture import check_writable, read_picture, write_picture


@pytest.fixture
def picture(rng):
    """(24, 36, 3) smooth RGB."""
    small = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    return cv2.resize(small, (36, 24), interpolation=cv2.INTER_LINEAR)


def stored(path, array):
    """Write with OpenCV, colours in RGB order."""
    if array.ndim == 3:
        order = [2, 1, 0, 3][: array.shape[2]]
        array = array[:, :, order]
    assert cv2.imwrite(str(path), array)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_colours_come_in_the_order_rgb(tmp_path, picture, suffix):
    np.testing.assert_array_equal(read_picture(stored(tmp_path / f"p{suffix}", picture)), picture)


def test_grey_becomes_three_equal_channels(tmp_path, picture):
    read = read_picture(stored(tmp_path / "p.png", picture[:, :, 0]))
    np.testing.assert_array_equal(read, np.dstack([picture[:, :, 0]] * 3))


def test_transparency_is_dropped(tmp_path, picture):
    with_alpha = np.dstack([picture, picture[:, :, 0]])
    np.testing.assert_array_equal(read_picture(stored(tmp_path / "p.png", with_alpha)), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_the_upper_eight(tmp_path, rng, channels):
    deep = rng.integers(0, 65536, (24, 36, 3)).astype(np.uint16)
    read = read_picture(stored(tmp_path / "p.png", deep if channels == 3 else deep[:, :, 0]))
    expected = deep if channels == 3 else np.dstack([deep[:, :, 0]] * 3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, expected >> 8)


def exif(orientation: int) -> bytes:
    """An APP1 segment with nothing but the orientation tag (EXIF 2.3, 4.6.4)."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_the_orientation_of_a_photograph_is_applied(tmp_path, picture, orientation):
    plain = stored(tmp_path / "p.jpg", picture)
    lying = read_picture(plain)
    data = plain.read_bytes()
    plain.write_bytes(data[:2] + exif(orientation) + data[2:])
    np.testing.assert_array_equal(read_picture(plain), UPRIGHT[orientation](lying))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.9])
def test_a_picture_cut_off_is_refused(tmp_path, picture, suffix, share, capfd):
    path = stored(tmp_path / f"p{suffix}", np.kron(picture, np.ones((8, 8, 1), np.uint8)))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UsageError) as caught:
        read_picture(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_a_decoder_that_fills_what_is_missing_is_not_believed(tmp_path, picture, monkeypatch):
    """As older releases of OpenCV do: a whole picture comes back, and libjpeg complains on standard error."""

    def filled(*_):
        os.write(2, b"Premature end of JPEG file")
        return picture

    path = stored(tmp_path / "p.jpg", picture)
    monkeypatch.setattr(cv2, "imdecode", filled)
    with pytest.raises(UsageError, match="cut off"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(60)])
def test_what_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "p.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"p\.png"):
        read_picture(path)


def test_a_missing_picture_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(UsageError, match="Is a directory"):
        read_picture(tmp_path)


@pytest.mark.parametrize("name", ["out.png", "out.PNG", "out.bmp"])
def test_what_is_written_is_read_back(tmp_path, picture, name):
    target = tmp_path / name
    target.write_bytes(b"older")
    write_picture(target, picture)
    np.testing.assert_array_equal(read_picture(target), picture)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_jpeg_is_written_at_high_quality(tmp_path, photograph):
    write_picture(tmp_path / "out.jpg", photograph)
    difference = read_picture(tmp_path / "out.jpg").astype(float) - photograph
    assert 10 * np.log10(255**2 / np.square(difference).mean()) > 36


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out", "no suffix"),
        ("out.txt", "no suffix"),
        ("absent/out.png", "there is no folder"),
        ("folder.png", "is a folder"),
    ],
)
def test_paths_that_cannot_be_written_are_refused_before_any_work(tmp_path, picture, name, message):
    (tmp_path / "folder.png").mkdir()
    for attempt in (check_writable, lambda path: write_picture(path, picture)):
        with pytest.raises(UsageError, match=message) as caught:
            attempt(tmp_path / name)
        assert caught.value.hint


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, picture, monkeypatch):
    target = tmp_path / "out.png"
    target.write_bytes(b"older")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_picture(target, picture)
    assert target.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
