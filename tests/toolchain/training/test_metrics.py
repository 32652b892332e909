"""F1 figures against counts worked out by hand and against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional import accuracy, f1_score, jaccard_index

from toolchain.training.metrics import FaceF1, component_counts, confusion_matrix, f1_of_counts


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


def test_iou_and_accuracy_equal_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(1)
    # Class 9 occurs nowhere, and does not count in the mean.
    target = torch.randint(0, 9, (2, 32, 32), generator=generator)
    noise = torch.randint(0, 9, (2, 32, 32), generator=generator)
    predicted = torch.where(torch.rand(2, 32, 32, generator=generator) < 0.7, target, noise)
    metric = FaceF1()
    metric.update(predicted, target)
    found = metric.scores()
    options = {"task": "multiclass", "num_classes": 10}
    expected = 100 * jaccard_index(predicted, target, average="none", **options)
    assert found.iou[:9] == pytest.approx(expected[:9].tolist(), abs=1e-3)
    assert found.mean_iou == pytest.approx(float(expected[:9].mean()), abs=1e-3)
    assert found.pixel_accuracy == pytest.approx(
        100 * float(accuracy(predicted, target, average="micro", **options)), abs=1e-3
    )
    assert found.present == (True,) * 9 + (False,)


def test_counts_of_pictures_add_up_to_the_overall_f1() -> None:
    generator = torch.Generator().manual_seed(2)
    target = torch.randint(0, 10, (3, 16, 16), generator=generator)
    predicted = target.roll(1, 2)
    matrices = torch.stack([confusion_matrix(p, t, 10) for p, t in zip(predicted, target, strict=True)])
    metric = FaceF1()
    metric.update(predicted, target)
    assert float(f1_of_counts(component_counts(matrices).sum(0))) == pytest.approx(metric.scores().overall)


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
