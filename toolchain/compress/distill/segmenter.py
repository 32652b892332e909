"""A segmenter of single pictures that learns from another one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from toolchain.compress.distill.classifier import converted, range_of
from toolchain.compress.distill.losses import FeatureTap, pairwise_loss
from toolchain.compress.distill.teacher import Teacher
from toolchain.compress.specialise.head import find_head
from toolchain.compress.specialise.reduction import ClassReduction
from toolchain.spec import ModelSpec
from toolchain.training.losses import FaceParsingLoss, LossSettings
from toolchain.training.segmentation import SegmentationLoss


def taught_segmentation_loss(teacher: Teacher, network: nn.Module, spec: ModelSpec) -> SegmentationLoss:
    """Cross entropy and Dice, the teacher's answer in every pixel, and the pairwise term (arXiv:1903.04197).

    Args:
        teacher: knows the classes of the network, or more of them, which are background to it.
        network: that learns; its features in front of the head are looked at.
        spec: its contract.
    """
    settings = replace(LossSettings(), distillation=teacher.share, temperature=teacher.temperature)
    own, taught_by = FaceParsingLoss(settings), teacher.network.eval().requires_grad_(False)
    reduction = ClassReduction(teacher.spec.labels, spec.labels)
    ours, theirs = range_of(spec), range_of(teacher.spec)
    pairs = ((network, spec), (taught_by, teacher.spec)) if teacher.pairwise else ()
    taps = [FeatureTap(who, find_head(who, contract)) for who, contract in pairs]

    def loss(images: Tensor, logits: Tensor, maps: Tensor) -> dict[str, Tensor]:
        taught_by.to(images.device)
        with torch.no_grad():
            answers = reduction.logits(taught_by(converted(images, ours, theirs)).float())
        terms = own(logits, maps, answers)
        if taps:
            terms["pairwise"] = pairwise_loss(taps[0].take(), taps[1].take(), teacher.nodes)
            terms["loss"] = terms["loss"] + teacher.pairwise * terms["pairwise"]
        return terms

    return loss
