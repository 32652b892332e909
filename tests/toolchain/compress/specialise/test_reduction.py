import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.compress.specialise.reduction import ClassReduction, ReducedPairs
from toolchain.compress.specialise.scores import components, reduced_scores
from toolchain.errors import UsageError
from toolchain.models.faces import LABELS
from toolchain.training.datasets import open_pairs
from toolchain.training.datasets.pairs import Skipped
from toolchain.training.metrics import confusion_matrix, scores_of

LIPS = ("background", "upper lip", "lower lip")

choices = st.sets(st.sampled_from(LABELS[1:]), min_size=1).map(
    lambda chosen: tuple(label for label in LABELS if label in chosen or label == LABELS[0])
)


@given(choices, st.integers(0, 2**16))
@settings(deadline=None, max_examples=30)
def test_labels_masks_and_logits_are_reduced_alike(kept, seed):
    generator = torch.Generator().manual_seed(seed)
    reduction = ClassReduction(LABELS, kept)
    logits = 3 * torch.randn(2, 10, 4, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        reduction.logits(logits).softmax(1), reduction.probabilities(logits.softmax(1))
    )

    label = torch.randint(0, 11, (2, 4, 4), generator=generator)
    label[label == 10] = 255
    named = [
        [kept.index(LABELS[v]) if v < 255 and LABELS[v] in kept else 255 * (v == 255) for v in row]
        for row in label.flatten(1).tolist()
    ]
    assert reduction.labels(label).flatten(1).tolist() == named
    assert (reduction.label_map(label.numpy().astype(np.uint8)) == reduction.labels(label).numpy()).all()


def test_an_empty_mask_stays_empty():
    empty = torch.zeros(1, 10, 2, 2)
    assert float(ClassReduction(LABELS, LIPS).probabilities(empty).abs().sum()) == 0


@pytest.mark.parametrize("kept", [(), ("upper lip",), ("background", "hair")])
def test_classes_that_do_not_exist_are_refused(kept):
    with pytest.raises(UsageError, match="not among"):
        ClassReduction(LABELS, kept)


def test_pairs_have_the_labels_of_the_few_classes():
    whole = open_pairs("drawn:4", "val", 64)
    pairs = ReducedPairs(whole, ClassReduction(LABELS, LIPS))
    for index in range(len(pairs)):
        (picture, label), (same, full) = pairs.pair(index), whole.pair(index)
        assert (picture == same).all()
        assert ((label == 1) == (full == 7)).all()
        assert ((label == 2) == (full == 9)).all()
    assert pairs.without([Skipped(pairs.names[0], "")]).names == whole.names[1:]


@given(choices)
@settings(deadline=None, max_examples=30)
def test_components_are_those_of_the_whole_face_that_are_left(kept):
    found = [{kept[index] for index in group} for group in components(kept)]
    parts = [
        {"left brow", "right brow"},
        {"left eye", "right eye"},
        {"nose"},
        {"upper lip", "inner mouth", "lower lip"},
    ]
    assert found == ([part & set(kept) for part in parts if part & set(kept)] or [{"skin"}])


def test_all_classes_have_the_figures_of_the_whole_face():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 10, (2, 16, 16), generator=generator)
    found = torch.where(torch.rand(2, 16, 16, generator=generator) < 0.7, truth, (truth + 1) % 10)
    matrix = confusion_matrix(found, truth, 10)
    ours, theirs = reduced_scores(matrix, LABELS), scores_of(matrix)
    assert ours.per_class == theirs.per_class
    assert (ours.overall, ours.mean_iou, ours.iou) == (theirs.overall, theirs.mean_iou, theirs.iou)


def test_lips_by_hand():
    #             found: background, upper, lower
    matrix = torch.tensor([[90, 4, 0], [2, 10, 3], [0, 1, 20]])
    scores = reduced_scores(matrix, LIPS)
    assert scores.overall == pytest.approx(100 * 2 * 34 / (36 + 38))
    assert scores.strict == pytest.approx(100 * 2 * 30 / (36 + 38))
    assert scores.per_class[1] == pytest.approx(100 * 2 * 10 / (15 + 15))
    assert scores.iou[2] == pytest.approx(100 * 20 / 24)
