"""Augmentation moves picture and labels together; the faked previous mask is a mask."""

from __future__ import annotations

import torch
from torch.nn import functional

from toolchain.training.augment import FaceAugmentation, fake_previous


def test_flip_swaps_left_and_right() -> None:
    torch.manual_seed(0)
    augment = FaceAugmentation(degrees=0.0, scale=(1.0, 1.0), shift=0.0)
    label = torch.zeros(64, 8, 8, dtype=torch.int64)
    label[:, 2, 6], label[:, 2, 1], label[:, 4, 6], label[:, 4, 1] = 4, 5, 2, 3
    _, moved = augment(torch.rand(64, 3, 8, 8), label)
    # Flipped or not, the subject's left eye and brow lie on the viewer's right.
    for left, right in ((4, 5), (2, 3)):
        for sample in moved:
            assert (sample == left).nonzero()[0, 1] > (sample == right).nonzero()[0, 1]


def test_picture_and_labels_move_together() -> None:
    torch.manual_seed(1)
    label = torch.zeros(16, 64, 64, dtype=torch.int64)
    label[:, 20:40, 24:44] = 6
    image = (label == 6)[:, None].float().expand(-1, 3, -1, -1).contiguous()
    augment = FaceAugmentation()
    moved_image, moved_label = augment(image, label)
    overlap = ((moved_image.mean(1) > 0.4) == (moved_label == 6)).float().mean()
    assert overlap > 0.97
    assert not torch.equal(moved_label, label)
    assert moved_image.min() >= 0
    assert moved_image.max() <= 1


def test_unknown_pixels_stay_unknown_or_leave() -> None:
    torch.manual_seed(2)
    label = torch.full((8, 32, 32), 255)
    _, moved = FaceAugmentation()(torch.rand(8, 3, 32, 32), label)
    assert set(moved.unique().tolist()) <= {0, 255}


def test_previous_mask_is_empty_half_of_the_time_and_near_the_truth_otherwise() -> None:
    torch.manual_seed(3)
    label = torch.zeros(400, 32, 32, dtype=torch.int64)
    label[:, 8:24, 8:24] = 1
    label[:, 12:16, 12:16] = 255
    previous = fake_previous(label, 10)
    assert previous.shape == (400, 10, 32, 32)
    assert previous.min() >= 0
    assert previous.max() <= 1
    empty = previous.flatten(1).sum(1) == 0
    assert 0.4 < empty.float().mean() < 0.6
    shown = previous[~empty]
    truth = functional.one_hot(torch.where(label == 255, 1, label), 10).permute(0, 3, 1, 2)[~empty]
    agreement = (shown.argmax(1) == truth.argmax(1)).float().mean()
    assert 0.8 < agreement < 0.999
    assert shown.sum(1).max() <= 1 + 1e-5
