"""Whose left is left, from label maps alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.training.datasets.sides import measured_sides, sampled_sides, share_of_subjects_left


def face(subject: bool, left: int = 4, right: int = 5) -> np.ndarray:
    label = np.zeros((8, 20), np.uint8)
    label[3, 12:16] = left if subject else right
    label[4, 3:7] = right if subject else left
    return label


def test_the_subject_s_left_is_at_the_viewer_s_right() -> None:
    assert share_of_subjects_left([face(True), face(True, 2, 3)]) == 1
    assert share_of_subjects_left([face(False), face(False, 2, 3)]) == 0
    assert share_of_subjects_left([np.ones((4, 4), np.uint8)]) is None


@given(st.lists(st.booleans(), min_size=1, max_size=24))
def test_most_must_agree(subjects: list[bool]) -> None:
    share = sum(subjects) / len(subjects)
    if 0.25 < share < 0.75:
        with pytest.raises(UnsupportedError, match="'d', the viewer's"):
            sampled_sides(len(subjects), lambda index: face(subjects[index]), "d")
    else:
        found = sampled_sides(len(subjects), lambda index: face(subjects[index]), "d")
        assert found == (share >= 0.75)


def test_damaged_maps_do_not_vote_and_samples_are_few() -> None:
    asked = []

    def read(index: int) -> np.ndarray:
        asked.append(index)
        if index % 2:
            raise UnsupportedError("damaged")
        return face(True)

    assert measured_sides(10001, read, "d")
    assert (asked[0], asked[-1], len(asked)) == (0, 10000, 24)


def test_no_evidence() -> None:
    assert sampled_sides(3, lambda _: np.ones((4, 4), np.uint8), "d") is None
    with pytest.raises(UnsupportedError, match="'d' do not tell"):
        measured_sides(3, lambda _: np.ones((4, 4), np.uint8), "d")
