"""Data sets of labelled pictures as samples: the range of the network, mixed classes, its class numbers."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.class_samples import is_classified
from toolchain.cli import run
from toolchain.errors import UsageError
from toolchain.samples import TRAINED, samples, stream, true_labels
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec, Preprocess, TensorSpec

SIDE, TRAIN, VAL = 8, 10, 4
COLORS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}
SPEC = ModelSpec(
    "colors",
    CLASSIFICATION,
    (TensorSpec("image", (1, 3, SIDE, SIDE), layout="NCHW"),),
    (TensorSpec("logits", (1, 3)),),
    Preprocess(mean=(100.0, 100.0, 100.0), std=(50.0, 50.0, 50.0)),
    ("red", "blue", "green"),
)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Ten training and four validation pictures for each of three colours, of twice the network's size."""
    path = tmp_path / "colors.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train", TRAIN), ("val", VAL), ("test", VAL)):
            for label, color in COLORS.items():
                picture = np.full((2 * SIDE, 2 * SIDE, 3), color[::-1], np.uint8)
                for number in range(count):
                    archive.writestr(f"{split}/{label}/{number}.png", cv2.imencode(".png", picture)[1])
    return f"images:{path}"


def class_of(image: np.ndarray) -> str:
    """The class whose colour an input has, after the contract's scaling."""
    pixel = image[0, :, 3, 3] * 50 + 100
    return next(label for label, color in COLORS.items() if np.allclose(pixel, color, atol=0.5))


@pytest.mark.parametrize(("split", "count"), [("val", 3 * VAL), (TRAINED, 3 * TRAIN)])
def test_pictures_come_mixed_in_the_range_of_the_network(data: str, split: str, count: int) -> None:
    found = [sample["image"] for sample in stream(SPEC, data, 100, split)]
    assert len(found) == count
    assert {image.shape for image in found} == {(1, 3, SIDE, SIDE)}
    assert {class_of(image) for image in found[:8]} == set(COLORS)
    for image, again in zip(found, stream(SPEC, data, 100, split), strict=True):
        np.testing.assert_array_equal(image, again["image"])


def test_labels_are_the_numbers_of_the_network(data: str) -> None:
    labels = true_labels(SPEC, data, 7)
    assert labels is not None
    pictures, where = samples(SPEC, data, 7)
    assert where == data
    assert [label.tolist() for label in labels] == [
        [SPEC.labels.index(class_of(sample["image"]))] for sample in pictures
    ]


@pytest.mark.parametrize("batch", [2, 5])
def test_batches_hold_pictures_and_labels_in_the_same_order(data: str, batch: int) -> None:
    spec = replace(SPEC, inputs=(replace(SPEC.inputs[0], shape=(batch, 3, SIDE, SIDE)),))
    labels, pictures = true_labels(spec, data, 100), list(stream(spec, data, 100))
    assert labels is not None
    assert len(labels) == len(pictures) == 3 * VAL // batch
    for label, sample in zip(labels, pictures, strict=True):
        names = [class_of(image[None]) for image in sample["image"]]
        assert [spec.labels[number] for number in label] == names


def test_without_a_contract_pixels_are_from_0_to_1(data: str) -> None:
    [sample] = stream(replace(SPEC, preprocess=None), data, 1)
    assert float(sample["image"].max()) == pytest.approx(200 / 255)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(replace(SPEC, labels=("cat", "dog", "cow")), id="other classes"),
        pytest.param(replace(SPEC, task=SEGMENTATION), id="no classifier"),
    ],
)
def test_no_labels_for_networks_that_have_other_classes(data: str, spec: ModelSpec) -> None:
    assert true_labels(spec, data, 4) is None
    assert len(list(stream(spec, data, 4))) == 4


def test_what_does_not_fit_is_said(data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no class 'green'"):
        true_labels(replace(SPEC, labels=("red", "blue", "cow")), data, 4)
    grey = replace(SPEC, inputs=(TensorSpec("image", (1, 1, SIDE, SIDE), layout="NCHW"),))
    with pytest.raises(UsageError, match=r"are 3 x 8 x 8, 'colors' takes 1 x 8 x 8"):
        samples(grey, data, 1)
    with pytest.raises(UsageError, match="no pictures as in"):
        samples(replace(SPEC, inputs=(TensorSpec("x", (1, 5)),)), data, 1)
    with pytest.raises(UsageError, match="nowhere"):
        samples(SPEC, f"images:{tmp_path / 'nowhere'}", 1)


@pytest.mark.parametrize(
    ("text", "expected"), [("mnist:a", True), ("images:b", True), ("celebamask:c", False), ("folder", False)]
)
def test_which_texts_name_labelled_pictures(text: str, expected: bool) -> None:
    assert is_classified(text) is expected


@pytest.fixture
def digits(tmp_path: Path) -> str:
    """Noise with a bar at the height of its class, 200 for training and 40 for the test."""
    random = np.random.default_rng(0)
    for split, count in (("train", 200), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pictures = random.integers(0, 100, (count, 28, 28)).astype(np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[2 * label + 2 : 2 * label + 6] += 120
        for kind, magic, array in (("images-idx3", 2051, pictures), ("labels-idx1", 2049, labels)):
            header = np.array([magic, *array.shape], ">i4").tobytes()
            (tmp_path / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return f"mnist:{tmp_path}"


WITHOUT_TRAINING = """
import sys
for package in ("lightning", "kornia", "torchmetrics"):
    sys.modules[package] = None
from toolchain.samples import samples, true_labels
from toolchain.source import resolve
spec = resolve("lenet").spec
assert samples(spec, sys.argv[1], 3)[0][2]["image"].shape == (1, 1, 28, 28)
assert len(true_labels(spec, sys.argv[1], 3)) == 3
"""


def test_what_only_trainings_need_is_not_needed(digits: str) -> None:
    subprocess.run([sys.executable, "-P", "-c", WITHOUT_TRAINING, digits], check=True)


def test_inputs_are_those_of_a_training(data: str) -> None:
    from toolchain.training.classification_module import as_inputs
    from toolchain.training.datasets.classification import open_classification

    found = np.concatenate([sample["image"] for sample in stream(SPEC, data, 100, rounded=False)])
    trained = as_inputs(open_classification(data, SIDE).validation.images, SPEC).numpy()
    ordered = [array[np.lexsort(array[:, :, 0, 0].T)] for array in (found, trained)]
    np.testing.assert_allclose(*ordered, rtol=1e-6)


def test_a_classifier_is_calibrated_and_compared_on_its_data(digits: str, tmp_path: Path, capsys) -> None:
    words = ["export", "lenet", "-f", "tflite", "-p", "int8", "--calibration", digits]
    assert run([*words, "-o", str(tmp_path / "build"), "--json"]) == 0
    [made] = json.loads(capsys.readouterr().out)
    assert made["parity"]["inputs"] == digits
    assert made["parity"]["samples"] == 8
    assert made["parity"]["sqnr_db"] > 20
