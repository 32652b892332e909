"""A classifier that learns from another one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.compress.distill.losses import soft_label_loss
from toolchain.compress.distill.teacher import Teacher
from toolchain.spec import ModelSpec
from toolchain.training.classification_module import Loss


def taught_loss(teacher: Teacher, spec: ModelSpec) -> Loss:
    """Cross entropy and the teacher's soft labels, each with its share (arXiv:1503.02531).

    Args:
        teacher: has the classes of the network that learns; it sees the same augmented pictures.
        spec: contract of the network that learns; where its range of pixels is not the teacher's, pictures
            are brought into the teacher's.
    """
    network = teacher.network.eval().requires_grad_(False)
    ours, theirs = range_of(spec), range_of(teacher.spec)

    def loss(images: Tensor, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        # The module that trains moves to its device; the teacher is no part of it.
        network.to(images.device)
        with torch.no_grad():
            answers = network(converted(images, ours, theirs)).float()
        truth = functional.cross_entropy(logits, targets)
        soft = soft_label_loss(logits, answers, teacher.temperature)
        total = (1 - teacher.share) * truth + teacher.share * soft
        return {"loss": total, "cross_entropy": truth, "distillation": soft}

    return loss


Range = tuple[tuple[float, ...], tuple[float, ...]]


def range_of(spec: ModelSpec) -> Range:
    """Mean and standard deviation on the 0-255 scale; without a contract pictures are in 0-1."""
    if spec.preprocess is None:
        return (0.0,), (255.0,)
    return spec.preprocess.mean, spec.preprocess.std


def converted(images: Tensor, ours: Range, theirs: Range) -> Tensor:
    """Pictures (N, C, H, W) in one range of pixels, in another one."""
    if ours == theirs:
        return images
    mean, std, their_mean, their_std = (
        torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (*ours, *theirs)
    )
    return (images * std + mean - their_mean) / their_std
