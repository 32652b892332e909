"""What the card of trained weights changes about a network's contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchain.errors import UnsupportedError
from toolchain.spec import ModelSpec, TensorSpec


def spec_of_card(spec: ModelSpec, card: Mapping[str, Any], weights: Path) -> ModelSpec:
    """The contract with what the card beside `weights` says of it: terms, and the classes of another head.

    A card with "labels" (and "palette") belongs to a network whose first output has these classes; an input
    that has one channel for each class, as the previous mask, follows. Colours stay where the classes do.

    Raises:
        UnsupportedError: the classes in the card are no list of names, or their colours do not fit them.
    """
    where = f"the card of '{weights}'"
    spec = replace(spec, terms=card.get("terms", spec.terms))
    if not card.get("labels") or not spec.outputs:
        return spec
    try:
        labels = tuple(str(label) for label in card["labels"])
        palette = tuple((int(r), int(g), int(b)) for r, g, b in card.get("palette", ()))
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"{where} has no proper labels and palette: {error}", "train again") from error
    if labels == spec.labels and not palette:
        palette = spec.palette
    if len(set(labels)) < len(labels) or (palette and len(palette) != len(labels)):
        raise UnsupportedError(f"{where} has no proper labels and palette", "each class needs one of each")
    classes = spec.outputs[0].shape[1]
    return replace(
        spec,
        labels=labels,
        palette=palette,
        inputs=(
            spec.inputs[0],
            *(_with_classes(tensor, classes, len(labels)) for tensor in spec.inputs[1:]),
        ),
        outputs=(_with_classes(spec.outputs[0], classes, len(labels)), *spec.outputs[1:]),
    )


def _with_classes(tensor: TensorSpec, classes: int, wanted: int) -> TensorSpec:
    """The tensor with one channel for each of `wanted` classes, if it has one for each of `classes`."""
    if len(tensor.shape) < 2 or tensor.shape[1] != classes:
        return tensor
    return replace(tensor, shape=(tensor.shape[0], wanted, *tensor.shape[2:]))
