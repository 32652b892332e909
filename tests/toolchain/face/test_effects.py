"""Make-up on a drawn face whose shapes are known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.colorize import colorize
from toolchain.face.effects import EFFECTS, LIPSTICK_COLOR, Face, blur, brows, effect, lipstick, mask, skin
from toolchain.face.region import unwarp_labels
from toolchain.models.faces import LABELS, PALETTE

SIZE = 128
SHAPE = (150, 180, 3)
# Picture to crop: the face is 1.25 times as large in the picture.
MATRIX = np.array([[0.8, 0.0, -12.3], [0.0, 0.8, 3.6]])
PAINTERS = {"mask": mask, "lipstick": lipstick, "brows": brows, "skin": skin}
# Classes by whose probability each effect paints.
PAINTED = {
    "mask": LABELS[1:],
    "lipstick": ("upper lip", "lower lip"),
    "brows": ("left brow", "right brow"),
    "skin": ("skin", "nose"),
}


def drawn_labels():
    """(128, 128): a face with an open mouth."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(labels, (64, 64), (44, 56), 0, 0, 360, LABELS.index("skin"), -1)
    for x, side in ((44, "right"), (84, "left")):
        cv2.ellipse(labels, (x, 50), (9, 4), 0, 0, 360, LABELS.index(f"{side} eye"), -1)
        cv2.ellipse(labels, (x, 38), (13, 4), 0, 0, 360, LABELS.index(f"{side} brow"), -1)
    cv2.ellipse(labels, (64, 66), (8, 13), 0, 0, 360, LABELS.index("nose"), -1)
    cv2.ellipse(labels, (64, 96), (22, 15), 0, 180, 360, LABELS.index("upper lip"), -1)
    cv2.ellipse(labels, (64, 96), (22, 15), 0, 0, 180, LABELS.index("lower lip"), -1)
    cv2.ellipse(labels, (64, 96), (15, 7), 0, 0, 360, LABELS.index("inner mouth"), -1)
    return labels


def drawn_face(without=()):
    labels = drawn_labels()
    for name in without:
        labels[labels == LABELS.index(name)] = LABELS.index("skin")
    sharp = (labels == np.arange(len(LABELS))[:, None, None]).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in sharp])
    return Face(soft / soft.sum(axis=0), MATRIX, LABELS, PALETTE)


@pytest.fixture(scope="module")
def face():
    """Ten classes, outlines two pixels wide."""
    return drawn_face()


@pytest.fixture
def picture(rng):
    """Noise: every pixel that is touched changes."""
    return rng.integers(30, 226, SHAPE).astype(np.uint8)


def probability(face, names):
    """Of any of the classes, at every pixel of the picture."""
    plane = face.probabilities[[LABELS.index(name) for name in names]].sum(axis=0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, face.matrix, SHAPE[1::-1], flags=flags)


def lightness(pixels):
    return cv2.cvtColor(pixels.astype(np.float32)[None] / 255, cv2.COLOR_RGB2LAB)[0, :, 0]


@pytest.mark.parametrize("name", PAINTERS)
def test_only_what_is_probable_changes(face, picture, name):
    before = picture.copy()
    after = PAINTERS[name](picture, face, (200, 20, 60), 0.8)
    np.testing.assert_array_equal(picture, before)
    found = probability(face, PAINTED[name])
    # The softest outline ends 6 pixels away.
    near = cv2.dilate((found > 0.01).astype(np.uint8), np.ones((13, 13))) > 0
    np.testing.assert_array_equal(after[~near], picture[~near])
    changed = (after != picture).any(axis=2)
    assert changed[found > 0.99].mean() > 0.9


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_can_replace_the_picture(face, picture, name):
    apply = EFFECTS[name].apply
    expected, other = apply(picture, [face]), np.empty_like(picture)
    assert expected is not picture
    assert apply(picture, [face], out=other) is other
    np.testing.assert_array_equal(other, expected)
    assert apply(picture, [face], out=picture) is picture
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("name", EFFECTS)
def test_without_a_face_nothing_changes(face, picture, name):
    nothing = np.zeros_like(face.probabilities)
    nothing[0] = 1.0
    elsewhere = replace(face, matrix=np.array([[0.8, 0.0, 900.0], [0.0, 0.8, 900.0]]))
    for faces in ([], [replace(face, probabilities=nothing)]):
        after = EFFECTS[name].apply(picture, faces, out=picture)
        assert after is picture
        np.testing.assert_array_equal(after, picture.copy())
    if name != "blur":
        np.testing.assert_array_equal(EFFECTS[name].apply(picture, [elsewhere]), picture)


