"""Weights of a network that is narrower than the zoo's, with a card that says what its classes are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from toolchain.models.weights_file import RESHAPED
from toolchain.spec import ModelSpec
from toolchain.training.checkpoints import write_atomically


def write_reshaped(
    folder: Path, name: str, network: nn.Module, spec: ModelSpec, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Write `NAME.safetensors`, and then its card `NAME.json`.

    The safetensors' metadata say "reshaped", so that whoever loads them shrinks the network to their shapes;
    the card has "labels" and "palette" of the contract.

    Args:
        folder: where to; made if it is not there.
        name: of the files.
        network: any widths.
        spec: contract of the network.
        card: what else there is to say; "terms" goes into the metadata as well.

    Returns:
        The whole card.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    content = save(state, metadata={"terms": str(card.get("terms", "")), RESHAPED: "true"})
    write_atomically(folder / f"{name}.safetensors", lambda file: file.write(content))
    whole = {**card, "labels": list(spec.labels), "palette": [list(color) for color in spec.palette]}
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / f"{name}.json", lambda file: file.write(text.encode()))
    return whole
