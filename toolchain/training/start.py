"""Starting a training from weights that fit a network but for its last layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from toolchain.errors import UsageError
from toolchain.models.weights_file import read_state

# Attributes of the zoo's networks below which weights may be others: other classes, another input size.
HEADS = ("classifier.", "head.")
_NAMED = 3


@dataclass(frozen=True)
class Started:
    """What became of a weights file.

    Attributes:
        loaded: tensors of the network that were loaded.
        fresh: tensors of the network that stayed as they were: the file has none, or one of another shape.
        unused: tensors of the file for which the network has no use.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def start_from(network: nn.Module, path: Path | str, heads: Sequence[str] = HEADS) -> Started:
    """Load what fits, in place: everything but the head must.

    Args:
        network: for example an AlexNet for two classes.
        path: weights of the same architecture, for example torchvision's for ImageNet.
        heads: beginnings of the names of tensors that may be missing or of another shape.

    Raises:
        UsageError: another tensor is missing or of another shape; the message names it.
        UnsupportedError: the file is damaged or no state dict.
    """
    state, own = read_state(path), network.state_dict()
    fitting = {
        name: state[name]
        for name, tensor in own.items()
        if name in state and state[name].shape == tensor.shape
    }
    fresh = [name for name in own if name not in fitting and "num_batches_tracked" not in name]
    wrong = [name for name in fresh if not name.startswith(tuple(heads))]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise UsageError(
            f"the weights in '{path}' do not fit the network: missing or of another shape are"
            f" {', '.join(wrong[:_NAMED])}{more}",
            f"only what begins with {' or '.join(heads)} may differ",
        )
    network.load_state_dict(fitting, strict=False)
    return Started(tuple(fitting), tuple(fresh), tuple(name for name in state if name not in own))
