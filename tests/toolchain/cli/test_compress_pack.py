"""`toolchain compress pack` and `unpack` as a user calls them."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from toolchain.cli import run
from toolchain.compress.storage.pack import read
from toolchain.models.zoo import zoo
from toolchain.training.classification import error_of, open_classification


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_file(zoo().get("lenet").build().state_dict(), path, metadata={"terms": "none"})
    return path


@pytest.fixture
def digits(tmp_path: Path) -> str:
    """The four files of MNIST with ten classes of noise: a bar at one of ten heights."""
    random = np.random.default_rng(0)
    for split, count in (("train", 200), ("t10k", 60)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pictures = random.integers(0, 40, (count, 28, 28), np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[2 * label + 4 : 2 * label + 7] = 255
        for kind, array in (("images-idx3", pictures), ("labels-idx1", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            place = tmp_path / f"{split}-{kind}-ubyte.gz"
            place.write_bytes(gzip.compress(head + array.tobytes()))
    return f"mnist:{tmp_path}"


def test_the_table_counts_whole_files(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = weights.with_suffix(".packed")
    assert run(["compress", "pack", str(weights), "-o", str(packed), "--bits", "conv=8,linear=5"]) == 0
    text = capsys.readouterr().out
    before, after = weights.stat().st_size, packed.stat().st_size
    assert f"{before:,} -> {after:,} bytes, {before / after:.1f} times smaller" in text
    [row] = [line.split() for line in text.splitlines() if line.startswith("classifier.0.weight")]
    assert row[1:5] == ["400,000", "5", "dense", "1,600,000"]


def test_json_and_the_way_back(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed, back = weights.with_suffix(".packed"), weights.with_name("back.safetensors")
    call = ["compress", "pack", str(weights), "-o", str(packed), "--bits", "3", "--model", "lenet", "--half"]
    assert run([*call, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes_after"] == packed.stat().st_size
    assert report["ratio"] == pytest.approx(report["bytes_before"] / report["bytes_after"], abs=1e-3)
    call = ["compress", "unpack", str(packed), "-o", str(back), "--model", "lenet", "--json"]
    assert run(call) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "lenet"
    state, own = load_file(back), load_file(weights)
    for row in report["tensors"]:
        before = own[row["name"]]
        # Biases are zero at first.
        lost = float((state[row["name"]] - before).norm() / before.norm().clamp(min=1e-9))
        assert row["error"] == pytest.approx(lost, rel=1e-4, abs=1e-9)


def test_judged_before_and_after_and_fine_tuned_weights_lose_nothing(
    weights: Path, digits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = weights.with_suffix(".packed")
    call = ["compress", "pack", str(weights), "-o", str(packed), "--bits", "4", "--model", "lenet", "--json"]
    reports = []
    for more in ([], ["--epochs", "1"]):
        assert run([*call, "--data", digits, *more]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    plain, tuned = reports
    network, spec = zoo().get("lenet").build().eval(), zoo().get("lenet").spec
    network.load_state_dict(load_file(weights))
    test = open_classification(digits).test
    assert plain["test_error"]["before"] == pytest.approx(error_of(network, test, spec), abs=1e-3)
    assert tuned["test_error"]["before"] == plain["test_error"]["before"]
    network.load_state_dict(read(packed).state)
    assert tuned["test_error"]["packed"] == pytest.approx(error_of(network, test, spec), abs=1e-3)
    shared = [row["name"] for row in tuned["tensors"] if row["bits"]]
    assert sorted(shared) == sorted(row["name"] for row in plain["tensors"] if row["bits"])
    assert max(row["error"] for row in plain["tensors"]) > 0.05
    assert all(row["error"] == 0 and row["entries"] <= 16 for row in tuned["tensors"])


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (["pack", "{w}", "-o", "{p}", "--bits", "9"], 2, "1 to 8 bits"),
        (["pack", "{w}", "-o", "{p}", "--data", "mnist:x"], 2, "add --model"),
        (["pack", "{w}", "-o", "{p}", "--epochs", "1"], 2, "add --data"),
        (["pack", "{w}", "-o", "{p}", "--model", "vgg11"], 2, "do not fit the network"),
        (["pack", "none.safetensors", "-o", "{p}"], 2, "none.safetensors"),
        (["unpack", "{w}", "-o", "{b}"], 3, "no packed file"),
        (["unpack", "none.packed", "-o", "{b}"], 2, "none.packed"),
        (["unpack", "{w}", "-o", "out.bin"], 2, "no .safetensors file"),
    ],
)
def test_errors_are_one_line_and_a_hint(
    weights: Path, arguments: list[str], status: int, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"w": weights, "p": weights.with_suffix(".packed"), "b": weights.with_name("b.safetensors")}
    assert run(["compress", *(argument.format(**places) for argument in arguments)]) == status
    lines = capsys.readouterr().err.splitlines()
    assert problem in " ".join(lines)
    assert len(lines) <= 2
    assert not places["p"].exists()


def test_another_network_is_refused(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = weights.with_suffix(".packed")
    assert run(["compress", "pack", str(weights), "-o", str(packed), "--model", "lenet"]) == 0
    back = weights.with_name("b.safetensors")
    assert run(["compress", "unpack", str(packed), "-o", str(back), "--model", "vgg11"]) == 3
    assert "holds the weights of 'lenet', not of 'vgg11'" in capsys.readouterr().err
    assert not back.exists()


def test_no_file_is_written_over_the_one_that_is_read(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights.read_bytes()
    same = weights.parent / "." / weights.name
    assert run(["compress", "pack", str(weights), "-o", str(same)]) == 2
    assert "written over the file that is read" in capsys.readouterr().err
    assert weights.read_bytes() == before
    packed = weights.with_name("packed.safetensors")
    assert run(["compress", "pack", str(weights), "-o", str(packed)]) == 0
    content = packed.read_bytes()
    assert run(["compress", "unpack", str(packed), "-o", str(packed)]) == 2
    assert packed.read_bytes() == content


def test_a_learning_rate_without_a_training_is_refused(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = weights.with_suffix(".packed")
    assert run(["compress", "pack", str(weights), "-o", str(packed), "--learning-rate", "0.1"]) == 2
    assert "--learning-rate does nothing" in capsys.readouterr().err
    assert not packed.exists()
