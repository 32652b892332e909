"""Drawn faces: the same every time, all classes, and laid out as faces are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UsageError
from toolchain.training.datasets import check_pairs, open_pairs
from toolchain.training.datasets.crop import parts_box
from toolchain.training.datasets.drawn import DrawnFaces


@settings(max_examples=20, deadline=None)
@given(index=st.integers(0, 999), seed=st.integers(0, 5), size=st.sampled_from([32, 64, 96]))
def test_a_face_depends_on_seed_and_index_only(index: int, seed: int, size: int) -> None:
    first = DrawnFaces(1000, "train", size, seed)
    first.pair((index + 1) % 1000)
    picture, label = first.pair(index)
    again = DrawnFaces(1000, "train", size, seed).pair(index)
    np.testing.assert_array_equal(picture, again[0])
    np.testing.assert_array_equal(label, again[1])
    assert picture.shape == (size, size, 3)
    assert picture.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) <= {*range(10), 255}
    assert not np.array_equal(picture, DrawnFaces(1000, "train", size, seed + 1).pair(index)[0])
    assert not np.array_equal(picture, DrawnFaces(10000, "val", size, seed).pair(index)[0])


def test_every_class_occurs_as_often_as_in_photographs() -> None:
    data = open_pairs("drawn:400", "val", 64)
    seen = np.zeros(256, int)
    for index in range(len(data)):
        seen[np.unique(data.pair(index)[1])] += 1
    assert len(data) == 40
    assert (seen[[0, 1, 6, 7, 9]] == 40).all()
    # Glasses, hair and hats hide eyes and brows; closed mouths have no inside.
    assert (seen[2:6] >= 28).all()
    assert 10 <= seen[8] < 40
    assert 1 <= seen[255] <= 16


def test_parts_lie_where_they_belong() -> None:
    data = DrawnFaces(200, "train", 64)
    whole = 0
    for index in range(60):
        label = data.pair(index)[1]
        centre = {part: np.argwhere(label == part).mean(0) for part in range(1, 10) if (label == part).any()}
        assert centre[6][0] < centre[7][0] < centre[9][0]
        if all(part in centre for part in range(2, 6)):
            whole += 1
            # The subject's left is the viewer's right.
            assert centre[2][1] > centre[3][1]
            assert centre[4][1] > centre[5][1]
            assert centre[2][0] < centre[4][0]
            assert centre[3][0] < centre[5][0]
        box = parts_box(label)
        assert box is not None
        assert 1.4 < 64 / max(box.width, box.height) < 3.5
    assert whole > 30


def test_labels_are_where_the_picture_shows_the_part() -> None:
    """Between a face and its label moved aside, edges of the picture follow the former."""
    data = DrawnFaces(50, "train", 128)
    better = 0
    for index in range(20):
        picture, label = data.pair(index)
        edges = np.abs(np.diff(picture.astype(int), axis=1)).sum(2)

        def fit(label: np.ndarray, edges: np.ndarray = edges) -> float:
            return float(edges[label[:, 1:] != label[:, :-1]].mean())

        better += all(fit(label) > fit(np.roll(label, shift, 1)) for shift in (-3, 3))
    assert better >= 18


def test_skins_from_light_to_dark() -> None:
    data = DrawnFaces(200, "train", 32)
    tones = [float(picture[label == 1].mean()) for picture, label in map(data.pair, range(80))]
    assert min(tones) < 60
    assert max(tones) > 180


def test_splits_and_loading() -> None:
    assert len(open_pairs("drawn:20", "train", 32)) == 20
    assert len(open_pairs("drawn:20", "val", 32)) == 8
    data = open_pairs("drawn:20:3", "test", 32)
    assert check_pairs(data) == []
    batches = list(torch.utils.data.DataLoader(data, 4, num_workers=1))
    images = torch.cat([batch[0] for batch in batches])
    assert images.shape == (8, 3, 32, 32)
    assert torch.equal(images[5], data[5][0])
    assert data.terms == ""


@pytest.mark.parametrize("what", ["", "x", "-3", "0", "10:x", "10:-1"])
def test_wrong_counts(what: str) -> None:
    with pytest.raises(UsageError):
        open_pairs(f"drawn:{what}", "train", 32)
