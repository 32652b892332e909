"""Points on true labels: which metric, on which labels, and what is refused."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.errors import ToolchainError
from toolchain.models.faces import LABELS
from toolchain.samples import samples
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec, Preprocess, TensorSpec
from toolchain.task_metric import F1, MEAN_IOU, TOP1, task_metric

SIDE = 8
FACE = ModelSpec(
    "face",
    SEGMENTATION,
    (TensorSpec("image", (1, 3, SIDE, SIDE), layout="NCHW"),),
    (TensorSpec("logits", (1, len(LABELS), SIDE, SIDE), layout="NCHW"),),
    Preprocess(),
    LABELS,
)
PETS = ModelSpec(
    "pets",
    CLASSIFICATION,
    FACE.inputs,
    (TensorSpec("logits", (1, 2), layout="NC"),),
    Preprocess(),
    ("cat", "dog"),
)


def scores(labels: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """An answer whose most probable classes are these labels (batch, ...)."""
    return {"logits": np.moveaxis(np.eye(classes, dtype=np.float32)[labels], -1, 1)}


def pairs(folder: Path, maps: np.ndarray) -> str:
    """A CelebAMask zip of black pictures with these index maps."""
    picture, path = np.zeros((SIDE, SIDE, 3), np.uint8), folder / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, indices in enumerate(maps):
            archive.writestr(f"val/images/{number}.jpg", cv2.imencode(".jpg", picture)[1].tobytes())
            archive.writestr(f"val/labels/{number}.png", cv2.imencode(".png", indices)[1].tobytes())
    return f"celebamask:{path}"


def test_faces_are_judged_by_overall_f1(tmp_path: Path) -> None:
    indices = np.zeros((3, SIDE, SIDE), np.uint8)
    indices[:, :4] = 2  # nose
    indices[:, 7] = 3  # glasses: ignored
    data = pairs(tmp_path, indices)
    metric = task_metric(FACE, data, 2)
    assert metric is not None
    assert (metric.name, metric.labels) == (F1, 2 * SIDE * SIDE)
    truth = np.zeros((1, SIDE, SIDE), np.int64)
    truth[:, :4] = LABELS.index("nose")
    assert metric.points([scores(truth, 10)] * 2) == 100.0
    missed = truth.copy()
    missed[:, :2] = 0
    # 64 + 32 of 96 true and found pixels: 2 * 48 / (64 + 48).
    assert metric.points([scores(truth, 10), scores(missed, 10)]) == pytest.approx(100 * 96 / 112)
    # What is ignored may be anything, and an answer may be of labels already.
    missed = truth.copy()
    missed[:, 7] = LABELS.index("nose")
    assert metric.points([{"labels": missed}, scores(truth, 10)]) == 100.0


def test_other_segmentations_are_judged_by_mean_iou(tmp_path: Path) -> None:
    spec = replace(FACE, labels=(), outputs=(TensorSpec("logits", (1, 3, SIDE, SIDE), layout="NCHW"),))
    truth = np.zeros((2, SIDE, SIDE), np.uint8)
    truth[:, 4:] = 1
    truth[:, 0] = 255
    pictures = np.zeros((2, 3, SIDE, SIDE), np.float32)
    np.savez(tmp_path / "data.npz", image=pictures, labels=truth)
    metric = task_metric(spec, tmp_path / "data.npz", 2)
    assert metric is not None
    assert metric.name == MEAN_IOU
    made = np.zeros((1, SIDE, SIDE), np.int64)
    # Class 0: 24 of 56 known pixels; class 1: none of 32; class 2 occurs nowhere.
    assert metric.points([scores(made, 3)] * 2) == pytest.approx(100 * (24 / 56 + 0) / 2)
    assert task_metric(replace(spec, task="generic"), tmp_path / "data.npz", 2) is None
    assert task_metric(spec, pairs(tmp_path, truth), 2) is None


def test_folders_of_classes_are_judged_by_top_1(tmp_path: Path) -> None:
    for name, level in (("cat", 0), ("dog", 255)):
        (tmp_path / name).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.full((SIDE, SIDE, 3), level, np.uint8))
    metric = task_metric(PETS, tmp_path, 5)
    assert metric is not None
    assert (metric.name, metric.labels) == (TOP1, 5)
    found, _ = samples(PETS, tmp_path, 5)
    levels = [float(sample["image"].mean()) for sample in found]
    # One of each class in turn, so that a few pictures are of all classes.
    assert levels == [-1, 1, -1, 1, -1]
    right = [scores(np.array([level > 0]).astype(int), 2) for level in levels]
    assert metric.points(right) == 100.0
    assert metric.points([right[0]] * 5) == 60.0
    assert task_metric(replace(PETS, labels=("lion", "wolf")), tmp_path, 5) is None
    cv2.imwrite(str(tmp_path / "stray.png"), np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(ToolchainError, match=r"stray.png' is in no folder that is named after a class"):
        task_metric(PETS, tmp_path, 5)


def test_arrays_of_classes_are_judged_by_top_1(tmp_path: Path) -> None:
    """Class 255 counts where labels are not of pixels, and batches are taken apart."""
    spec = replace(
        PETS,
        inputs=(TensorSpec("x", (2, 4)),),
        outputs=(TensorSpec("logits", (2, 300), layout="NC"),),
        preprocess=None,
        labels=(),
    )
    np.savez(tmp_path / "data.npz", x=np.zeros((5, 4), np.float32), labels=[255, 1, 2, 3, 4])
    metric = task_metric(spec, tmp_path / "data.npz", 9)
    assert metric is not None
    assert metric.labels == 4
    assert metric.points([scores(np.array([255, 0]), 300), scores(np.array([2, 3]), 300)]) == 75.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.5, 1.0]), "holds float64, not integers"),
        (np.array([0]), "1 labels for 2 samples"),
        (np.array([0, 2]), r"from 0 to 2, 'pets' has 2 classes"),
        (np.array([-1, 1]), r"from -1 to 1"),
        (np.zeros((2, 4), int), r"shape \(4,\) for each sample"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=np.zeros((2, 3, SIDE, SIDE), np.float32), labels=labels)
    with pytest.raises(ToolchainError, match=message):
        task_metric(PETS, tmp_path / "data.npz", 9)


def test_without_labels_there_is_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=np.zeros((2, 3, SIDE, SIDE), np.float32))
    assert task_metric(PETS, tmp_path / "data.npz", 2) is None
    assert task_metric(PETS, None, 2) is None
