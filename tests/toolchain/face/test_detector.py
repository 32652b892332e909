"""The bundled cascade on a real photograph."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from toolchain.errors import MissingDependencyError, UsageError
from toolchain.face.detector import FaceDetector, cascade_path, detector
from toolchain.face.region import Box

FEATURES = np.array([[204, 101], [248, 104], [225, 122], [224, 148]])
EYE_DISTANCE = 44.0


def holds_the_face(box: Box, factor: float = 1.0, shift: tuple[float, float] = (0, 0)) -> bool:
    """Whether eyes, nose and mouth lie inside, the nose near the middle, and the size is that of the face."""
    points = FEATURES * factor + np.array(shift)
    inside = (points > (box.x, box.y)).all() and (points < (box.x + box.width, box.y + box.height)).all()
    middle = np.array([box.x + box.width / 2, box.y + box.height / 2])
    near = np.abs(middle - points[2]).max() < 0.3 * EYE_DISTANCE * factor
    return bool(inside and near and 1.9 < box.width / (EYE_DISTANCE * factor) < 2.6)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7, 4.0])
def test_exactly_the_face_is_found_at_any_resolution(photograph, factor, thorough):
    resized = cv2.resize(photograph, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    (box,) = FaceDetector(thorough).detect(resized)
    assert holds_the_face(box, factor)


def test_the_largest_face_comes_first(photograph):
    half = cv2.resize(photograph, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    scene = np.full((512, 512 + half.shape[1], 3), 128, np.uint8)
    scene[: half.shape[0], : half.shape[1]] = half
    scene[:, half.shape[1] :] = photograph
    first, second = FaceDetector(thorough=True).detect(scene)
    assert holds_the_face(first, shift=(half.shape[1], 0))
    assert holds_the_face(second, 0.6)


def test_only_a_thorough_search_finds_a_small_face(photograph):
    scene = np.full((1100, 1400, 3), 90, np.uint8)
    scene[300:812, 500:1012] = photograph
    assert FaceDetector().detect(scene) == []
    (box,) = FaceDetector(thorough=True).detect(scene)
    assert holds_the_face(box, shift=(500, 300))


@pytest.mark.parametrize("shape", [(1, 1, 3), (15, 15, 3), (480, 640, 3), (3, 900, 3)])
@pytest.mark.parametrize("value", ["black", "noise"])
def test_no_face_where_there_is_none(rng, shape, value):
    picture = np.zeros(shape, np.uint8) if value == "black" else rng.integers(0, 256, shape).astype(np.uint8)
    assert FaceDetector(thorough=True).detect(picture) == []


def test_a_face_upside_down_is_not_found(photograph):
    assert FaceDetector(thorough=True).detect(np.ascontiguousarray(photograph[::-1])) == []


def test_the_detector_of_the_process_is_made_once():
    assert detector() is detector()
    assert detector(thorough=True) is not detector()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((8, 8), np.uint8), "not \\(height, width, 3\\) uint8"),
        (np.zeros((8, 8, 4), np.uint8), "not \\(height, width, 3\\) uint8"),
        (np.zeros((8, 8, 3), np.float32), "is float32"),
        (np.zeros((0, 8, 3), np.uint8), "not \\(height, width, 3\\) uint8"),
        ([[1, 2, 3]], "is a list"),
        (np.zeros((1, 40_000, 3), np.uint8), "40000 x 1 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(picture, message):
    with pytest.raises(UsageError, match=message):
        detector().detect(picture)


def test_an_opencv_without_cascades_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(MissingDependencyError) as caught:
        cascade_path()
    assert caught.value.hint == 'pip install "opencv-python<5"'
    monkeypatch.delattr(cv2, "data")
    with pytest.raises(MissingDependencyError):
        cascade_path()