@pytest.mark.parametrize("name", ["lipstick", "brows"])
def test_an_absent_class_paints_nothing(picture, name):
    without = drawn_face(PAINTED[name])
    np.testing.assert_array_equal(PAINTERS[name](picture, without), picture)


@pytest.mark.parametrize("name", EFFECTS)
def test_no_strength_changes_nothing(face, picture, name):
    np.testing.assert_array_equal(EFFECTS[name].apply(picture, [face], strength=0.0), picture)


def test_teeth_keep_their_pixels(face, picture):
    upper, lower, mouth = (probability(face, [name]) for name in ("upper lip", "lower lip", "inner mouth"))
    dominated = (mouth >= np.maximum(upper, lower)) & (mouth > 0.2)
    after = lipstick(picture, face, strength=1.0)
    assert dominated.sum() > 300
    np.testing.assert_array_equal(after[dominated], picture[dominated])


@pytest.mark.parametrize("name", EFFECTS)
def test_a_little_noise_in_the_probabilities_changes_little(rng, face, name):
    picture = cv2.GaussianBlur(rng.integers(30, 226, SHAPE).astype(np.uint8), (0, 0), 4)
    noisy = face.probabilities + rng.uniform(0, 0.02, face.probabilities.shape).astype(np.float32)
    noisy = replace(face, probabilities=noisy / noisy.sum(axis=0))
    calm, moved = (EFFECTS[name].apply(picture, [one]).astype(int) for one in (face, noisy))
    assert np.abs(calm - moved).max() <= 16
    assert np.abs(calm - moved).mean() <= 1.5


@settings(deadline=None, max_examples=30)
@given(
    st.integers(40, 220),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.sampled_from(["lipstick", "brows"]),
)
def test_shading_stays(level, color, name):
    random = np.random.default_rng(level)
    ramp = np.linspace(level - 25, level + 25, SHAPE[1])[None, :, None] + random.normal(0, 2, (*SHAPE[:2], 1))
    picture = np.clip(np.repeat(ramp, 3, axis=2), 0, 255).astype(np.uint8)
    face = drawn_face()
    inside = probability(face, PAINTED[name]) > 0.999
    before, after = (lightness(p[inside]) for p in (picture, PAINTERS[name](picture, face, color, 1.0)))
    # The table may move lightness by 20; what is lighter stays lighter.
    assert abs(after.mean() - before.mean()) <= 20.5
    assert np.corrcoef(before, after)[0, 1] > 0.98
    assert 0.4 < after.std() / before.std() < 1.7


def test_lips_take_the_hue_and_little_darkness(face):
    picture = np.full(SHAPE, (190, 130, 120), np.uint8)
    inside = probability(face, PAINTED["lipstick"]) > 0.999
    after = lipstick(picture, face, strength=1.0)[inside]
    a, b = (
        cv2.cvtColor(np.float32([[c]]) / 255, cv2.COLOR_RGB2LAB)[0, 0] for c in (after[0], LIPSTICK_COLOR)
    )
    assert np.rad2deg(abs(np.arctan2(a[2], a[1]) - np.arctan2(b[2], b[1]))) < 4
    assert -12 < a[0] - lightness(picture[inside]).mean() < 0


def test_the_mask_is_the_overlay_of_the_labels_with_softer_edges(face):
    picture = np.full(SHAPE, 90, np.uint8)
    labels = unwarp_labels(face.probabilities, face.matrix, SHAPE)
    after, overlay = mask(picture, face).astype(int), colorize(picture, labels, PALETTE).astype(int)
    certain = cv2.erode((face.probabilities.max(axis=0) > 0.98).astype(np.uint8), np.ones((7, 7)))
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    certain = cv2.warpAffine(certain, MATRIX, SHAPE[1::-1], flags=flags) > 0
    assert certain.mean() > 0.2
    assert np.abs(after - overlay)[certain].max() <= 2
    assert np.abs(after - overlay).mean() < 2


