"""The gate of `max_drop`, and the way out of a file that fails: a network whose classes nearly tie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import ParityError
from toolchain.export import ExportOptions, export_source
from toolchain.gate import allowed_drop, way_out
from toolchain.head import with_head
from toolchain.source import Source
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec, Preprocess, TensorSpec

SIZE = 16
SPEC = ModelSpec(
    "ties",
    SEGMENTATION,
    (TensorSpec("image", (1, 3, SIZE, SIZE), layout="NCHW"),),
    (TensorSpec("logits", (1, 4, SIZE, SIZE), layout="NCHW"),),
)
TOP1 = replace(
    SPEC, task=CLASSIFICATION, outputs=(TensorSpec("logits", (1, 4), layout="NC"),), labels=tuple("abcd")
)


def ties() -> Source:
    """Scores that differ by a thousandth of their range: in 256 steps most pixels lose their class."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3, padding=1).eval()
    with torch.no_grad():
        network.weight.copy_(network.weight[:1] + 0.001 * torch.randn(4, 3, 3, 3))
        network.bias.zero_()
    return Source(SPEC, network)


def options(folder: Path, max_drop: float | None) -> ExportOptions:
    pictures = np.random.default_rng(0).standard_normal((4, 3, SIZE, SIZE)).astype(np.float32)
    np.savez(folder / "data.npz", image=pictures)
    return ExportOptions(
        ["tflite"], ["int8"], folder / "out", folder / "data.npz", max_drop=max_drop, command="test"
    )


def test_a_drop_of_all_points_takes_any_file(tmp_path: Path) -> None:
    [made] = export_source(ties(), options(tmp_path, 100.0)).require_all()
    assert made.parity is not None
    assert made.parity.agreement is not None
    assert made.parity.agreement < 0.9


@pytest.mark.parametrize(("head", "hint"), [(None, "needs more bits"), ("softmax", "--head argmax")])
def test_way_out_of_a_file_that_fails(head: str | None, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="is below 99%") as caught:
        export_source(with_head(ties(), head), options(tmp_path, None)).require_all()
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("max_drop", "precision", "labels", "wanted"),
    [
        (None, "int8", None, None),
        (5.0, "fp16", None, None),
        (5.0, "int8", None, 5.0),
        (5.0, "int16x8", None, 5.0),
        # One answer of four changes: from right to wrong, from wrong to right, from wrong to wrong.
        (25.0, "int8", [0, 0, 0, 0], 100.0),
        (24.0, "int8", [0, 0, 0, 0], None),
        (0.0, "int8", [0, 0, 0, 1], 100.0),
        (0.0, "int8", [0, 0, 0, 2], 100.0),
    ],
)
def test_drop_is_of_the_metric_where_there_are_labels(
    max_drop: float | None, precision: str, labels: list[int] | None, wanted: float | None, tmp_path: Path
) -> None:
    arrays = {"image": np.zeros((4, 3, SIZE, SIZE), np.float32)}
    if labels is not None:
        arrays["labels"] = np.array(labels)
    asked = options(tmp_path, max_drop)
    np.savez(tmp_path / "data.npz", **arrays)
    expected, actual = (
        [{"logits": np.eye(4, dtype=np.float32)[[label]]} for label in found]
        for found in ([0, 0, 0, 0], [0, 0, 0, 1])
    )
    assert allowed_drop(TOP1, asked, precision, expected, actual) == wanted


@pytest.mark.parametrize(
    ("preprocess", "hint"),
    [
        (None, "FILE.npz`, with samples in the network's own range: 'image' (N x 3x16x16)"),
        (Preprocess(), "FOLDER`, a folder of pictures"),
    ],
)
def test_way_out_of_a_file_that_was_judged_on_synthetic_inputs(
    preprocess: Preprocess | None, hint: str, tmp_path: Path
) -> None:
    source = replace(ties(), spec=replace(SPEC, preprocess=preprocess))
    given = ExportOptions(["tflite"], ["int8"], tmp_path, None, command="toolchain export ties -p int8")
    assert f"`toolchain export ties -p int8 --calibration {hint}" in way_out(source, given, "int8")
    assert "needs more bits" in way_out(source, given, "w8")
