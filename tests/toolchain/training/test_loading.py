"""Order, position and random numbers of the batches."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.training import loading
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.loading import EpochSampler, make_loader, seed_step


class Numbered(FacePairs):
    """Pictures that show their index, and a random number of torch's generator."""

    size = 4

    def __init__(self, count: int, damaged: int | None = None) -> None:
        self.names = [str(index) for index in range(count)]
        self.damaged = damaged

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index == self.damaged:
            raise UnsupportedError(f"'{index}.jpg' is damaged", "download it again")
        picture = np.full((4, 4, 3), index, np.uint8)
        return picture, np.full((4, 4), int(torch.randint(256, ())), np.uint8)


def indices(sampler: EpochSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert all(key[0] == epoch for key in keys)
    return [key[1] for key in keys]


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 5),
    data=st.data(),
)
def test_an_epoch_entered_in_the_middle_goes_on_as_it_would_have(
    count: int, batch_size: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    whole = indices(EpochSampler(count, batch_size, seed), epoch)
    assert sorted(whole) == list(range(count))
    batch = data.draw(st.integers(0, count // batch_size))
    resumed = EpochSampler(count, batch_size, seed)
    resumed.start_at(epoch, batch)
    # As Lightning does: the first iterator is made before the epoch is set.
    assert [key for _, key in resumed] == whole[batch * batch_size :]
    assert len(resumed) == count
    following = EpochSampler(count, batch_size, seed)
    assert indices(resumed, epoch + 1) == indices(following, epoch + 1)


@given(count=st.integers(8, 60), processes=st.integers(1, 5), shuffled=st.booleans())
def test_processes_share_an_epoch(count: int, processes: int, shuffled: bool) -> None:
    shares = []
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(processes):
            patch.setattr(loading, "_place", lambda rank=rank: (rank, processes))
            sampler = EpochSampler(count, 2, 3 if shuffled else None)
            shares.append(indices(sampler, 0))
            assert len(shares[-1]) == len(sampler)
    together = [index for share in shares for index in share]
    assert len(set(together)) == len(together)
    # Shuffled shares are equally long; what is measured on must be complete.
    assert len(together) == (count - count % processes if shuffled else count)


def test_epochs_differ() -> None:
    sampler = EpochSampler(100, 10, 0)
    assert indices(sampler, 0) != indices(sampler, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_dataset_draws_depends_on_the_key_alone(workers: int) -> None:
    loader = make_loader(Numbered(10), 2, workers, seed=5)
    whole = [(image[:, 0, 0, 0].tolist(), label[:, 0, 0].tolist()) for image, label in loader]
    torch.manual_seed(99)
    resumed = make_loader(Numbered(10), 2, 0, seed=5)
    resumed.sampler.start_at(0, 2)
    rest = [(image[:, 0, 0, 0].tolist(), label[:, 0, 0].tolist()) for image, label in resumed]
    assert rest == whole[2:]
    resumed.sampler.set_epoch(1)
    assert {tuple(label[:, 0, 0].tolist()) for _, label in resumed}.isdisjoint(tuple(b) for _, b in whole)
    assert loader.waited > 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_pair_is_one_error_with_its_hint(workers: int) -> None:
    with pytest.raises(UnsupportedError) as caught:
        list(make_loader(Numbered(6, damaged=3), 2, workers, seed=0))
    assert (caught.value.message, caught.value.hint) == ("'3.jpg' is damaged", "download it again")


def draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_a_step_draws_the_same_whatever_came_before() -> None:
    seed_step(1, 2, 3)
    first = draws()
    draws()
    seed_step(1, 2, 3)
    assert draws() == first
    for other in ((0, 2, 3), (1, 3, 3), (1, 2, 4)):
        seed_step(*other)
        assert not set(draws()) & set(first)
