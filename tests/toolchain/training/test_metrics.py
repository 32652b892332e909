"""F1 figures against counts worked out by hand and against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional import f1_score

from toolchain.training.metrics import FaceF1


def scores(predicted: list[int], target: list[int]):
    metric = FaceF1()
    metric.update(torch.tensor([[predicted]]), torch.tensor([[target]]))
    return metric.scores()


def test_per_class_f1_equals_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 10, (2, 32, 32), generator=generator)
    noise = torch.randint(0, 10, (2, 32, 32), generator=generator)
    predicted = torch.where(torch.rand(2, 32, 32, generator=generator) < 0.7, target, noise)
    metric = FaceF1()
    metric.update(predicted[:1], target[:1])
    metric.update(predicted[1:], target[1:])
    expected = f1_score(predicted, target, task="multiclass", num_classes=10, average="none") * 100
    assert metric.scores().per_class == pytest.approx(expected.tolist(), abs=1e-3)


def test_overall_does_not_tell_left_from_right() -> None:
    found = scores([2, 4, 6, 7], [3, 5, 6, 9])
    assert found.overall == 100.0
    assert found.strict == pytest.approx(25.0)


def test_overall_leaves_skin_and_background_out() -> None:
    # One nose pixel found, one missed, one skin pixel taken for nose: 2 * 1 / (2 + 2).
    found = scores([6, 1, 6, 1, 0], [6, 6, 1, 1, 0])
    assert found.overall == pytest.approx(50.0)
    assert found.micro_with_skin == pytest.approx(100 * 2 * 2 / (4 + 4))


def test_unknown_pixels_do_not_count() -> None:
    assert scores([6, 1, 1], [6, 255, 255]).overall == 100.0
