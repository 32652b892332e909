"""Segmenters learn, and are judged by mean intersection over union."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from pictures_in_memory import SEGMENTER_SPEC, TinySegmenter, seeded, segmentation_data

from toolchain.errors import UsageError
from toolchain.models.zoo import zoo
from toolchain.training.classification_settings import parse_classifier_settings
from toolchain.training.memory_fit import FitOptions
from toolchain.training.segmentation import check_segmenter, fit_segmenter, measure_overlap, overlap_of


def options(output: Path, **values: Any) -> FitOptions:
    table = {
        "epochs": 6,
        "batch_size": 4,
        "optimizer": {"name": "adamw", "learning_rate": 0.02},
        "augment": {"zoom": [0.9, 1.1], "colour": 0.05},
    }
    made = FitOptions(output, parse_classifier_settings("test", table), 3, trainer={"accelerator": "cpu"})
    return replace(made, **values)


def test_it_learns_and_the_epoch_is_chosen_on_validation(tmp_path: Path) -> None:
    network = seeded(TinySegmenter)
    before = measure_overlap(network, segmentation_data().test, SEGMENTER_SPEC)
    result = fit_segmenter(
        network, segmentation_data(), options(tmp_path), spec=SEGMENTER_SPEC, calibrate=False
    )
    found = [float(row["mean_iou"]) for row in csv.DictReader((tmp_path / "log.csv").open())]
    assert result.best_epoch == 1 + found.index(max(found))
    assert result.validation.mean == pytest.approx(max(found), abs=0.01)
    assert result.test.mean > max(85.0, before.mean + 20)
    assert result.card["figures"]["test_mean_iou"] == round(result.test.mean, 2)
    assert list(result.card["figures"]["test_per_class_iou"]) == ["background", "dark", "light"]


def test_overlap_by_hand() -> None:
    # Of 10 pixels of class 0 eight are hit, of 5 of class 1 three; class 2 occurs nowhere.
    found = overlap_of(torch.tensor([[8, 2, 0], [2, 3, 0], [0, 0, 0]]))
    assert found.per_class == pytest.approx((100 * 8 / 12, 100 * 3 / 7, 100.0))
    assert found.mean == pytest.approx(100 * (8 / 12 + 3 / 7) / 2)
    assert found.pixel_accuracy == pytest.approx(100 * 11 / 15)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5))
def test_overlap_against_sets_of_pixels(seed: int, classes: int) -> None:
    random = torch.Generator().manual_seed(seed)
    true = torch.randint(0, classes, (40,), generator=random).tolist()
    said = torch.randint(0, classes, (40,), generator=random).tolist()
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for a, b in zip(true, said, strict=True):
        confusion[a, b] += 1
    shares = []
    for number in range(classes):
        one, other = ({i for i, c in enumerate(row) if c == number} for row in (true, said))
        if one | other:
            shares.append(100 * len(one & other) / len(one | other))
    assert overlap_of(confusion).mean == pytest.approx(sum(shares) / len(shares))


def test_unlabelled_pixels_do_not_count() -> None:
    data = segmentation_data()
    network = seeded(TinySegmenter)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    found = measure_overlap(network, data.test, SEGMENTER_SPEC)
    # Always background: 48 known pixels, 16 of them of the two other classes.
    assert found.per_class == pytest.approx((100 * 32 / 48, 0.0, 0.0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (zoo().get("lenet").spec, "is no segmenter that takes one picture"),
        (zoo().get("mobile-hourglass").spec, "is no segmenter that takes one picture"),
        (zoo().get("fcn-resnet50").spec, "has other classes than the data"),
        (
            replace(SEGMENTER_SPEC, inputs=(replace(SEGMENTER_SPEC.inputs[0], shape=(1, 3, 16, 8)),)),
            "takes 8 x 16 pixels, not 8 x 8",
        ),
    ],
)
def test_networks_that_do_not_fit(spec: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_segmenter(spec, segmentation_data())
