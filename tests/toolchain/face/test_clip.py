"""Clips that were drawn, and real ones where TOOLCHAIN_DATA says."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.clip import clip_files, read_frames, scan_clip, shot_starts, steady_boxes
from toolchain.face.region import Box


def write_clip(path, frames):
    """Lossless, so that colours can be compared."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 25, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[:, :, ::-1])
    writer.release()
    return path


@pytest.fixture
def colours(tmp_path):
    """Ten frames of 64 x 48, of one colour each: five dark ones, a cut, five light ones."""
    frames = [
        np.full((48, 64, 3), (10 + n, 20, 30) if n < 5 else (200 + n, 150, 90), np.uint8) for n in range(10)
    ]
    return write_clip(tmp_path / "colours.avi", frames)


def test_frames_are_rgb_in_order(colours):
    frames = list(read_frames(colours, 2, 7))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    means = np.stack([frame.mean((0, 1)) for frame in frames])
    expected = [(12, 20, 30), (13, 20, 30), (14, 20, 30), (205, 150, 90), (206, 150, 90)]
    np.testing.assert_array_equal(means, expected)


def test_shots_end_at_cuts(colours):
    clip = scan_clip(colours, whole=True)
    assert (clip.frames, clip.fps) == (10, 25)
    assert [(shot.start, shot.stop, shot.seen) for shot in clip.shots] == [(0, 5, 1.0), (5, 10, 1.0)]
    assert set(clip.shots[0].boxes) == {Box(8, 0, 48, 48)}


def test_no_face_means_no_box(colours):
    clip = scan_clip(colours, limit=4)
    assert clip.frames == 4
    [shot] = clip.shots
    assert (shot.boxes, shot.seen) == ((), 0.0)


def test_fast_motion_is_no_cut(rng):
    plane = cv2.GaussianBlur(rng.integers(0, 255, (36, 400), dtype=np.uint8), (0, 0), 2) * 3
    # Every frame differs from the one before by as much: the camera pans.
    assert shot_starts([plane[:, 20 * n : 20 * n + 64] for n in range(12)]) == [0]


def test_the_box_holds_still_while_detections_shake(rng):
    found = {n: Box(*(100 + rng.uniform(-3, 3, 2)), 80 + rng.uniform(-3, 3), 80) for n in range(0, 60, 3)}
    boxes = steady_boxes(found, 60)
    assert all(box is boxes[0] for box in boxes)
    assert abs(boxes[0].x - 100) < 3
    assert boxes[0].width == boxes[0].height


def test_the_box_follows_a_face_in_few_steps_and_keeps_it_inside():
    found = {n: Box(2.0 * n, 50, 80, 80) for n in range(0, 90, 3)}
    boxes = steady_boxes(found, 90)
    steps = sum(a is not b for a, b in pairwise(boxes))
    assert 5 <= steps <= 12
    # At both ends the running median is up to one detection (6 pixels) behind.
    assert max(abs(box.x - 2.0 * n) for n, box in enumerate(boxes)) <= 0.12 * 80 + 6


def test_wrong_detections_and_gaps_do_not_move_the_box():
    found = {n: Box(100, 100, 80, 80) for n in range(0, 60, 3) if not 20 < n < 35}
    found[12] = Box(300, 10, 200, 200)
    assert len(set(steady_boxes(found, 60))) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("missing.mp4", None, "no clip"), ("text.mp4", b"no video", "no video"), ("empty.mp4", b"", "no video")],
)
def test_files_that_are_no_clips(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        scan_clip(clip_files(path)[0])
    assert name in caught.value.message


def test_a_single_frame_is_no_clip(colours):
    with pytest.raises(UnsupportedError, match="1 frame"):
        scan_clip(colours, limit=1)


def test_a_folder_of_clips(tmp_path, colours):
    (tmp_path / "notes.txt").write_text("no clip")
    assert clip_files(tmp_path) == (colours,)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no video files"):
        clip_files(tmp_path / "empty")


def test_a_real_face_is_found_and_held(data_folder):
    if data_folder is None:
        return
    clip = scan_clip(data_folder / "videos" / "d18.mp4", limit=12)
    [shot] = clip.shots
    assert shot.seen == 1
    assert len(set(shot.boxes)) == 1
    box = shot.boxes[0]
    # The face of this clip fills the middle of its 512 pixels.
    assert 150 < box.x + box.width / 2 < 350
    assert 200 < box.width < 400
