"""Frames from files that were written here, and from none."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.detector import detector
from toolchain.face.picture import write_picture
from toolchain.face.source import Camera, ClipFile, Folder, Synthetic, fitted, open_source


def write_clip(path, count, codec="mp4v"):
    """Frames of 64 x 48 that become lighter."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (64, 48))
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((48, 64, 3), (10, 20, 4 * number), np.uint8))
    writer.release()
    return path


def test_a_clip_gives_all_its_frames_in_rgb(tmp_path):
    source = open_source(str(write_clip(tmp_path / "clip.avi", 20, "FFV1")))
    frames = list(source.frames())
    assert isinstance(source, ClipFile)
    assert (len(frames), source.rate, source.live) == (20, 25, False)
    np.testing.assert_array_equal([frame[0, 0] for frame in frames], [(4 * n, 20, 10) for n in range(20)])
    assert len(list(source.frames())) == 20


def test_a_clip_that_ends_early_says_how_many_frames_it_gave(tmp_path):
    path = write_clip(tmp_path / "clip.avi", 60, "MJPG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    taken = []
    with pytest.raises(UnsupportedError, match=r"clip\.avi' ends early: \d+ of 60 frames") as caught:
        taken.extend(frame for frame in ClipFile(path).frames())
    assert caught.value.hint
    # What comes before the end can be used.
    assert len(list(islice(ClipFile(path).frames(), 20))) == 20


@pytest.mark.parametrize("content", [b"", b"no clip", None])
def test_files_that_are_no_clips(tmp_path, content):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        list(open_source(str(path)).frames())
    assert "clip.mp4" in caught.value.message
    assert caught.value.hint


def test_a_folder_gives_its_pictures_by_name(tmp_path):
    for name, value in (("b.png", 2), ("a.png", 1), ("c.jpg", 3)):
        write_picture(tmp_path / name, np.full((8, 9, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    frames = list(open_source(str(tmp_path)).frames())
    assert [int(frame[0, 0, 0]) for frame in frames] == [1, 2, 3]
    [single] = open_source(str(tmp_path / "b.png")).frames()
    np.testing.assert_array_equal(single, frames[1])


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has no pictures"):
        list(Folder(tmp_path).frames())


@pytest.mark.parametrize(("text", "number"), [("camera", 0), ("0", 0), ("17", 17)])
def test_numbers_are_cameras(text, number):
    source = open_source(text)
    assert source == Camera(number)
    assert source.live


def test_a_camera_that_is_not_there_is_one_clear_error():
    with pytest.raises(UsageError, match="there is no camera 63"):
        next(Camera(63).frames())


class Unplugged:
    """Two frames, then nothing."""

    def __init__(self, _number):
        self.left = 2

    def isOpened(self):
        return True

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((4, 5, 3), (1, 2, 3), np.uint8)

    def release(self):
        pass


def test_a_camera_that_is_unplugged_says_after_how_many_frames(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Unplugged)
    taken = []
    with pytest.raises(UnsupportedError, match="camera 1 went away after 2 frames"):
        taken.extend(frame for frame in Camera(1).frames())
    monkeypatch.setattr(Unplugged, "read", lambda self: (False, None))
    with pytest.raises(UnsupportedError, match="gives no frames"):
        next(Camera(1).frames())


@pytest.mark.parametrize("text", ["missing.xyz", ""])
def test_what_is_not_there_is_refused(text):
    with pytest.raises(UsageError, match=f"there is no source '{text}'") as caught:
        open_source(text)
    assert "synthetic" in caught.value.hint


def test_the_synthetic_face_is_where_it_says_and_the_cascade_finds_it():
    source = open_source("synthetic")
    assert isinstance(source, Synthetic)
    for number in (0, 40, 75):
        frame = next(islice(source.frames(), number, None))
        assert frame.shape == (480, 640, 3)
        [box] = detector().detect(frame)
        centre = (box.x + box.width / 2, box.y + box.height / 2)
        np.testing.assert_allclose(centre, source.centre(number), atol=0.06 * source.side)
        assert box.width == pytest.approx(source.side, rel=0.15)
    assert len(list(Synthetic(count=3).frames())) == 3


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((24, 32), slice(0, 48), slice(0, 64)), ((96, 64), slice(0, 48), slice(16, 48)),
     ((10, 64), slice(19, 29), slice(0, 64))],
)  # fmt: skip
def test_frames_are_fitted_with_black_bars(shape, rows, columns):
    made = fitted(np.full((*shape, 3), 200, np.uint8), (64, 48))
    expected = np.zeros((48, 64, 3), np.uint8)
    expected[rows, columns] = 200
    np.testing.assert_array_equal(made, expected)


def test_frames_of_that_size_stay_as_they_are(rng):
    picture = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
    assert fitted(picture, (64, 48)) is picture
