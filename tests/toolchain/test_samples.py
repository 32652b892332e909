"""Inputs for comparisons: synthetic ones, and real ones in the network's own range."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.errors import ToolchainError, UsageError
from toolchain.samples import answers, samples, stream, synthetic
from toolchain.spec import GENERIC, SEGMENTATION, ModelSpec, Preprocess, TensorSpec

FACE = ModelSpec(
    "face",
    SEGMENTATION,
    (
        TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),
        TensorSpec("previous", (1, 4, 16, 16), layout="NCHW"),
    ),
    (TensorSpec("logits", (1, 4, 16, 16), layout="NCHW"),),
    Preprocess(),
    ("a", "b", "c", "d"),
)
SINGLE = replace(FACE, inputs=FACE.inputs[:1])
PLAIN = ModelSpec("plain", GENERIC, (TensorSpec("x", (2, 5)), TensorSpec("ids", (2, 3), "int64")), ())


def test_synthetic_pictures_fill_the_range_and_repeat() -> None:
    first, again = synthetic(FACE, 3), synthetic(FACE, 3)
    assert len(first) == 3
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one["image"], two["image"])
        assert one["image"].min() == pytest.approx(-1)
        assert one["image"].max() == pytest.approx(1)
    assert not np.array_equal(first[0]["image"], first[1]["image"])


def test_synthetic_inputs_have_the_type_of_the_contract() -> None:
    sample = synthetic(PLAIN, 1)[0]
    assert sample["x"].dtype == np.float32
    assert sample["ids"].dtype == np.int64


def test_feedback_is_empty_first_and_the_softmax_of_the_last_answer_then() -> None:
    def run(sample):
        return {
            "logits": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1) * np.ones((1, 4, 16, 16), np.float32)
        }

    filled, made = answers(FACE, synthetic(FACE, 2), run)
    assert len(made) == 2
    assert not filled[0]["previous"].any()
    expected = np.exp(np.arange(4)) / np.exp(np.arange(4)).sum()
    np.testing.assert_allclose(filled[1]["previous"][0, :, 3, 3], expected, rtol=1e-6)
    assert answers(PLAIN, synthetic(PLAIN, 1), run)[0][0].keys() == {"x", "ids"}


def test_folder_goes_through_the_preprocessing(tmp_path: Path) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :, 2] = 255  # red in BGR
    cv2.imwrite(str(tmp_path / "red.png"), picture)
    found, origin = samples(FACE, tmp_path, 5)
    assert origin == str(tmp_path)
    np.testing.assert_allclose(found[0]["image"][0, :, 8, 8], [1, -1, -1])
    assert found[0]["image"].shape == (1, 3, 16, 16)


def test_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 5)).astype(np.float32)
    ids = np.arange(18, dtype=np.int64).reshape(6, 3)
    np.savez(tmp_path / "c.npz", x=x, ids=ids)
    found, _ = samples(PLAIN, tmp_path / "c.npz", 10)
    # Batches of two: the fifth row has no partner.
    assert len(found) == 2
    assert np.array_equal(found[1]["x"], x[2:4])
    assert np.array_equal(found[1]["ids"], ids[2:4])


def zipped(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.npz", None, "no file at"),
        ("missing.npy", None, "no file at"),
        ("bad.npz", b"no zip", "bad.npz"),
        ("one.npy", np.zeros((2, 5), np.float32), "one array"),
        ("keys.npz", {"x": np.zeros((2, 5), np.float32)}, "no array 'ids'"),
        ("shape.npz", {"x": np.zeros((2, 6), np.float32), "ids": np.zeros((2, 3), np.int64)}, "(6,)"),
        ("nan.npz", {"x": np.full((2, 5), np.nan, np.float32), "ids": np.zeros((2, 3), np.int64)}, "NaN"),
        ("empty.npz", {"x": np.zeros((0, 5), np.float32), "ids": np.zeros((0, 3), np.int64)}, "no samples"),
        ("objects.npy", np.array([{}, {}], dtype=object), "objects.npy"),
        ("text.npz", zipped("x.npy", b"no array"), "'x' in"),
    ],
)
def test_unusable_arrays_are_one_error(tmp_path: Path, name: str, content, message: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(ToolchainError) as caught:
        samples(PLAIN, path, 4)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("none.npy", np.zeros((0, 3, 16, 16), np.float32), "samples are on the first axis, 'face' takes 1"),
        ("none.npz", {}, "it has: none"),
    ],
)
def test_files_without_samples_say_what_they_lack(tmp_path: Path, name: str, content, hint: str) -> None:
    path = tmp_path / name
    np.savez(path, **content) if isinstance(content, dict) else np.save(path, content)
    with pytest.raises(UsageError) as caught:
        samples(SINGLE, path, 4)
    assert hint in caught.value.hint


def test_folders_need_a_contract_and_pictures(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="preprocessing"):
        samples(PLAIN, tmp_path, 4)
    with pytest.raises(ToolchainError, match="no samples"):
        samples(FACE, tmp_path, 4)
    (tmp_path / "broken.jpg").write_bytes(b"no jpeg")
    with pytest.raises(ToolchainError, match=r"broken\.jpg"):
        samples(FACE, tmp_path, 4)
    with pytest.raises(ToolchainError, match="nowhere"):
        samples(FACE, "nowhere", 4)
    with pytest.raises(ToolchainError, match="no calibration data at ''"):
        samples(FACE, "", 4)


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((2, *FACE.inputs[0].shape[2:], 3), "transpose(0, 3, 1, 2)"),
        (FACE.inputs[0].shape[1:], "array[None]"),
        ((2, 3, 5, 7), "samples are on the first axis"),
    ],
)
def test_arrays_of_another_layout_are_refused_with_the_way_out(tmp_path: Path, shape, hint: str) -> None:
    np.save(tmp_path / "data.npy", np.zeros(shape, np.float32))
    with pytest.raises(UsageError) as caught:
        samples(SINGLE, tmp_path / "data.npy", 4)
    assert hint in caught.value.hint


def test_pictures_of_another_scale_are_refused_and_not_cut(tmp_path: Path) -> None:
    shape = (2, *FACE.inputs[0].shape[1:])
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    np.save(tmp_path / "data.npy", pixels)
    with pytest.raises(UsageError, match=r"goes from 0.* to 25\d.*, the contract of"):
        samples(SINGLE, tmp_path / "data.npy", 2)
    found = list(stream(SINGLE, tmp_path / "data.npy", 2, rounded=False))
    assert np.array_equal(found[1][SINGLE.inputs[0].name], pixels[1:])


@pytest.mark.parametrize(
    ("rows", "count", "enough", "expected"),
    [
        (8, 100, 3, [0, 4, 7]),
        (8, 5, 3, [0, 2, 4]),
        (8, 5, None, [0, 1, 2, 3, 4]),
        (3, 5, 4, [0, 1, 2]),
        (8, 5, 1, [0]),
    ],
)
@pytest.mark.parametrize("name", ["data.npy", "data.npz"])
def test_what_is_enough_of_an_array_is_spread_over_its_rows(
    tmp_path: Path, name: str, rows: int, count: int, enough: int | None, expected: list[int]
) -> None:
    spec = replace(PLAIN, inputs=(TensorSpec("x", (1, 2)),))
    array = np.arange(rows, dtype=np.float32).repeat(2).reshape(rows, 2)
    if name.endswith("npz"):
        np.savez(tmp_path / name, x=array)
    else:
        np.save(tmp_path / name, array)
    found = list(stream(spec, tmp_path / name, count, enough=enough))
    assert [sample["x"].tolist() for sample in found] == [[[row, row]] for row in expected]
