"""Loading a state dict from a file that nobody vouches for."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.reshape import fit_to_state

log = logging.getLogger(__name__)

SHOWN_KEYS = 5
LIGHTNING_PREFIX = "network."
FOLDER_ATTRIBUTE = 0x10
# In the metadata of a safetensors file: the layers have other widths than the network's own.
RESHAPED = "reshaped"
SAVE_HINT = "save the weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"


def read_state(path: Path | str) -> dict[str, Tensor]:
    """State dict of a `.safetensors`, `.pt`, `.pth` or `.ckpt` file; pickled code is never executed.

    A Lightning checkpoint gives what lies below its `state_dict`: the parameters of the attribute
    `network` without the leading "network.", or all of them when there is no such attribute.

    Raises:
        UsageError: the file cannot be opened.
        UnsupportedError: it is damaged, needs unpickling of code, or holds no state dict.
    """
    path = Path(path)
    try:
        path.open("rb").close()
    except OSError as error:
        raise UsageError(
            f"weights '{path}' cannot be read: {error.strerror}", "give a .safetensors or .pt file"
        ) from error
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    state = _read_pickle(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = _of_network(state["state_dict"])
    if not _is_state(state):
        raise UnsupportedError(
            f"'{path}' holds no state dict of plain tensors", "save model.state_dict(), not the model"
        )
    return state


def load_weights(network: nn.Module, path: Path | str) -> None:
    """Load `path` into `network`; every key, shape and kind of number must fit.

    Weights whose file says that they are reshaped (filters were removed, or the head has fewer classes) give
    the network their widths. Floating-point numbers of another precision are converted to the network's. The
    counters of batch normalization (`num_batches_tracked`) may be missing. Keys that the network does
    without, see `unused_keys`, are left out, and the log says so.

    Raises:
        UsageError: keys are missing, unexpected, of another shape or kind; the message names them.
    """
    state = read_state(path)
    if are_reshaped(path):
        fit_to_state(network, state)
    wanted, unused = network.state_dict(), unused_keys(network, state)
    common = [(key, state[key], wanted[key]) for key in wanted if key in state]
    problems = [
        _named("missing", [key for key in wanted if key not in state and "num_batches_tracked" not in key]),
        _named("unexpected", [key for key in state if key not in wanted and key not in unused]),
        _named(
            "of another shape",
            [
                f"{key} {tuple(given.shape)} instead of {tuple(own.shape)}"
                for key, given, own in common
                if given.shape != own.shape
            ],
        ),
        _named(
            "of another kind",
            [
                f"{key} {_kind(given)} instead of {_kind(own)}"
                for key, given, own in common
                if _kind(given) != _kind(own)
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
    if unused:
        left = _named("which the network does without", unused)
        log.warning("left out %d tensors of '%s', %s", len(unused), path, left)


def unused_keys(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Keys of a well-known weights file that the network knows of and does without.

    A network names their beginnings in its attribute `unused_weights`: those of a part that only the training
    of its source used, as FCN's auxiliary head. Networks without that attribute do without nothing.
    """
    beginnings = getattr(network, "unused_weights", ())
    if not isinstance(beginnings, tuple):
        return []
    own = network.state_dict()
    return [key for key in state if key not in own and key.startswith(beginnings)]


def are_reshaped(path: Path | str) -> bool:
    """Whether a weights file says that its layers have other widths than the network's own.

    Raises:
        UsageError, UnsupportedError: as for `read_state`, for a `.safetensors` file.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(RESHAPED) == "true"
    except (SafetensorError, OSError, ValueError) as error:
        raise UnsupportedError(f"'{path}' is damaged or no safetensors file: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UnsupportedError(f"'{path}' is damaged or no safetensors file: {error}") from error


def _read_pickle(path: Path) -> object:
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            # What torch warns about here either loads or is refused below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The restricted unpickler meets damaged bytes with nearly every type of error.
        raise _refusal(path, error) from error


def _check_archive(path: Path) -> None:
    """Refuse a zip archive whose directory or checksums are wrong: torch loads wrong numbers from it."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip() or _misread(archive)
    except Exception as error:
        raise UnsupportedError(f"'{path}' is a damaged archive: {error}") from error
    if bad is not None:
        raise UnsupportedError(
            f"'{path}' is a damaged archive: the checksum or entry of '{bad}' is wrong",
            "copy or save it again",
        )


def _misread(archive: zipfile.ZipFile) -> str | None:
    """A member that torch would leave partly unread, with whatever was in memory as its numbers.

    It is marked as a folder, or is stored as it is and yet has two different sizes.
    """
    for member in archive.infolist():
        stored = member.compress_type == zipfile.ZIP_STORED
        if member.external_attr & FOLDER_ATTRIBUTE or (stored and member.file_size != member.compress_size):
            return member.filename
    return None


def _refusal(path: Path, error: Exception) -> UnsupportedError:
    foreign = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if foreign:
        return UnsupportedError(
            f"'{path}' needs unpickling of code ({foreign[1]}), which could run anything", SAVE_HINT
        )
    if "TorchScript" in str(error):
        return UnsupportedError(f"'{path}' is a TorchScript program, not a state dict", SAVE_HINT)
    return UnsupportedError(f"'{path}' is damaged or no weights file", SAVE_HINT)


def _of_network(state: dict[object, object]) -> dict[object, object]:
    own: dict[object, object] = {
        key.removeprefix(LIGHTNING_PREFIX): value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith(LIGHTNING_PREFIX)
    }
    return dict(own or state)


def _is_state(state: object) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(state, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) and _is_plain(value)
        for key, value in state.items()
    )


def _is_plain(tensor: Tensor) -> bool:
    """Whether the numbers lie in memory one by one: not sparse, nested or on "meta"."""
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_meta


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    return "floating-point" if tensor.is_floating_point() else "integer"


def _named(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return f"{what}: {', '.join(keys[:SHOWN_KEYS])}{more}"
