"""The clip of the apps' benchmark: a face that moves smoothly, in a loop, in few bytes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.apps.clip import FRAMES, HEIGHT, PHOTOGRAPH, WIDTH, write_clip
from toolchain.errors import UsageError
from toolchain.face.detectors import open_detector
from toolchain.face.tracking import overlap

LARGEST = 300_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("app") / "clip"
    assert write_clip(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(clip: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path))[..., ::-1].copy() for path in sorted(clip.glob("*.jpg"))]


def test_all_frames_have_one_size_and_few_bytes(clip: Path, pictures: list[np.ndarray]) -> None:
    assert [picture.shape for picture in pictures] == [(HEIGHT, WIDTH, 3)] * FRAMES
    assert sum(path.stat().st_size for path in clip.iterdir()) < LARGEST


def test_the_face_moves_and_is_followed_from_the_last_frame_to_the_first(pictures) -> None:
    detector = open_detector()
    boxes = []
    for picture in pictures:
        (box,) = detector.detect(picture)
        boxes.append(box)
    assert min(overlap(one, other) for one, other in zip(boxes, boxes[1:] + boxes[:1], strict=True)) > 0.8
    assert np.ptp([box.x for box in boxes]) > 0.1 * boxes[0].width
    steps = [
        float(np.abs(one.astype(int) - other).mean())
        for one, other in zip(pictures, pictures[1:] + pictures[:1], strict=True)
    ]
    assert min(steps) > 1
    assert steps[-1] <= max(steps[:-1])


def test_written_again_it_is_the_same_and_nothing_older_is_left(tmp_path: Path, clip: Path) -> None:
    for name in ("astronaut-999.jpg", "README.md"):
        (tmp_path / name).write_bytes(b"older")
    assert write_clip(tmp_path)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found.pop("README.md") == b"older"
    assert found == {path.name: path.read_bytes() for path in clip.iterdir()}


@pytest.mark.parametrize("name", ["mine.MOV", "01.jpg", "face.png"])
def test_a_clip_of_the_users_own_stays_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    assert not write_clip(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"a file")
    with pytest.raises(UsageError, match="cannot be written to"):
        write_clip(tmp_path / "clip")


def test_the_photograph_is_that_of_the_readme() -> None:
    """Its terms are said once, beside the clip."""
    root = Path(__file__).parents[3]
    assert PHOTOGRAPH.read_bytes() == (root / "docs/images/astronaut.jpg").read_bytes()
