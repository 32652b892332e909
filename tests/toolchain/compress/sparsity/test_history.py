"""The history of a training: files that are whole, the front of trade-offs, and what is said about damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.compress.sparsity.history import EpochRecord, History, pareto_front
from toolchain.errors import UnsupportedError, UsageError


def record(epoch: int, left: int = 5, **figures: float) -> EpochRecord:
    """Two layers of 3 and 4 kernels, of which `left` are not zero."""
    zeroed = np.arange(7) >= left
    norms = np.where(zeroed, 0, np.arange(1, 8, dtype=np.float32))
    return EpochRecord(
        epoch,
        {"a": norms[:3].astype(np.float32), "b.0": norms[3:].astype(np.float32)},
        {"a": zeroed[:3], "b.0": zeroed[3:]},
        0.5,
        0.1,
        figures,
        np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2),
        ("a",),
        {"strength": 0.1, "exempt": []},
    )


def history_of(folder: Path, *records: EpochRecord) -> History:
    history = History(folder)
    for each in records:
        history.write(each)
    return history


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = record(12, 4, val_error=1.5, val_loss=0.25)
    found = history_of(tmp_path / "h", written).read(12)
    assert (found.filters, found.filters_left) == (7, 4)
    for name in ("epoch", "term", "strength", "figures", "spared", "settings"):
        assert getattr(found, name) == getattr(written, name)
    assert np.array_equal(found.kernels, written.kernels)
    assert list(found.norms) == ["a", "b.0"]
    for layer in written.norms:
        assert np.array_equal(found.norms[layer], written.norms[layer])
        assert np.array_equal(found.zeroed[layer], written.zeroed[layer])
    assert found.norms["a"].dtype == np.float32
    assert found.zeroed["a"].dtype == np.bool_


def test_epochs_come_in_their_order_and_partial_files_are_no_epochs(tmp_path: Path) -> None:
    history = history_of(tmp_path, *(record(epoch) for epoch in (2, 10, 1)))
    (tmp_path / "epoch-0011.npz.partial").write_bytes(b"killed here")
    assert [each.epoch for each in history.epochs()] == [1, 2, 10]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_named(share: float, tmp_path: Path) -> None:
    history = history_of(tmp_path, record(1), record(2))
    content = history.path(2).read_bytes()
    history.path(2).write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnsupportedError, match=r"epoch-0002\.npz' is damaged") as caught:
        history.epochs()
    assert "remove this one file" in caught.value.hint


def test_no_changed_byte_goes_unnoticed(tmp_path: Path) -> None:
    """Either the file is refused by its name, or nothing that is read has changed."""
    history = history_of(tmp_path, record(1, 4, val_error=1.5))
    content = history.path(1).read_bytes()
    truth = history.read(1)
    named: list[bool] = []
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0x10
        history.path(1).write_bytes(bytes(changed))
        try:
            found = history.read(1)
        except UnsupportedError as error:
            named.append("epoch-0001.npz" in error.message)
            continue
        assert found.figures == truth.figures
        assert all(np.array_equal(found.norms[layer], truth.norms[layer]) for layer in truth.norms)
        assert np.array_equal(found.kernels, truth.kernels)
    assert all(named)
    assert len(named) > len(content) // 14


def test_another_network_in_the_folder_is_refused(tmp_path: Path) -> None:
    other = record(2)
    swapped = EpochRecord(
        2, {"a": other.norms["a"]}, {"a": other.zeroed["a"]}, 0.5, 0.1, {}, other.kernels, (), {}
    )
    with pytest.raises(UnsupportedError, match=r"epoch-0002\.npz' has other layers"):
        history_of(tmp_path, record(1), swapped).epochs()


def test_an_empty_folder_is_no_history(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no history of a training"):
        History(tmp_path / "nowhere").epochs()
    with pytest.raises(UsageError, match="has no epoch 3"):
        history_of(tmp_path, record(1)).read(3)


def test_front_and_choice(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        record(1, 7, val_error=1.0),
        record(2, 6, val_error=0.8),
        record(3, 6, val_error=0.9),
        record(4, 4, val_error=0.8),
        record(5, 3, val_error=1.1),
        record(6, 2, val_error=1.1),
        record(7, 1),
    )
    assert [each.epoch for each in history.front()] == [6, 4]
    assert history.choose(0.0).epoch == 4
    assert history.choose(0.31).epoch == 6
    assert [each.epoch for each in pareto_front(history.epochs(), "val_error")] == [6, 4]


def test_higher_is_better_for_scores() -> None:
    records = [record(1, 7, overall_f1=80.0), record(2, 5, overall_f1=85.0), record(3, 3, overall_f1=70.0)]
    assert [each.epoch for each in pareto_front(records)] == [3, 2]


def test_a_figure_that_was_not_logged_is_refused() -> None:
    with pytest.raises(UsageError, match="no epoch has the figure 'accuracy'") as caught:
        pareto_front([record(1, val_error=1.0)], "accuracy")
    assert "val_error" in caught.value.hint
    with pytest.raises(UsageError, match="any of val_error"):
        pareto_front([record(1, speed=3.0)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    records = [record(epoch, left, val_error=float(error)) for epoch, (left, error) in enumerate(points, 1)]
    front = [(each.filters_left, each.figures["val_error"]) for each in pareto_front(records)]
    assert len(set(front)) == len(front)
    for point in points:
        beaten = any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
        assert (point in front) != beaten


def test_only_wanted_weights_stay(tmp_path: Path) -> None:
    history = history_of(tmp_path, *(record(epoch) for epoch in (1, 2, 3)))
    for epoch in (1, 2, 3):
        history.write_weights(epoch, {"w": torch.full((2,), float(epoch))})
    history.keep([1, 3])
    assert [history.weights(epoch).is_file() for epoch in (1, 2, 3)] == [True, False, True]
    assert history.numbers() == [1, 2, 3]
