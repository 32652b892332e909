"""The smaller network as a weights file with its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolchain.compress.removal.remove import Removal
from toolchain.compress.reshaped_weights import write_reshaped
from toolchain.errors import UsageError
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec
from toolchain.training.card import calibration, calibration_on, spread

# Belongs to the values of the larger network's graph.
STALE = ("calibration",)


def write_removal(
    removal: Removal,
    spec: ModelSpec,
    folder: Path,
    card: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    data: str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Write `NAME.safetensors` and its card `NAME.json`, which every command takes as `--weights`.

    The figures of the larger network's card stay: the function is the same. Its int8 ranges do not; they are
    measured anew on `data`, and left out without.

    Args:
        removal: the smaller network.
        spec: contract of the network.
        folder: made if it is not there.
        card: of the weights that the filters were removed from.
        weights: the file that they were read from.
        data: training pictures, as `toolchain train` takes them.
        command: the command line.

    Returns:
        The card.

    Raises:
        UsageError: data that do not fit the network, or the file would replace `weights`.
    """
    target = folder / f"{spec.name}.safetensors"
    if weights is not None and target.resolve() == weights.resolve():
        raise UsageError(
            f"'{target}' would replace the weights that were given", "choose another folder with -o"
        )
    made = {key: value for key, value in (card or {}).items() if key not in STALE}
    made |= {
        "model": spec.name,
        "terms": spec.terms,
        "parameters": removal.after.parameters,
        "removal": removal_figures(removal, weights, command),
    }
    if data is not None:
        made["calibration"] = measured_ranges(data, removal.network, spec)
    write_reshaped(folder, spec.name, removal.network, spec, made)
    return made


def removal_figures(removal: Removal, weights: Path | None = None, command: str = "") -> dict[str, Any]:
    """What the card says of the removal, as JSON can express it."""
    layers = removal.before.layers
    return {
        "from": weights.name if weights is not None else None,
        "command": command,
        "zeroed": removal.zeroed,
        "before": removal.before.totals(),
        "after": removal.after.totals(),
        "difference": removal.difference,
        "kept": {name: kept for name, kept in removal.kept.items() if len(kept) < layers[name].filters},
        "left": [
            {"layer": layer, "filters": count, "reason": reason}
            for (layer, reason), count in left_filters(removal).items()
        ],
    }


def left_filters(removal: Removal) -> dict[tuple[str, str], int]:
    """(layer, reason) -> how many zeroed filters stay there for that reason."""
    return dict(Counter((kept.layer, kept.reason) for kept in removal.left))


def measured_ranges(data: str, network: nn.Module, spec: ModelSpec) -> dict[str, Any]:
    """The card's "calibration" of the network, on training pictures.

    Raises:
        UsageError: data that do not fit the network, or a network of neither task.
    """
    # As `toolchain.source` gives it to the exporter: the order decides what some values are called.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if spec.task == SEGMENTATION:
        return calibration(data, network, spec)
    if spec.task != CLASSIFICATION:
        raise UsageError(
            f"--data measures ranges for classifiers and face parsers; '{spec.name}' is neither",
            "leave --data out, and give real inputs to `toolchain export` with --calibration",
        )
    from toolchain.training.classification import fitting_data, open_classification

    pictures = fitting_data(open_classification(data, spec.inputs[0].shape[-1]), spec).train.images
    chosen = [picture.float() for picture in spread(pictures)]
    if spec.preprocess is None:
        chosen = [picture / 255 for picture in chosen]
    return calibration_on(chosen, network, spec)
