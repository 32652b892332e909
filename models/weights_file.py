"""Loading a state dict from a file that nobody vouches for."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from toolchain.errors import UnsupportedError, UsageError

SHOWN_KEYS = 5


def read_state(path: Path | str) -> dict[str, Tensor]:
    """State dict of a `.safetensors`, `.pt`, `.pth` or `.ckpt` file; pickled code is never executed.

    A Lightning checkpoint gives the parameters below its `state_dict`, without a leading "network.".

    Raises:
        UsageError: the file cannot be read.
        UnsupportedError: it is damaged, needs unpickling of code, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no weights at '{path}'", "give a .safetensors or .pt file")
    state: object
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsupportedError(
            f"'{path}' needs unpickling of code, which could run anything",
            "save the weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise UnsupportedError(f"'{path}' is not a readable weights file: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = {str(k).removeprefix("network."): v for k, v in state["state_dict"].items()}
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UnsupportedError(f"'{path}' holds no state dict", "save model.state_dict(), not the model")
    return state


def load_weights(network: nn.Module, path: Path | str) -> None:
    """Load `path` into `network`; every key and shape must fit.

    Raises:
        UsageError: keys are missing, unexpected or of another shape; the message names them.
    """
    state = read_state(path)
    wanted = network.state_dict()
    problems = [
        _named("missing", [key for key in wanted if key not in state and "num_batches_tracked" not in key]),
        _named("unexpected", [key for key in state if key not in wanted]),
        _named(
            "of another shape",
            [
                f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
                for key in wanted
                if key in state and state[key].shape != wanted[key].shape
            ],
        ),
    ]
    found = [problem for problem in problems if problem]
    if found:
        raise UsageError(
            f"the weights in '{path}' do not fit the network: {'; '.join(found)}",
            "give the weights of this very network",
        )
    network.load_state_dict(state, strict=False)


def _named(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return f"{what}: {', '.join(keys[:SHOWN_KEYS])}{more}"
