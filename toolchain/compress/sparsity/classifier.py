"""The classifier that is trained with kernel sparsity: one of the zoo, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from toolchain.errors import UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.spec import CLASSIFICATION, ModelSpec
from toolchain.training.classification import new_classifier

CONTRACT = "let the factory return (module, ModelSpec) with task 'classification', inputs, outputs and labels"


def zoo_classifier(
    name: str, labels: Sequence[str], weights: Path | None, seed: int
) -> tuple[nn.Module, ModelSpec]:
    """A classifier of the zoo for the classes of the data.

    Args:
        name: of the network.
        labels: classes of the data.
        weights: state dict to start from, None for random weights.
        seed: of the random weights.

    Raises:
        UsageError: the network is no classifier, or the weights do not fit it.
    """
    network, spec = new_classifier(zoo().get(name), labels, seed)
    if weights is not None:
        load_weights(network, weights)
    return network, spec


def check_classifier(spec: ModelSpec, owner: str) -> None:
    """Refuse what is no classifier of one picture.

    Args:
        spec: of a network of the user's own.
        owner: what the network is called in messages.

    Raises:
        UsageError: it is made for another task, or takes something else.
    """
    if spec.task != CLASSIFICATION:
        raise UsageError(
            f"'{owner}' is made for {spec.task}, and only classifiers of your own are trained here",
            f"{CONTRACT}; `toolchain compress specialise` and `distill` train segmenters, too",
        )
    shape = spec.inputs[0].shape
    if len(spec.inputs) != 1 or len(shape) != 4:
        raise UsageError(
            f"'{owner}' takes {', '.join(str(list(each.shape)) for each in spec.inputs)}",
            "a classifier that is trained here takes one picture, (1, channels, height, width)",
        )


def with_classes(spec: ModelSpec, labels: Sequence[str], owner: str) -> ModelSpec:
    """The contract with the classes of the data, where it names none.

    Args:
        spec: of a classifier.
        labels: classes of the data.
        owner: what the network is called in messages.

    Raises:
        UsageError: the network has another number of logits.
    """
    classes = spec.outputs[0].shape[-1]
    if spec.labels:
        return spec
    if classes != len(labels):
        raise UsageError(
            f"'{owner}' gives {classes} logits, and the data have {len(labels)} classes",
            f"let the factory make a network with {len(labels)} outputs, or give other data",
        )
    return replace(spec, labels=tuple(labels))
