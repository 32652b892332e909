"""Specialise a network: fewer classes, a smaller head, more training with the sparsity term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from toolchain.compress.distill.teacher import Teacher
from toolchain.compress.specialise.classes import kept_classes, named_classes
from toolchain.compress.specialise.fit import Network
from toolchain.compress.specialise.head import select_rows, shrink_head
from toolchain.compress.specialise.job import Job
from toolchain.compress.specialise.thin import thin
from toolchain.compress.specialise.train import classification_data, train_network
from toolchain.errors import UsageError
from toolchain.spec import CLASSIFICATION


def specialise(
    whole: Network,
    classes: Sequence[str],
    job: Job,
    teacher: Teacher | None = None,
    shares: Mapping[str, float] | None = None,
) -> dict[str, Any] | None:
    """Shrink the head to some classes, train, and write weights and card.

    Args:
        whole: the network with all classes; its module is left as it is.
        classes: names of classes or groups, see `kept_classes`. Those of a classifier may also be classes of
            the data that the network does not know: their rows of the head start at random.
        job: how to train.
        teacher: from whom to learn besides; None for no one.
        shares: layer -> share of channels that are kept before the training, see `thin`.

    Returns:
        The card; None in every process of a distributed training but the first.

    Raises:
        UsageError: a class does not exist, or nothing is left to do or to learn; what the training refuses.
        UnsupportedError: head or mask input cannot be shrunk, or the network cannot be traced for `shares`.
    """
    small = specialised_network(whole, classes, job)
    notes: dict[str, Any] = {"specialised": {"classes": list(classes), "of": len(whole.spec.labels)}}
    if shares:
        small, left = thinned(small, shares)
        notes["kept_channels"] = left
    return train_network(small, job, teacher, whole, notes)


def specialised_network(whole: Network, classes: Sequence[str], job: Job) -> Network:
    """The network with a head for these classes, not trained yet.

    Raises:
        UsageError, UnsupportedError: as `specialise`.
    """
    if whole.spec.task != CLASSIFICATION:
        return Network(*shrink_head(whole.module, whole.spec, classes))
    known = {label.lower() for label in whole.spec.labels}
    if not whole.new_head and all(name.strip().lower() in known for name in classes):
        kept_classes(whole.spec, classes)
    data = classification_data(whole, job)
    chosen = sorted(named_classes(data.labels, classes, f"data '{job.data}'"))
    if len(chosen) < 2:
        raise UsageError(
            f"'{data.labels[chosen[0]]}' alone leaves '{whole.spec.name}' nothing to tell apart",
            f"name at least two; classes are {', '.join(data.labels)}",
        )
    labels = [data.labels[index] for index in chosen]
    row = {label: index for index, label in enumerate(whole.spec.labels)}
    # The order of a network that knows all of them stays its own.
    labels.sort(key=lambda label: row.get(label, len(row)))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(job.seed)
        return Network(*select_rows(whole.module, whole.spec, [row.get(label) for label in labels], labels))


def thinned(network: Network, shares: Mapping[str, float]) -> tuple[Network, dict[str, int]]:
    """A narrower network, and how many channels each layer has left.

    Raises:
        UsageError: a layer does not exist.
        UnsupportedError: the network cannot be traced.
    """
    example = [torch.rand(tensor.shape) for tensor in network.spec.inputs]
    removal = thin(network.module, example, shares)
    return Network(removal.network, network.spec), {name: len(left) for name, left in removal.kept.items()}
