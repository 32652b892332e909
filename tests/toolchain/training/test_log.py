"""CSV and TensorBoard hold the same figures, every epoch once, wherever a run was killed."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from toolchain.training.log import TrainingLog


def csv_figures(output: Path) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) by name, of the CSV file."""
    rows = list(csv.DictReader((output / "log.csv").open()))
    names = [name for name in rows[0] if name not in ("epoch", "step")]
    return {name: [(int(row["epoch"]), float(row[name])) for row in rows] for name in names}


def event_figures(output: Path) -> dict[str, list[tuple[int, Any]]]:
    """(epoch, value) by name, as TensorBoard shows them."""
    events = EventAccumulator(str(output / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return {
        name: [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def event_pictures(output: Path) -> list[tuple[int, np.ndarray]]:
    """(epoch, RGB picture) of the sample pictures, as TensorBoard shows them."""
    events = EventAccumulator(str(output / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return [
        (event.step, cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), 1)[:, :, ::-1])
        for event in events.Images("samples")
    ]


def figures(epoch: int) -> dict[str, float]:
    return {"train_loss": 1.0 / epoch, "overall_f1": 90.0 + epoch}


def picture(shade: int) -> np.ndarray:
    return np.full((4, 6, 3), (shade, 0, 200), np.uint8)


def start(output: Path, epochs_done: int, state: dict[str, Any] | None) -> TrainingLog:
    log = TrainingLog(output)
    if state is not None:
        log.load_state_dict(state)
    log.on_train_start(SimpleNamespace(is_global_zero=True, current_epoch=epochs_done), None)
    return log


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_killed_run_and_its_continuation_log_each_epoch_once(kept: int, tmp_path: Path) -> None:
    """The first run logs three epochs and is killed; the last checkpoint is that of epoch `kept`."""
    states: list[dict[str, Any]] = [{"rows": []}]
    log = start(tmp_path, 0, None)
    for epoch in (1, 2, 3):
        log.add_picture("samples", picture(epoch), epoch)
        log.add(epoch, 10 * epoch, figures(epoch))
        states.append({"rows": [dict(row) for row in log.state_dict()["rows"]]})
    log = start(tmp_path, kept, states[kept])
    for epoch in range(kept + 1, 5):
        log.add_picture("samples", picture(100 + epoch), epoch)
        log.add(epoch, 10 * epoch, figures(epoch))
    log.teardown(None, None, "fit")
    expected = {name: [(e, figures(e)[name]) for e in (1, 2, 3, 4)] for name in figures(1)}
    assert csv_figures(tmp_path) == expected
    assert event_figures(tmp_path) == expected
    shown = event_pictures(tmp_path)
    assert [epoch for epoch, _ in shown] == [1, 2, 3, 4]
    for epoch, found in shown:
        assert np.array_equal(found, picture(epoch if epoch <= kept else 100 + epoch))


def test_a_further_process_logs_nothing(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.on_train_start(SimpleNamespace(is_global_zero=False, current_epoch=0), None)
    log.add_picture("samples", picture(1), 1)
    assert list(tmp_path.iterdir()) == []
