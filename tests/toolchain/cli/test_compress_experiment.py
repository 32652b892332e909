"""`toolchain compress experiment`: from the command line to model files and the table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from toolchain.cli import run
from toolchain.cli.compress_experiment import parse_seeds
from toolchain.errors import UsageError

RECIPE = """
description = "drawn digits"
task = "classification"
model = "lenet"
data = "mnist:FOLDER"
size = 28
labels = 10

[schedule]
epochs = 2
batch_size = 20
optimizer = { learning_rate = 0.02 }

[[rows]]
name = "baseline"
kind = "baseline"

[[rows]]
name = "sparse"
kind = "sparse"
points = [{ name = "some", gone = 0.2 }]
settings = { strength = 0.5, threshold = 0.2 }

[[targets]]
text = "smaller"
of = "sparse"
error = 100.0
gone = 0.2
fewer = 1.1
"""


def write_digits(folder: Path) -> Path:
    """A hundred training and forty test pictures of noise with a bar, in the four files of MNIST."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, count in (("train", 100), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 100, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 2 : 2 * label + 6] += 120
        for kind, array, magic in (("images-idx3", images, 2051), ("labels-idx1", labels, 2049)):
            head = np.array([magic, *array.shape], ">i4").tobytes()
            with gzip.open(folder / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(head + array.tobytes())
    return folder


def test_experiment_ends_in_files_latency_and_table(tmp_path: Path, capsys) -> None:
    recipe = tmp_path / "digits.toml"
    recipe.write_text(RECIPE)
    data, folder = f"mnist:{write_digits(tmp_path / 'digits')}", tmp_path / "results"
    copies = {"--output": tmp_path / "made" / "digits.json", "--markdown": tmp_path / "made" / "digits.md"}
    words = ["compress", "experiment", str(recipe), "--data", data, "-o", str(folder), "--seeds", "3"]
    assert run([*words, *(str(part) for pair in copies.items() for part in pair)]) == 0
    printed = capsys.readouterr().out
    assert printed == copies["--markdown"].read_text() == (folder / "table.md").read_text()
    report = json.loads(copies["--output"].read_text())
    rows = {entry["label"]: entry for entry in report["rows"]}
    for entry in rows.values():
        for precision in ("fp32", "int8"):
            made = folder / entry["files"][precision]["file"]
            assert made.stat().st_size == entry["files"][precision]["bytes"]
            assert entry["latency"][precision]["ms"] > 0
        # The fp32 file answers as the network does.
        assert entry["files"]["fp32"]["error"] == pytest.approx(entry["error"]["mean"])
    sizes = {
        label: [entry["files"][kind]["bytes"] for kind in ("fp32", "int8", "packed")]
        for label, entry in rows.items()
    }
    for small, whole in zip(sizes["sparse"], sizes["baseline"], strict=True):
        assert small < whole
    assert sizes["baseline"][0] > 3 * sizes["baseline"][1] > 3 * sizes["baseline"][2]
    assert [target["reached"] for target in report["targets"]] == [True]

    # Without --no-train as with it, everything is finished.
    assert run([*words, "--no-train", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rows"] == report["rows"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lenet-mnits"], "unknown experiment 'lenet-mnits'"),
        (["lenet-mnist", "--only", "l1-l3"], "'lenet-mnist' has no row 'l1-l3'"),
        (["lenet-mnist", "--seeds", "0,x"], "--seeds '0,x'"),
        (["lenet-mnist", "--data", "images:nowhere"], "nowhere"),
    ],
)
def test_errors_are_said_before_anything_is_written(
    tmp_path: Path, capsys, words: list[str], message: str
) -> None:
    folder = tmp_path / "results"
    given = [] if "--data" in words else ["--data", "mnist:nowhere"]
    assert run(["compress", "experiment", *words, *given, "-o", str(folder)]) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_seeds() -> None:
    assert parse_seeds("0, 7,12") == (0, 7, 12)
    for text in ("", "1,,2", "-1", "1,1", str(2**32)):
        with pytest.raises(UsageError, match="--seeds"):
            parse_seeds(text)
