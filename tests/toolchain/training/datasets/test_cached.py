"""The cache: the same pairs, decoded once, shared by workers, deleted in the end."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from toolchain.errors import UsageError
from toolchain.training.datasets import Cached
from toolchain.training.datasets.crop import CroppedPairs
from toolchain.training.datasets.drawn import DrawnFaces
from toolchain.training.datasets.pairs import Skipped


class Counted(DrawnFaces):
    """Drawn faces that count how often one is drawn."""

    drawn = 0

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.drawn += 1
        return super().pair(index)


class Cropped(CroppedPairs):
    """Drawn faces with a random crop."""

    def __init__(self) -> None:
        self.faces = DrawnFaces(10, "train", 64)
        self.names, self.size, self.random = self.faces.names, 32, True

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.faces.pair(index)


@pytest.mark.parametrize("kept", [0, 3, 10, 99])
def test_pairs_are_the_same_and_decoded_once(tmp_path: Path, kept: int) -> None:
    source, plain = Counted(10, "train", 32), DrawnFaces(10, "train", 32)
    cached = Cached(source, limit=kept * (4 * 32 * 32 + 1), folder=tmp_path)
    assert cached.kept == min(kept, 10)
    for _ in range(3):
        for index in range(10):
            for found, wanted in zip(cached[index], plain[index], strict=True):
                assert torch.equal(found, wanted)
    assert source.drawn == cached.kept + 3 * (10 - cached.kept)


def test_changing_a_pair_does_not_change_the_cache(tmp_path: Path) -> None:
    cached = Cached(DrawnFaces(4, "train", 32), folder=tmp_path)
    first = cached[0][1].clone()
    for _ in range(2):
        picture, label = cached.pair(0)
        picture[:] = label[:] = 7
    assert torch.equal(cached[0][1], first)


def test_random_crops_stay_random_and_follow_the_seed(tmp_path: Path) -> None:
    cached = Cached(Cropped(), folder=tmp_path)
    assert cached.stored_side == 48
    for _ in range(2):
        torch.manual_seed(2)
        found = [cached[index][1] for index in (0, 0, 1)]
        torch.manual_seed(2)
        wanted = [Cropped()[index][1] for index in (0, 0, 1)]
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        assert not torch.equal(found[0], found[1])


def test_workers_fill_one_cache(tmp_path: Path) -> None:
    source = Counted(6, "train", 32)
    cached = Cached(source, folder=tmp_path)
    first = torch.cat([batch[0] for batch in DataLoader(cached, 2, num_workers=2)])
    # What the workers drew is here already.
    again = torch.stack([cached[index][0] for index in range(6)])
    assert torch.equal(first, again)
    assert source.drawn == 0


def test_a_pickled_copy_fills_the_same_file_and_does_not_delete_it(tmp_path: Path) -> None:
    source = Counted(4, "train", 32)
    cached = Cached(source, folder=tmp_path)
    copy = pickle.loads(pickle.dumps(cached))
    drawn = copy[1][0]
    del copy
    gc.collect()
    assert torch.equal(cached[1][0], drawn)
    assert source.drawn == 0
    assert len(list(tmp_path.iterdir())) == 1
    del cached
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_leaving_pairs_out(tmp_path: Path) -> None:
    cached = Cached(DrawnFaces(4, "train", 32), folder=tmp_path)
    rest = cached.without([Skipped("000001", "damaged")])
    assert rest.names == ["000000", "000002", "000003"]
    assert [entry.name for entry in rest.skipped] == ["000001"]
    assert torch.equal(rest[1][0], DrawnFaces(4, "train", 32)[2][0])


def test_a_full_disk_is_noticed_before(tmp_path: Path, monkeypatch) -> None:
    from toolchain.training.datasets import cached as module

    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UsageError, match="no room"):
        Cached(DrawnFaces(4, "train", 32), folder=tmp_path)
