"""The engine on drawn scenes: a parser that knows classes by their colours, a detector that is told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.engine import PATIENCE, FaceEngine
from toolchain.face.landmarks import centre_of
from toolchain.face.parse import Stages
from toolchain.face.region import Box

LABELS = ("background", "skin", "left eye", "right eye", "nose", "mouth")
COLORS = np.array(
    [(0, 0, 0), (200, 150, 120), (0, 0, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0)], np.float32
)
SIDE = 100


def draw(picture, x, y, side=SIDE):
    """A face into a picture; `x`, `y` and `side` are those of the box that a detector draws."""
    centre = np.array([x + side / 2, y + side / 2])

    def oval(label, dx, dy, wide, high):
        place = tuple(int(v) for v in np.rint(centre + np.array([dx, dy]) * side))
        axes = (round(wide * side), round(high * side))
        cv2.ellipse(picture, place, axes, 0, 0, 360, COLORS[LABELS.index(label)].tolist(), -1)

    oval("skin", 0, 0.03, 0.5, 0.5)
    oval("left eye", 0.2, -0.12, 0.08, 0.04)
    oval("right eye", -0.2, -0.12, 0.08, 0.04)
    oval("nose", 0, 0.05, 0.06, 0.1)
    oval("mouth", 0, 0.3, 0.14, 0.05)


def scene(*faces, size=(480, 640)):
    """(height, width, 3) picture with faces at (x, y) or (x, y, side)."""
    picture = np.zeros((*size, 3), np.uint8)
    for face in faces:
        draw(picture, *face)
    return picture


class ToldDetector:
    """Finds what it is told, and counts how often it is asked."""

    name = "told"

    def __init__(self, *faces):
        self.faces = list(faces)
        self.asked = 0

    def detect(self, picture):
        self.asked += 1
        return [Box(face[0], face[1], *(face[2:] or (SIDE,)) * 2) for face in self.faces]


@pytest.fixture
def engine_of(artifact_of, numpy_runtime):
    """Function (detector, ...) -> engine whose network gives each pixel the class of its colour."""

    def make(detector, **options):
        artifact = artifact_of(
            size=128,
            classes=len(LABELS),
            labels=LABELS,
            palette=tuple(tuple(int(v) for v in color) for color in COLORS),
        )
        mean, std = (np.array(v, np.float32)[:, None, None] for v in ((100, 110, 120), (50, 60, 70)))

        def by_color(image, previous):
            pixels = image[0] * std + mean
            away = np.abs(pixels[None] - COLORS[:, :, None, None]).sum(axis=1)
            return (-away / 12)[None].astype(np.float32)

        return FaceEngine(numpy_runtime(artifact, by_color), artifact, detector, **options)

    return make


def classes_of(picture):
    """The true label of every pixel."""
    return np.abs(picture[:, :, None].astype(np.float32) - COLORS).sum(axis=3).argmin(axis=2)


def test_a_face_is_detected_once_and_then_followed(engine_of):
    detector = ToldDetector((120, 100))
    engine = engine_of(detector)
    for step in range(60):
        picture = scene((120 + 4 * step, 100 + step))
        parsed = engine.process(picture)
        [face] = parsed.faces
        assert parsed.detected is (step == 0)
        assert face.number == 1
        np.testing.assert_allclose((face.box.x, face.box.y), (120 + 4 * step, 100 + step), atol=3)
        assert face.box.width == pytest.approx(SIDE, abs=4)
        assert (parsed.labels == classes_of(picture)).mean() > 0.99
    assert detector.asked == 1


def test_a_face_that_grows_is_followed(engine_of):
    engine = engine_of(ToldDetector((200, 150)))
    for step in range(40):
        side = round(SIDE * 1.03**step)
        [face] = engine.process(scene((250 - side // 2, 200 - side // 2, side))).faces
        assert face.box.width == pytest.approx(side, rel=0.06)


def test_where_a_face_has_gone_the_detector_looks_in_the_same_frame(engine_of):
    detector = ToldDetector((100, 100))
    engine = engine_of(detector)
    engine.process(scene((100, 100)))
    # A cut: the face is elsewhere.
    detector.faces = [(450, 300)]
    picture = scene((450, 300))
    parsed = engine.process(picture)
    assert parsed.detected
    assert [face.number for face in parsed.faces] == [2]
    assert (parsed.labels == classes_of(picture)).mean() > 0.99
    detector.faces = []
    for _ in range(3):
        parsed = engine.process(scene())
        assert parsed.detected
        assert parsed.faces == ()
        assert not parsed.labels.any()


def in_another_light(picture):
    """The picture of another shot: grey instead of black, which is background for the network, too."""
    return np.where(picture.any(axis=2, keepdims=True), picture, np.uint8(60))


def test_after_a_cut_the_face_that_is_found_is_followed_and_not_another_in_the_old_region(engine_of):
    detector = ToldDetector((100, 100))
    engine = engine_of(detector)
    engine.process(scene((100, 100)))
    detector.faces = [(400, 200)]
    picture = in_another_light(scene((105, 95), (400, 200)))
    parsed = engine.process(picture)
    assert parsed.detected
    [face] = parsed.faces
    assert face.number == 2
    np.testing.assert_allclose((face.box.x, face.box.y), (400, 200), atol=3)
    assert not parsed.labels[:, :300].any()
    assert not engine.process(picture).detected


def test_after_a_cut_in_which_no_face_is_found_the_one_in_the_old_region_is_followed(engine_of):
    detector = ToldDetector((100, 100))
    engine = engine_of(detector)
    engine.process(scene((100, 100)))
    # The second place shows no face.
    for faces, shot in (([], in_another_light), ([(400, 200)], np.array)):
        detector.faces = faces
        parsed = engine.process(shot(scene((105, 95))))
        assert parsed.detected
        assert [face.number for face in parsed.faces] == [1]


def test_after_a_cut_to_a_face_half_beside_the_old_region_the_region_moves_at_once(engine_of):
    detector = ToldDetector((100, 100))
    engine = engine_of(detector)
    engine.process(scene((100, 100)))
    detector.faces = [(130, 110)]
    picture = in_another_light(scene((130, 110)))
    parsed = engine.process(picture)
    assert [face.number for face in parsed.faces] == [1]
    np.testing.assert_allclose((parsed.faces[0].box.x, parsed.faces[0].box.y), (130, 110), atol=3)
    # The first region of the frame is the old one.
    assert len(engine._runtime.given) == 3


def test_a_detection_without_a_face_in_the_mask_is_none(engine_of):
    detector = ToldDetector((20, 20, 180), (400, 200))
    [face] = engine_of(detector).process(scene((400, 200))).faces
    np.testing.assert_allclose(centre_of(face.box), (450, 250), atol=3)
    assert face.number == 1
    assert engine_of(ToldDetector((20, 20))).process(scene()).faces == ()


def test_several_faces_are_followed_apart(engine_of):
    detector = ToldDetector((80, 100), (380, 200))
    engine = engine_of(detector, faces=3)
    for step in range(30):
        picture = scene((80 + step, 100), (380 - step, 200))
        parsed = engine.process(picture)
        assert [face.number for face in parsed.faces] == [1, 2]
        places = [(face.box.x, face.box.y) for face in parsed.faces]
        np.testing.assert_allclose(places, [(80 + step, 100), (380 - step, 200)], atol=3)
        assert (parsed.labels == classes_of(picture)).mean() > 0.99
    assert detector.asked == 1


def test_no_more_faces_than_wanted(engine_of):
    engine = engine_of(ToldDetector((80, 100), (380, 200)))
    assert len(engine.process(scene((80, 100), (380, 200))).faces) == 1


def test_further_faces_are_found_every_so_many_frames(engine_of):
    detector = ToldDetector((80, 100))
    engine = engine_of(detector, faces=2, redetect=5)
    engine.process(scene((80, 100)))
    detector.faces = [(80, 100), (380, 200)]
    ran = [engine.process(scene((80, 100), (380, 200))) for _ in range(12)]
    assert [parsed.detected for parsed in ran] == [False] * 4 + [True] + [False] * 7
    assert [len(parsed.faces) for parsed in ran] == [1] * 4 + [2] * 8
    assert [face.number for face in ran[-1].faces] == [1, 2]


def test_two_tracks_of_one_face_become_one(engine_of):
    # The second box overlaps with the first by less than what tells that they are of one face.
    engine = engine_of(ToldDetector((200, 150), (215, 165, 110)), faces=2)
    assert [face.number for face in engine.process(scene((200, 150))).faces] == [1]


def test_a_doubtful_face_is_looked_at_now_and_then(engine_of):
    detector = ToldDetector((-40, 200))
    engine = engine_of(detector)
    for _ in range(2 * PATIENCE):
        [face] = engine.process(scene((-40, 200))).faces
        assert face.number == 1
    assert 2 <= detector.asked <= 4


def test_reset_begins_another_video(engine_of):
    detector = ToldDetector((100, 100))
    engine = engine_of(detector)
    engine.process(scene((100, 100)))
    engine.reset()
    assert engine.process(scene((100, 100))).detected
    assert not engine._runtime.given[-1]["previous"].any()


def test_the_previous_mask_is_given_where_the_face_is_followed(engine_of):
    engine = engine_of(ToldDetector((100, 100)))
    engine.process(scene((100, 100)))
    parsed = engine.process(scene((100, 100)))
    # Nothing moved, so that the answer to the second frame is that to the first one.
    np.testing.assert_array_equal(engine._runtime.given[-1]["previous"][0], parsed.faces[0].probabilities)


def test_stages_are_timed_apart(engine_of):
    stages = Stages()
    engine_of(ToldDetector((100, 100))).process(scene((100, 100)), stages)
    assert set(stages.milliseconds) == {"detection", "crop", "inference", "unwarp"}


@pytest.mark.parametrize("options", [{"faces": 0}, {"redetect": 0}])
def test_counts_below_one_are_refused(engine_of, options):
    with pytest.raises(UsageError, match="at least 1"):
        engine_of(ToldDetector(), **options)


def test_other_segmentations_are_refused(artifact_of, numpy_runtime):
    artifact = artifact_of(labels=("sky", "road", "car"))
    with pytest.raises(UnsupportedError, match="does not parse faces"):
        FaceEngine(numpy_runtime(artifact, None), artifact, ToldDetector())


def test_what_is_no_picture_is_refused(engine_of):
    with pytest.raises(UsageError, match="not \\(height, width, 3\\) uint8"):
        engine_of(ToldDetector()).process(np.zeros((4, 4)))
