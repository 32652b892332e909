"""A training that is killed at any moment and resumed ends with the same weights, bit for bit."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load_file

from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.training.checkpoints import Checkpoints, write_atomically
from toolchain.training.fit import TrainOptions, train_face_parsing
from toolchain.training.recipe import Recipe, read_recipe

EPOCHS = 3
CLOCKS = {"images_per_second", "data_wait"}


class Killed(BaseException):
    """Ends a run where the operating system could have ended it."""


def recipe() -> Recipe:
    """Augmentation, fake previous masks and averaging are on, in bfloat16."""
    return read_recipe("best").with_values(size=32, epochs=EPOCHS, batch_size=2)


def options(faces: Path, output: Path, **more: Any) -> TrainOptions:
    common = {"workers": 0, "checkpoint_seconds": 0.0, "trainer": {"accelerator": "cpu"}}
    values = {"data": f"celebamask:{faces}", "model": "mobile-hourglass", "recipe": recipe(), "seed": 7}
    return TrainOptions(output=output, **{**common, **values, **more})


def everything(output: Path) -> dict[str, Any]:
    """All that a training leaves behind, clocks apart."""
    rows = list(csv.DictReader((output / "log.csv").open()))
    state = torch.load(output / "last.ckpt", weights_only=True)
    callbacks = {name.partition("{")[0]: value for name, value in state["callbacks"].items()}
    return {
        "weights": load_file(output / "mobile-hourglass.safetensors"),
        "best": torch.load(output / "best.ckpt", weights_only=True),
        "network": state["state_dict"],
        "optimizer": state["optimizer_states"],
        "schedule": state["lr_schedulers"],
        "average": callbacks["WeightAverage"],
        "position": callbacks["Checkpoints"],
        "losses": callbacks["Progress"]["total"]["terms"],
        "step": state["global_step"],
        "log": [{name: row[name] for name in row.keys() - CLOCKS} for row in rows],
    }


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two nested structures of tensors and numbers differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [f"{path}: keys {sorted(map(str, first.keys() ^ second.keys()))}"]
        return [d for key in first for d in differences(first[key], second[key], f"{path}/{key}")]
    if isinstance(first, list):
        if len(first) != len(second):
            return [f"{path}: lengths"]
        return [
            d
            for i, pair in enumerate(zip(first, second, strict=True))
            for d in differences(*pair, f"{path}/{i}")
        ]
    return [] if first == second else [f"{path}: {first} and {second}"]


@pytest.fixture(scope="module", autouse=True)
def _no_calibration() -> Iterator[None]:
    """Exporting the network to measure its ranges takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolchain.training.fit.calibration", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def uninterrupted(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    train_face_parsing(options(faces, output))
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saves", "before"),
    [
        pytest.param([1], False, id="at the start"),
        pytest.param([3], False, id="within the first epoch"),
        pytest.param([5], True, id="after the first validation, before its checkpoint"),
        pytest.param([5], False, id="after the first epoch"),
        pytest.param([7, 2, 1], True, id="again and again"),
        pytest.param([13], False, id="after the last epoch"),
    ],
)
def test_killed_at_a_checkpoint(
    saves: list[int],
    before: bool,
    faces: Path,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each run is killed before or after it writes its checkpoint of that number."""
    write = Checkpoints._save
    for run, last in enumerate(saves):
        written = 0

        def save(*arguments: Any, last: int = last) -> None:
            nonlocal written
            written += 1
            if before and written == last:
                raise Killed
            write(*arguments)
            if written == last:
                raise Killed

        monkeypatch.setattr(Checkpoints, "_save", save)
        with pytest.raises(Killed):
            train_face_parsing(options(faces, tmp_path, resume=run > 0))
    monkeypatch.setattr(Checkpoints, "_save", write)
    train_face_parsing(options(faces, tmp_path, resume=True))
    assert differences(everything(uninterrupted), everything(tmp_path)) == []


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_resume import options
from toolchain.training.fit import train_face_parsing
train_face_parsing(options(Path(sys.argv[2]), Path(sys.argv[3]), workers=1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_killed_by_the_operating_system(
    ending: signal.Signals, faces: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """In the middle of the second epoch; the worker reads ahead, and dies with its parent."""
    arguments = [str(Path(__file__).parent), str(faces), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env=environment)
    try:
        while position(tmp_path) < [1, 1]:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(ending)
        process.wait()
    # Not the status of a training that is done.
    assert process.returncode == -ending
    assert position(tmp_path) < [EPOCHS, 0]
    train_face_parsing(options(faces, tmp_path, resume=True))
    assert differences(everything(uninterrupted), everything(tmp_path)) == []


def position(output: Path) -> list[int]:
    """Epoch and step of the last checkpoint, which can be read at any moment."""
    path = output / "last.ckpt"
    if not path.is_file():
        return [0, 0]
    callbacks = torch.load(path, weights_only=True)["callbacks"]
    return next(state["position"] for name, state in callbacks.items() if name.startswith("Checkpoints"))


def test_another_run_is_not_resumed(faces: Path, uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copy(uninterrupted / "last.ckpt", tmp_path)
    other = replace(recipe(), loss=replace(recipe().loss, dice=0.5))
    with pytest.raises(UsageError) as caught:
        train_face_parsing(options(faces, tmp_path, resume=True, recipe=other, seed=8))
    assert "recipe.loss.dice was 1.0, not 0.5" in caught.value.message
    assert "seed was 7, not 8" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x80\x04."])
def test_damaged_checkpoint(content: bytes, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(UnsupportedError, match=r"last\.ckpt' is no checkpoint"):
        train_face_parsing(options(faces, tmp_path, resume=True))


def test_failed_write_leaves_the_file_before_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"first"))

    def fail(file: BinaryIO) -> None:
        file.write(b"sec")
        raise ToolchainError("no room")

    with pytest.raises(ToolchainError):
        write_atomically(path, fail)
    assert path.read_bytes() == b"first"
