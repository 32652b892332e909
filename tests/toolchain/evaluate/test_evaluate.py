"""Face parsers of every format on pictures whose right answer is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import toolchain
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.evaluate import evaluate
from toolchain.evaluate.page import page
from toolchain.evaluate.tables import class_tables, figures_table, remarks
from toolchain.models.faces import LABELS
from toolchain.spec import sidecar_path

PERFECT = pytest.approx(100.0)


@pytest.mark.parametrize(
    ("format_", "precision", "options"),
    [
        ("tflite", "fp32", {}),
        ("tflite", "fp32", {"layout": "nchw"}),
        ("tflite", "fp16", {}),
        ("tflite", "int8", {}),
        ("tflite", "int8", {"io": "int8"}),
        ("tflite", "int8", {"io": "uint8"}),
        ("tflite", "fp32", {"head": "argmax"}),
        ("onnx", "fp32", {}),
        ("onnx", "fp32", {"head": "softmax"}),
        ("onnx", "int8", {}),
        ("coreml", "fp16", {}),
        ("coreml", "fp32", {"head": "argmax"}),
        ("mlmodel", "fp32", {}),
    ],
)
def test_files_of_every_format(
    format_: str,
    precision: str,
    options: dict[str, str],
    factories: str,
    painted_data: str,
    photographs: Path,
    tmp_path: Path,
) -> None:
    [artifact] = toolchain.export(
        f"{factories}:painted",
        formats=[format_],
        precisions=[precision],
        calibration=photographs,
        output=tmp_path,
        **options,
    )
    made = evaluate([artifact.path], painted_data, baseline=f"{factories}:painted")
    network, file = made.as_json()["artifacts"]
    assert (file["format"], file["precision"]) == (format_, precision)
    assert network["format"] == "torch"
    for figures in (network, file):
        assert figures["overall_f1"] == figures["strict_f1"] == figures["boundary_f1"] == 100
        assert [entry["f1"] for entry in figures["classes"]] == [100] * 10
    assert file["agreement"] == 1
    assert file["overall_f1_difference"] == 0


def test_figures_of_a_network_that_finds_no_nose(factories: str, painted_data: str) -> None:
    made = evaluate([f"{factories}:noseless"], painted_data)
    [judgement] = made.judgements
    report = made.as_json()["artifacts"][0]
    by_class = {entry["label"]: entry for entry in report["classes"]}
    assert by_class["nose"]["f1"] == by_class["nose"]["iou"] == by_class["nose"]["boundary_f1"] == 0
    assert by_class["left eye"]["f1"] == 100
    # Noses of 3 x 4 to 6 x 4 pixels go elsewhere; all other parts of the face are right.
    noses = [4 * (3 + number) for number in range(4)]
    confusion = np.array(report["confusion"])
    assert confusion[6].sum() == sum(noses)
    assert confusion[6, 6] == 0
    # Annotated pixels of the other components: brows 28 less 2 under glasses, eyes 30, mouth 24.
    rest = 26 + 30 + 24
    taken_for_part = int(confusion[6, 2:].sum())
    hits = 4 * rest
    expected = 200 * hits / (2 * hits + sum(noses) + taken_for_part)
    assert judgement.figures.scores.overall == pytest.approx(expected)
    # The nose grows from a to <d>.
    assert [bad.name for bad in judgement.worst] == ["<d>", "c", "b", "a"]


def test_the_worst_come_first(factories: str, painted_data: str) -> None:
    [judgement] = evaluate([f"{factories}:noseless"], painted_data, worst=3).judgements
    scores = [bad.overall_f1 for bad in judgement.worst]
    assert len(scores) == 3
    assert scores == sorted(scores)
    for bad in judgement.worst:
        assert set(np.unique(bad.found)) == set(range(10)) - {6}
        assert (bad.truth == 6).any()


def test_previous_masks(factories: str, painted_data: str) -> None:
    def overall(previous: str) -> float:
        made = evaluate([f"{factories}:memory"], painted_data, previous=previous)
        assert any("previous mask" in remark for remark in remarks(made))
        return made.judgements[0].figures.scores.overall

    assert overall("none") == 0
    assert overall("truth") == PERFECT
    faked = overall("faked")
    assert 20 < faked < 100
    # The same masks every time, and nobody else's random numbers are touched.
    state = torch.get_rng_state()
    assert overall("faked") == faked
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("format_", "precision", "options"),
    [
        ("tflite", "fp32", {}),
        ("tflite", "int8", {}),
        ("tflite", "fp32", {"head": "argmax"}),
        ("onnx", "fp32", {}),
        ("onnx", "fp32", {"head": "softmax"}),
        ("coreml", "fp16", {}),
        ("mlmodel", "fp32", {}),
    ],
)
def test_the_own_answer_as_previous_mask(
    format_: str,
    precision: str,
    options: dict[str, str],
    factories: str,
    painted_data: str,
    photographs: Path,
    tmp_path: Path,
) -> None:
    second = f"{factories}:second"
    calibration = tmp_path / "ranges.npz"
    pictures = [cv2.imread(str(path))[:, :, ::-1] for path in sorted(photographs.iterdir())]
    np.savez(
        calibration,
        image=np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1,
        previous=np.eye(10, dtype=np.float32)[np.zeros((4, 32, 32), int)].transpose(0, 3, 1, 2),
    )
    [artifact] = toolchain.export(
        second,
        formats=[format_],
        precisions=[precision],
        calibration=calibration if precision == "int8" else None,
        output=tmp_path,
        **options,
    )
    files = [artifact.path, f"{factories}:noseless"]
    first = evaluate(files, painted_data, baseline=second)
    own = evaluate(files, painted_data, baseline=second, previous="own")
    noseless = first.judgements[2].figures.scores.overall
    assert noseless < 95
    # A network without a previous mask answers as before.
    scores = [[item.figures.scores.overall for item in made.judgements] for made in (first, own)]
    assert scores[0] == [pytest.approx(noseless)] * 3
    assert scores[1] == [PERFECT, PERFECT, pytest.approx(noseless)]
    assert own.as_json()["previous"] == "own"
    assert any("previous mask: the network's own answer" in remark for remark in remarks(own))
    assert "previous mask: the network&#39;s own answer" in page(own)


def test_a_file_without_a_sidecar_takes_the_contract_of_another(
    painted_file: Path, factories: str, painted_data: str, tmp_path: Path
) -> None:
    bare = shutil.copy(painted_file, tmp_path / "bare.tflite")
    with pytest.raises(UsageError, match="no sidecar") as caught:
        evaluate([bare], painted_data)
    assert "--like" in caught.value.hint
    made = evaluate([bare, f"{factories}:bare"], painted_data, like=f"{factories}:painted")
    assert [item.figures.scores.overall for item in made.judgements] == [PERFECT, PERFECT]


def test_labels_at_another_size(factories: str, painted_data: str) -> None:
    own = evaluate([f"{factories}:painted", f"{factories}:painted_64"], painted_data)
    assert [item.side for item in own.judgements] == [32, 64]
    assert own.judgements[1].figures.agreement is None
    assert any("--size 256" in remark for remark in remarks(own))
    both = evaluate([f"{factories}:painted", f"{factories}:painted_64"], painted_data, size=64)
    assert [item.side for item in both.judgements] == [64, 64]
    assert both.judgements[1].figures.scores.overall == PERFECT
    # Scores at half the size lose the outlines of one-pixel lips.
    assert 80 < both.judgements[0].figures.scores.overall < 100
    assert any("its scores are resized to 64 px" in remark for remark in remarks(both))


@pytest.mark.parametrize(("limit", "used"), [(1, 1), (2, 2), (4, 4), (9, 4)])
def test_limit(limit: int, used: int, factories: str, painted_data: str) -> None:
    seen: list[tuple[int, int]] = []
    made = evaluate(
        [f"{factories}:painted"],
        painted_data,
        limit=limit,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (made.pictures, made.available) == (used, 4)
    assert seen == [(done, used) for done in range(used + 1)]


def test_evenly_spread(factories: str, painted_data: str) -> None:
    [judgement] = evaluate([f"{factories}:noseless"], painted_data, limit=2).judgements
    # Sorted by name: <d>, a, b, c.
    assert {bad.name for bad in judgement.worst} == {"<d>", "c"}


def test_files_of_one_name_are_told_apart(painted_file: Path, painted_data: str, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for path in (painted_file, sidecar_path(painted_file)):
            shutil.copy(path, tmp_path / folder / path.name)
    paths = [tmp_path / folder / painted_file.name for folder in ("x", "y", "y")]
    names = [item.contender.name for item in evaluate(paths, painted_data).judgements]
    assert names == [painted_file.name, str(paths[1]), f"{paths[1]} (2)"]


def test_weights_of_a_network(factories: str, painted_data: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from toolchain.source import resolve

    blind = resolve(f"{factories}:noseless").module
    assert blind is not None
    save_file(blind.state_dict(), tmp_path / "blind.safetensors")
    made = evaluate(
        [f"{factories}:painted"],
        painted_data,
        baseline=f"{factories}:painted",
        weights=tmp_path / "blind.safetensors",
    )
    first, second = made.judgements
    assert first.figures.scores.overall == PERFECT
    assert second.figures.scores.per_class[6] == 0
    assert second.contender.name == f"{factories}:painted (blind.safetensors)"
    assert second.figures.difference == pytest.approx(second.figures.scores.overall - 100)


def test_tables_stand_side_by_side(painted_file: Path, factories: str, painted_data: str) -> None:
    made = evaluate([painted_file, f"{factories}:noseless"], painted_data)
    table = figures_table(made)
    assert table.columns == ("", painted_file.name, f"{factories}:noseless")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["overall F1"][0] == "100.00"
    assert rows["overall F1 minus the first's"] == ("-", f"{made.judgements[1].figures.difference:.2f}")
    f1, iou, boundary = class_tables(made)
    assert [part.title for part in (f1, iou, boundary)] == ["F1", "IoU", "boundary F1"]
    assert [row[0] for row in f1.rows] == list(LABELS)
    assert {row[0]: row[2] for row in iou.rows}["nose"] == "0.00"
    json.dumps(made.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("artifact", "options", "error", "message"),
    [
        ("lenet", {}, UnsupportedError, "no face parser: its task is classification"),
        ("NETWORKS:foreign", {}, UnsupportedError, "10 classes hair, skin"),
        ("NETWORKS:bare", {}, UsageError, "states no contract"),
        ("NETWORKS:broken", {}, UnsupportedError, "NaN or infinite"),
        ("unet", {}, UsageError, "'unet' has no weights"),
        ("nothing.tflite", {}, UsageError, "no model file"),
        ("NETWORKS:painted", {"previous": "truth"}, UsageError, "none of these does"),
        ("NETWORKS:painted", {"previous": "own"}, UsageError, "none of these does"),
        ("NETWORKS:painted", {"previous": "best"}, UsageError, "unknown previous mask"),
        ("NETWORKS:painted", {"like": "lenet"}, UnsupportedError, "'lenet' is no face parser"),
        ("NETWORKS:painted", {"limit": 0}, UsageError, "limit must be at least 1"),
        ("NETWORKS:painted", {"threads": 2}, UsageError, "--threads is for model files"),
        ("NETWORKS:painted", {"split": "train"}, UsageError, "no pairs train"),
        ("nothing.tflite", {"weights": Path("w.safetensors")}, UsageError, "there are 0"),
    ],
)
def test_what_cannot_be_judged(
    artifact: str,
    options: dict,
    error: type[ToolchainError],
    message: str,
    factories: str,
    painted_data: str,
) -> None:
    with pytest.raises(error, match=message):
        evaluate([artifact.replace("NETWORKS", factories)], painted_data, **options)


def test_a_contract_that_no_file_needs_is_refused(painted_file: Path, painted_data: str) -> None:
    with pytest.raises(UsageError, match="all of these have one"):
        evaluate([painted_file], painted_data, like="mobile-hourglass")


def test_a_sidecar_of_another_file(painted_file: Path, painted_data: str, tmp_path: Path) -> None:
    copy = shutil.copy(painted_file, tmp_path / "x.tflite")
    sidecar = json.loads(sidecar_path(painted_file).read_text())
    sidecar["sha256"] = "0" * 64
    sidecar_path(copy).write_text(json.dumps(sidecar))
    with pytest.raises(UsageError, match="describes another file"):
        evaluate([copy], painted_data)


def test_damaged_data(painted_file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "faces.zip"
    damaged.write_bytes(b"nothing")
    with pytest.raises(UnsupportedError, match="not a zip file"):
        evaluate([painted_file], f"celebamask:{damaged}")
    with pytest.raises(UsageError, match="no data at"):
        evaluate([painted_file], f"celebamask:{tmp_path / 'none.zip'}")
