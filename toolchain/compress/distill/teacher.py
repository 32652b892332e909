"""Who teaches: a trained network and what its classes are called."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from toolchain.compress.distill.losses import NODES
from toolchain.errors import UsageError
from toolchain.spec import ModelSpec


@dataclass(frozen=True)
class Teacher:
    """A trained network from which another one learns.

    Attributes:
        network: in any mode; it is run in evaluation mode.
        spec: its contract.
        name: as the user wrote it, for the card.
        share: share (0-1) of the loss that learns from the teacher; the rest learns the truth.
        temperature: of both softmaxes.
        pairwise: factor of the pairwise term, for segmenters; 0 for none.
        nodes: patches along each side of a feature map for that term.
    """

    network: nn.Module
    spec: ModelSpec
    name: str
    share: float = 0.5
    temperature: float = 2.0
    pairwise: float = 0.0
    nodes: int = NODES

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UsageError(f"the teacher's share is {self.share:g}", "give a number from 0 to 1")
        if not 0.1 <= self.temperature <= 100:
            raise UsageError(f"the temperature is {self.temperature:g}", "give a number from 0.1 to 100")
        if not 0 <= self.pairwise <= 1000:
            raise UsageError(f"the factor of the pairwise term is {self.pairwise:g}", "0 to 1000")


def check_teacher(teacher: Teacher, spec: ModelSpec) -> None:
    """Whether a teacher can teach a network.

    Args:
        teacher: a segmenter may know more classes than the network; what the network does not know is
            background to it.
        spec: contract of the network that learns.

    Raises:
        UsageError: it has another task, other classes, or another input, or the pairwise term is of no use.
    """
    theirs, ours = teacher.spec, spec
    if theirs.task != ours.task:
        raise UsageError(
            f"teacher '{teacher.name}' is made for {theirs.task}, the network for {ours.task}",
            "`toolchain models` lists tasks",
        )
    if theirs.task == "classification" and teacher.pairwise:
        raise UsageError(
            "the pairwise term compares places of a picture: it is for segmenters, not for classifiers",
            "leave --pairwise out",
        )
    missing = [label for label in ours.labels if label not in theirs.labels]
    if missing:
        raise UsageError(
            f"teacher '{teacher.name}' does not know the class(es) {', '.join(missing)}",
            "give a teacher that knows all classes of the network",
        )
    if theirs.task == "classification" and theirs.labels != ours.labels:
        raise UsageError(
            f"teacher '{teacher.name}' has {len(theirs.labels)} classes, the network {len(ours.labels)}",
            "specialise the teacher to the same classes first: `toolchain compress specialise`",
        )
    if theirs.inputs[0].shape[1:] != ours.inputs[0].shape[1:]:
        raise UsageError(
            f"teacher '{teacher.name}' takes pictures of other sizes than the network",
            "give a teacher with the same input",
        )
