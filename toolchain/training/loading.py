"""Batches of pairs in an order that depends on seed and epoch alone, from any position on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from toolchain.errors import ToolchainError
from toolchain.training.datasets.pairs import FacePairs

PREFETCHED = 4

# Picture (3, s, s) and label map (s, s), both uint8.
Sample = tuple[Tensor, Tensor]


# Epoch and index of a pair.
Key = tuple[int, int]


class EpochSampler(Sampler[Key]):
    """Every process's share of an epoch, as keys (epoch, index).

    Shuffled orders are a function of seed and epoch, so that an epoch can be entered in the middle.

    Args:
        count: number of pairs.
        batch_size: pairs that this process takes a step.
        seed: seed of the order; None for the plain order, of which nothing is dropped.
    """

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0
        self._start = (0, 0)

    def start_at(self, epoch: int, batch: int) -> None:
        """Let the next iteration begin in front of a batch of an epoch."""
        self._start = (epoch, batch)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Pairs of a whole epoch in this process, wherever the next iteration begins."""
        rank, processes = _place()
        if self.seed is None:
            return len(range(rank, self.count, processes))
        return self.count // processes

    def __iter__(self) -> Iterator[Key]:
        rank, processes = _place()
        if self.seed is None:
            yield from ((0, index) for index in range(rank, self.count, processes))
            return
        # Lightning makes the first iterator of a resumed run before it calls set_epoch.
        epoch = max(self.epoch, self._start[0])
        skipped = self._start[1] * self.batch_size if epoch == self._start[0] else 0
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        for index in order[rank::processes][: len(self)][skipped:]:
            yield epoch, int(index)


class KeyedPairs(Dataset[Sample | ToolchainError]):
    """Pairs by key: what a dataset varies at random depends on seed, epoch and index alone.

    Args:
        pairs: the dataset; it draws from torch's generator.
        seed: of what it draws.
    """

    def __init__(self, pairs: FacePairs, seed: int) -> None:
        self.pairs, self.seed = pairs, seed

    def __getitem__(self, key: Key) -> Sample | ToolchainError:
        """The pair, or why there is none: raised in a worker, an error would lose its hint."""
        _seed_everything(self.seed, *key)
        try:
            return self.pairs[key[1]]
        except ToolchainError as error:
            return error


class TimedLoader(DataLoader[Any]):
    """A DataLoader that knows how long it was waited for.

    Attributes:
        waited: seconds spent inside `next`.

    Iteration raises the ToolchainError of a damaged pair.
    """

    waited: float = 0.0

    def __iter__(self) -> Any:
        return self._timed(super().__iter__())

    def _timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            begin = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - begin
            if isinstance(batch, ToolchainError):
                raise batch
            yield batch


def make_loader(pairs: FacePairs, batch_size: int, workers: int, seed: int | None) -> TimedLoader:
    """Batches of (uint8 picture (N, 3, s, s), uint8 label map (N, s, s)).

    Args:
        pairs: what to read.
        batch_size: pairs of a batch; an incomplete last one of a shuffled epoch is dropped, if it is not the
            only one.
        workers: processes that decode.
        seed: seed of the order, None for the plain order.
    """
    sampler = EpochSampler(len(pairs), batch_size, seed)
    return TimedLoader(
        KeyedPairs(pairs, seed or 0),
        batch_size,
        collate_fn=_collate,
        sampler=sampler,
        drop_last=seed is not None and len(sampler) > batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCHED if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread,
        # Without it each iterator would draw from the global generator.
        generator=torch.Generator(),
    )


def seed_step(seed: int, epoch: int, batch: int) -> None:
    """Seed torch, numpy and random for one training step of this process.

    Whatever is drawn in a step depends on these numbers alone, not on what was drawn before: a run that
    was killed and resumed draws the same.
    """
    rank, _ = _place()
    _seed_everything(seed, rank, epoch, batch)


def _seed_everything(*numbers: int) -> None:
    state = np.random.SeedSequence(numbers).generate_state(4, np.uint32)
    torch.manual_seed(int(state[0]) << 32 | int(state[1]))
    np.random.seed(state[2])
    random.seed(int(state[3]))


def _place() -> tuple[int, int]:
    """Number of this process and count of all."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _collate(samples: list[Sample | ToolchainError]) -> Any:
    damaged = [sample for sample in samples if isinstance(sample, ToolchainError)]
    return damaged[0] if damaged else default_collate(samples)


def _one_thread(_worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)
