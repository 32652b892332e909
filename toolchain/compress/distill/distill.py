"""Distillation: a student network learns to answer as its teacher does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolchain.compress.distill.teacher import Teacher, check_teacher
from toolchain.compress.specialise.fit import Network
from toolchain.compress.specialise.job import Job
from toolchain.compress.specialise.specialise import thinned
from toolchain.compress.specialise.train import train_network


def distill(
    student: Network, teacher: Teacher, job: Job, shares: Mapping[str, float] | None = None
) -> dict[str, Any] | None:
    """Train a student with a teacher, and write weights and card.

    Args:
        student: what is trained, in place: a zoo network, or one with fewer filters or classes.
        teacher: a trained network; a face parser may know more classes than the student.
        job: how to train.
        shares: layer -> share of the student's channels that are kept before the training, see `thin`.

    Returns:
        The card; None in every process of a distributed training but the first.

    Raises:
        UsageError: the teacher has another task, other classes or another input; what the training refuses.
        UnsupportedError: the task cannot be trained here.
    """
    check_teacher(teacher, student.spec)
    notes: dict[str, Any] = {}
    if shares:
        student, notes["kept_channels"] = thinned(student, shares)
    return train_network(student, job, teacher, Network(teacher.network, teacher.spec), notes)