def test_two_classes_that_meet_leave_no_gap(face):
    after = mask(np.full(SHAPE, 255, np.uint8), face, (0, 0, 0), 1.0)
    # Where no third class and not the background has a share.
    two = np.sort(face.probabilities[1:], axis=0)[-2:].sum(axis=0) > 0.98
    two = cv2.erode(two.astype(np.uint8), np.ones((9, 9)))
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    two = cv2.warpAffine(two, MATRIX, SHAPE[1::-1], flags=flags) > 0
    assert two.sum() > 1000
    assert after[two].max() <= 8


def test_the_background_is_drawn_nowhere_whatever_its_place(face, picture):
    order = [*range(1, len(LABELS)), 0]
    turned = Face(
        face.probabilities[order],
        face.matrix,
        tuple(LABELS[index] for index in order),
        tuple(PALETTE[index] for index in order),
    )
    np.testing.assert_allclose(mask(picture, turned).astype(int), mask(picture, face), atol=1)


def test_skin_is_smoothed_and_its_edges_are_kept(rng, face):
    picture = np.clip(rng.normal(140, 5, SHAPE), 0, 255).astype(np.uint8)
    picture[:, 95:] //= 3
    inside = probability(face, ["skin"]) > 0.999
    after = skin(picture, face, strength=1.0)
    flat = inside.copy()
    flat[:, 80:110] = False
    assert (
        after[flat & (np.arange(SHAPE[1]) < 80)].std()
        < 0.5 * picture[flat & (np.arange(SHAPE[1]) < 80)].std()
    )
    row = np.flatnonzero(inside[:, 90] & inside[:, 99])
    step = after[row, 90].mean() - after[row, 99].mean()
    assert step > 0.8 * (picture[row, 90].mean() - picture[row, 99].mean())
    assert abs(after[flat].mean() - picture[flat].mean()) < 1


def test_a_tint_turns_the_hue_and_keeps_the_lightness(face):
    picture = np.full(SHAPE, (180, 140, 120), np.uint8)
    inside = probability(face, ["skin"]) > 0.999
    after = skin(picture, face, (90, 120, 220), 1.0)[inside]
    assert after[:, 2].mean() > 124
    assert abs(lightness(after).mean() - lightness(picture[inside]).mean()) < 3


def test_the_blur_leaves_the_face_alone(face, picture):
    inside = probability(face, LABELS[1:]) > 0.5
    np.testing.assert_array_equal(blur(picture, [face])[inside], picture[inside])


def test_the_blur_keeps_every_face_sharp(face):
    picture = np.random.default_rng(1).integers(0, 256, (150, 700, 3)).astype(np.uint8)
    beside = replace(face, matrix=face.matrix - np.array([[0, 0, 0.8 * 500], [0, 0, 0]]))
    one, both = blur(picture, [face]), blur(picture, [face, beside])
    middle = (slice(60, 90), slice(590, 600))
    assert (one[middle] != picture[middle]).any()
    np.testing.assert_array_equal(both[middle], picture[middle])
    assert both[5:20, 300:330].std() < 0.5 * picture.std()


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_a_strength_out_of_range_is_refused(face, picture, name, strength):
    with pytest.raises(UsageError, match="strength"):
        EFFECTS[name].apply(picture, [face], strength=strength)


def test_a_network_without_the_class_is_refused(picture):
    bare = Face(np.full((2, 8, 8), 0.5, np.float32), MATRIX, ("background", "skin"), PALETTE[:2])
    with pytest.raises(UnsupportedError, match="'upper lip'") as caught:
        lipstick(picture, bare)
    assert "background, skin" in caught.value.hint


def test_the_blur_takes_no_colour(face, picture):
    with pytest.raises(UsageError, match="no colour"):
        EFFECTS["blur"].apply(picture, [face], (1, 2, 3))


def test_an_unknown_effect_is_refused_with_the_names_that_exist():
    assert effect("lipstick") is EFFECTS["lipstick"]
    with pytest.raises(UsageError, match="'lipgloss'") as caught:
        effect("lipgloss")
    assert all(name in caught.value.hint for name in ("mask", "lipstick", "brows", "skin", "blur"))


def test_palettes_and_buffers_that_do_not_fit_are_refused(face, picture):
    with pytest.raises(UsageError, match="10 classes have 0 colours"):
        mask(picture, replace(face, palette=()))
    with pytest.raises(UsageError, match="shape"):
        lipstick(picture, face, out=picture[:-1])
