"""Faces found in masks of known shape, and regions that hold still."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.face.clip import DRIFT, GROWTH
from toolchain.face.landmarks import box_around, box_of_landmarks, centre_of
from toolchain.face.region import Box, Square, crop_matrix
from toolchain.face.tracking import Correction, HeldBox, MaskReader, overlap

LABELS = ("background", "skin", "left brow", "left eye", "right eye", "nose", "upper lip", "lower lip")
SIZE = 128
FRAME = (480, 640)
places = st.floats(-200, 900)
boxes = st.builds(Box, places, places, st.floats(20, 400), st.floats(20, 400))


def labels_of_face(centre, side, without=()):
    """(SIZE, SIZE) label map of a face drawn with a standard deviation of side / 2.76 over both axes.

    The centroid of eyes, nose and mouth lies 0.029 below the centre, as in the annotated pictures.
    """
    made = np.zeros((SIZE, SIZE), np.uint8)
    # The variance of a filled ellipse is a quarter of each squared semi-axis.
    radius = side / 2.76 * 2 / np.sqrt(2)

    def draw(label, x, y, wide, high):
        if label not in without:
            place = (round(16 * (centre[0] + x * side)), round(16 * (centre[1] + y * side)))
            axes = (round(16 * wide), round(16 * high))
            cv2.ellipse(made, place, axes, 0, 0, 360, LABELS.index(label), -1, shift=4)

    draw("skin", 0, 0.03, radius, radius)
    draw("left brow", 0.2, -0.2, 0.1 * side, 0.03 * side)
    draw("left eye", 0.2, -0.12, 0.07 * side, 0.03 * side)
    draw("right eye", -0.2, -0.12, 0.07 * side, 0.03 * side)
    draw("nose", 0, 0.056, 0.06 * side, 0.1 * side)
    for label in ("upper lip", "lower lip"):
        draw(label, 0, 0.3, 0.12 * side, 0.05 * side)
    return made


def sure(labels, least=1.0):
    """(classes, SIZE, SIZE) float32 probabilities, `least` for the label."""
    other = (1 - least) / (len(LABELS) - 1)
    return np.where(np.arange(len(LABELS))[:, None, None] == labels, least, other).astype(np.float32)


def read(labels, held, matrix, least=1.0):
    return MaskReader(LABELS).read(sure(labels, least), matrix, held, FRAME)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.3])
@pytest.mark.parametrize("off", [(0, 0), (9, -6)])
@pytest.mark.parametrize("side", [60, 80])
def test_the_box_is_that_of_the_drawn_face(scale, off, side):
    matrix = crop_matrix(Square(100, 50, SIZE * scale), SIZE)
    centre = (64 + off[0], 64 + off[1])
    found = read(
        labels_of_face(centre, side), box_around((100 + 64 * scale, 50 + 64 * scale), 70 * scale), matrix
    )
    assert (found.lost, found.doubt) == ("", "")
    place = ((np.array(centre) + 0.5) * scale - 0.5) + (100, 50)
    np.testing.assert_allclose(centre_of(found.box), place, atol=0.02 * side * scale)
    assert found.box.width == pytest.approx(side * scale, rel=0.03)
    assert found.confidence == pytest.approx(1.0)


def test_without_an_eye_the_face_as_a_whole_says_where_it_is():
    matrix, held = crop_matrix(Square(100, 50, SIZE), SIZE), box_around((164, 114), 70)
    whole, half = (
        read(labels_of_face((64, 64), 70, without), held, matrix) for without in ((), ("left eye",))
    )
    assert half.lost == ""
    np.testing.assert_allclose(centre_of(half.box), centre_of(whole.box), atol=0.05 * 70)


@pytest.mark.parametrize(
    ("labels", "held", "least", "lost"),
    [
        (np.zeros((SIZE, SIZE), np.uint8), 70, 1.0, "hardly any face"),
        (labels_of_face((64, 64), 12), 70, 1.0, "hardly any face"),
        (labels_of_face((64, 64), 70, LABELS[2:]), 70, 1.0, "no eyes, nose or mouth"),
        (labels_of_face((64, 64), 70, (*LABELS[3:5], *LABELS[6:])), 70, 1.0, "no eyes, nose or mouth"),
        (labels_of_face((64, 64), 80), 45, 1.0, "changed its size"),
        (labels_of_face((64, 64), 45), 80, 1.0, "changed its size"),
        (labels_of_face((64, 64), 70), 70, 0.7, "not sure"),
    ],
)
def test_masks_that_are_no_face_are_lost(labels, held, least, lost):
    matrix = crop_matrix(Square(0, 0, SIZE), SIZE)
    # All classes but the background count as face, so that the rest of the probability is small.
    probabilities = sure(labels, 1.0)
    probabilities[1:] *= least
    probabilities[0] = 1 - probabilities[1:].sum(axis=0)
    found = MaskReader(LABELS).read(probabilities, matrix, box_around((64, 64), held), FRAME)
    assert lost in found.lost


@pytest.mark.parametrize(
    ("left", "top", "centre"),
    [
        (100, 100, (20, 64)),
        (-30, 100, (64, 64)),
        (560, 100, (50, 64)),
        (100, -40, (64, 64)),
        (100, 400, (64, 60)),
    ],
)
def test_a_face_at_the_edge_of_its_region_or_of_the_picture_is_doubtful(left, top, centre):
    matrix = crop_matrix(Square(left, top, SIZE), SIZE)
    labels = labels_of_face(centre, 80)
    # Outside of the picture nothing is face.
    seen = cv2.warpAffine(np.ones(FRAME, np.uint8), matrix, (SIZE, SIZE))
    found = read(labels * seen, box_around((left + 64, top + 64), 80), matrix)
    assert "edge" in found.doubt


def test_brows_are_no_eyes_and_hair_is_no_face():
    labels = ("background", "hair", "left eyebrow", "skin", "nose", "mouth")
    probabilities = np.zeros((len(labels), SIZE, SIZE), np.float32)
    probabilities[1] = 1
    probabilities[:, 40:90, 40:90] = 0
    probabilities[3, 40:90, 40:90] = 1
    for label, (top, left) in {2: (45, 45), 4: (60, 62), 5: (75, 60)}.items():
        probabilities[:, top : top + 8, left : left + 8] = 0
        probabilities[label, top : top + 8, left : left + 8] = 1
    matrix = crop_matrix(Square(0, 0, SIZE), SIZE)
    found = MaskReader(labels).read(probabilities, matrix, box_around((64, 64), 56), FRAME)
    # A square of 50 pixels has a standard deviation of 50 / sqrt(12) along each axis.
    assert found.lost == ""
    assert found.box.width == pytest.approx(2.76 * 50 / np.sqrt(6), rel=0.01)


@given(boxes, st.lists(st.tuples(st.floats(-60, 60), st.floats(-60, 60), st.floats(0.8, 1.25)), max_size=20))
def test_the_face_is_always_near_the_middle_of_the_held_box(box, steps):
    held = HeldBox(box)
    x, y = centre_of(box)
    side = max(box.width, box.height)
    for dx, dy, factor in steps:
        x, y, side = x + dx, y + dy, float(np.clip(side * factor, 10, 800))
        before = held.box
        moved = held.follow(box_around((x, y), side))
        assert moved is (held.box is not before)
        off = np.abs(np.subtract(centre_of(held.box), (x, y))).max()
        assert off <= DRIFT * held.box.width + 1e-6
        assert 1 / GROWTH - 1e-9 <= side / max(held.box.width, held.box.height) <= GROWTH + 1e-9


def test_a_box_that_shakes_moves_no_region(rng):
    held = HeldBox(Box(100, 100, 80, 80))
    first = held.box
    for _ in range(50):
        held.follow(box_around((140 + rng.uniform(-6, 6), 140 + rng.uniform(-6, 6)), 80 + rng.uniform(-6, 6)))
    assert held.box is first


def test_a_face_that_moves_steadily_is_met_halfway():
    held, moves = HeldBox(Box(0, 0, 80, 80)), 0
    for number in range(1, 101):
        moves += held.follow(Box(2.0 * number, 0, 80, 80))
    # Without looking ahead the region would move every fifth frame, when the face is 10 pixels off.
    assert 10 <= moves <= 15


@given(st.floats(0.85, 1.2), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), boxes)
def test_a_correction_gives_the_detectors_box(scale, dx, dy, box):
    mask = box_around(centre_of(box), box.width)
    x, y = centre_of(mask)
    detected = box_around((x + dx * box.width, y + dy * box.width), scale * box.width)
    made = Correction.between(mask, detected).applied(mask)
    np.testing.assert_allclose(
        [made.x, made.y, made.width], [detected.x, detected.y, detected.width], atol=1e-6
    )


def test_a_wrong_detection_corrects_by_little():
    made = Correction.between(Box(100, 100, 80, 80), Box(400, 10, 300, 300))
    assert made == Correction(1.25, (0.12, 0.12))


@given(boxes, boxes)
def test_overlap_is_symmetric_and_a_share(first, second):
    shared = overlap(first, second)
    assert 0 <= shared <= 1
    assert shared == pytest.approx(overlap(second, first), abs=1e-9)
    assert overlap(first, first) == pytest.approx(1)


@given(st.floats(-np.pi, np.pi), st.floats(20, 300))
def test_a_turned_face_has_the_box_of_the_upright_one(angle, distance):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.array([(-0.5, 0), (0.5, 0), (0, 1.1)]) * distance
    upright = box_of_landmarks(*map(tuple, points.tolist()))
    turned = box_of_landmarks(*map(tuple, (points @ turn.T).tolist()))
    assert turned.width == pytest.approx(upright.width)
    np.testing.assert_allclose(centre_of(turned), turn @ centre_of(upright), atol=1e-6 * distance)
