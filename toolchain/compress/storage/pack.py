"""Deep compression of a weights file: shared weights, Huffman codes, one packed file; and the way back.

Source: Han, Mao, Dally, Deep Compression (arXiv:1510.00149). Pruning comes before: it leaves zeros in the
file. Weight sharing and Huffman coding are done here; `pack_training` fine-tunes the centroids in between.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from toolchain.compress.storage.clusters import share
from toolchain.compress.storage.packed_file import METADATA, Header, TensorEntry, read_packed, to_bytes
from toolchain.compress.storage.tensor import DTYPES, RAW, SHARED, code_raw, code_shared
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.reshape import fit_to_state
from toolchain.models.weights_file import RESHAPED, read_state, unused_keys

CONV, LINEAR = "conv", "linear"
LAYERS = (CONV, LINEAR)
MOST_BITS = 8
Bits = Mapping[str, int]


@dataclass(frozen=True)
class PackedTensor:
    """One row of the report.

    Attributes:
        name: of the tensor.
        weights: how many numbers it has.
        coding: "raw", "dense" or "sparse".
        bits: bits of the codes; 0 for "raw".
        entries: distinct values that are left; 0 for "raw".
        bytes_before: of its numbers in the source file.
        bytes_after: in the packed file.
        error: root of the mean squared error over that of the weights; 0 when nothing is lost.
    """

    name: str
    weights: int
    coding: str
    bits: int
    entries: int
    bytes_before: int
    bytes_after: int
    error: float


@dataclass(frozen=True)
class PackReport:
    """What packing did.

    Attributes:
        tensors: one row each, in the order of the source file.
        state: the tensors that the packed file stands for, bit by bit.
        bytes_before: of the whole source file.
        bytes_after: of the whole packed file: header, tables, payload and checksum.
    """

    tensors: tuple[PackedTensor, ...]
    state: dict[str, Tensor]
    bytes_before: int
    bytes_after: int

    @property
    def ratio(self) -> float:
        """Bytes before for each byte after."""
        return self.bytes_before / self.bytes_after


@dataclass(frozen=True)
class PackedWeights:
    """The content of a packed file.

    Attributes:
        state: its tensors.
        network: name of the network, "" when it is not known.
        metadata: of the safetensors file that it was made from.
        card: the card beside that file, None without one.
        source: SHA-256 of that file.
    """

    state: dict[str, Tensor]
    network: str
    metadata: dict[str, str]
    card: dict[str, Any] | None
    source: str


def parse_bits(text: str) -> dict[str, int]:
    """Bits by kind of layer, from "5" or "conv=8,linear=5"; a kind that is not named is not shared.

    Raises:
        UsageError: it is neither.
    """
    hint = "write --bits 5 or --bits conv=8,linear=5"
    pairs = [part.partition("=") for part in text.split(",")]
    if len(pairs) == 1 and not pairs[0][1]:
        pairs = [(kind, "=", text) for kind in LAYERS]
    found: dict[str, int] = {}
    for kind, _, number in pairs:
        if kind not in LAYERS or kind in found or not number.isdecimal():
            raise UsageError(f"'{text}' is no number of bits", hint)
        found[kind] = int(number) if len(number) < 3 else MOST_BITS + 1
        if not 1 <= found[kind] <= MOST_BITS:
            raise UsageError(f"shared weights take 1 to {MOST_BITS} bits, not {number}", hint)
    return found


def layer_bits(name: str, tensor: Tensor, bits: Bits) -> int:
    """Bits that a tensor of a state dict is to be shared with; 0 when it is to stay as it is.

    Shared are floating-point tensors whose name ends in "weight": those of three axes and more as
    convolutions, those of two as linear layers.
    """
    if not name.endswith("weight") or tensor.dtype not in SHARED or tensor.dim() < 2 or not tensor.numel():
        return 0
    return bits.get(LINEAR if tensor.dim() == 2 else CONV, 0)


def pack(
    source: Path,
    output: Path,
    bits: Bits,
    half: bool = False,
    network: str = "",
    state: Mapping[str, Tensor] | None = None,
) -> PackReport:
    """Pack a weights file; the result is read again and compared before it is kept.

    Args:
        source: `.safetensors` or another state dict; the card beside it goes along.
        output: the packed file.
        bits: of shared weights by kind of layer, see `parse_bits`.
        half: keep all other float32 numbers, and the tables of values, as float16.
        network: name of the network; "" for what the card says.
        state: fine-tuned tensors instead of those in `source`, under the same names; errors are against them.

    Raises:
        UsageError: the source cannot be opened, or would be overwritten.
        UnsupportedError: it is damaged, or a tensor cannot be packed.
    """
    _require_another_place(source, output)
    given = dict(state) if state is not None else read_state(source)
    metadata, card = metadata_of(source), _card_beside(source)
    made = [_packed(name, tensor, layer_bits(name, tensor, bits), half) for name, tensor in given.items()]
    if card is not None:
        card = {**card, "packed": {"bits": dict(bits), "half": half}}
        network = network or str(card.get("model", ""))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    header = Header(network, digest, metadata, card, tuple(entry for entry, _, _ in made))
    content = to_bytes(header, [data for _, data, _ in made])
    judged = {entry.name: tensor for entry, _, tensor in made}
    partial = output.with_name(f"{output.name}.partial")
    _write(partial, content)
    try:
        _compare(read_packed(partial)[1], judged)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    rows = tuple(
        _row(entry, before, judged[name])
        for (entry, _, _), (name, before) in zip(made, given.items(), strict=True)
    )
    return PackReport(rows, judged, source.stat().st_size, len(content))


def read(path: Path | str) -> PackedWeights:
    """The content of a packed file that nobody vouches for; see `packed_file.read_packed` for the errors."""
    header, state = read_packed(path)
    return PackedWeights(state, header.network, header.metadata, header.card, header.source)


def unpack(path: Path, output: Path, network: str = "", wanted: nn.Module | None = None) -> PackedWeights:
    """Write the weights of a packed file as safetensors, and the card beside them where there is one.

    Args:
        path: the packed file.
        output: the safetensors file.
        network: name that the file must be of, "" for any.
        wanted: the network that the weights must fit, None for any.

    Raises:
        UsageError: the packed file cannot be opened, or would be overwritten.
        UnsupportedError: it is damaged, of another version, or of another network.
    """
    _require_another_place(path, output)
    packed = read(path)
    if network and packed.network and packed.network != network:
        raise UnsupportedError(
            f"'{path}' holds the weights of '{packed.network}', not of '{network}'",
            f"unpack it with --model {packed.network}, or without",
        )
    if wanted is not None:
        require_fit(packed, wanted, str(path))
    _write_safetensors(output, packed)
    return packed


def _require_another_place(source: Path, output: Path) -> None:
    if source.exists() and output.exists() and source.samefile(output):
        raise UsageError(
            f"'{output}' would be written over the file that is read", "give another path with -o"
        )


def load_packed(network: nn.Module, path: Path | str) -> None:
    """Load a packed file into a network; names, shapes and types must fit.

    Where the metadata says that filters were removed, the layers get the widths of the file first.

    Raises:
        UsageError: the file cannot be opened.
        UnsupportedError: it is damaged, of another version, or of another network.
    """
    packed = read(path)
    require_fit(packed, network, str(path))
    if packed.metadata.get(RESHAPED) == "true":
        fit_to_state(network, packed.state)
    network.load_state_dict(packed.state, strict=False)


def require_fit(packed: PackedWeights, network: nn.Module, where: str) -> None:
    """Refuse weights of another network.

    Where the metadata says that filters were removed, layers may have other widths than the network's.

    Args:
        packed: what was read.
        network: the network, which stays as it is.
        where: the file, for the message.

    Raises:
        UnsupportedError: a name, shape or type differs; the message has the first one.
    """
    if packed.metadata.get(RESHAPED) == "true":
        network = deepcopy(network)
        fit_to_state(network, packed.state)
    unused = unused_keys(network, packed.state)
    state = {name: tensor for name, tensor in packed.state.items() if name not in unused}
    for problem in _misfits(state, network.state_dict()):
        raise UnsupportedError(
            f"'{where}' holds the weights of another network: {problem}", "give the network that was packed"
        )


def _misfits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[str]:
    for name in own:
        if name not in state and not name.endswith("num_batches_tracked"):
            yield f"'{name}' is missing"
    for name, tensor in state.items():
        if name not in own:
            yield f"'{name}' is no tensor of this network"
            continue
        given, shape = tuple(tensor.shape), tuple(own[name].shape)
        if given != shape:
            yield f"'{name}' has the shape {given} instead of {shape}"
        if tensor.is_floating_point() != own[name].is_floating_point():
            yield f"'{name}' has another type of numbers"


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; none of any other."""
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise UnsupportedError(f"'{path}' is damaged or no safetensors file: {error}") from error


def _card_beside(source: Path) -> dict[str, Any] | None:
    """The card of the weights; a file of the same name that is something else is left alone."""
    try:
        card = json.loads(source.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) and "model" in card else None


def _packed(name: str, tensor: Tensor, bits: int, half: bool) -> tuple[TensorEntry, bytes, Tensor]:
    """(entry, bytes, the tensor that they stand for) of one tensor."""
    dtype = _dtype_name(name, tensor)
    _require_numbers(name, tensor, shared=bits > 0)
    stored = torch.float16 if half and tensor.dtype in (torch.float32, torch.float64) else tensor.dtype
    rounded = tensor.detach().cpu().contiguous().to(stored)
    if stored != tensor.dtype and bool((rounded.isinf() & ~tensor.cpu().isinf()).any()):
        raise UnsupportedError(f"'{name}' has numbers beyond float16", "leave --half out")
    shape, kind = tuple(tensor.shape), str(stored).removeprefix("torch.")
    data = code_raw(rounded)
    entry = TensorEntry(name, shape, dtype, kind, RAW, 0, 0, len(data))
    if not bits:
        return entry, data, rounded.to(tensor.dtype)
    clusters = share(tensor, bits, stored)
    coding, coded = code_shared(clusters)
    if len(coded) >= len(data):
        return entry, data, rounded.to(tensor.dtype)
    entries = len(clusters.values)
    made = TensorEntry(name, shape, dtype, kind, coding, bits, entries, len(coded))
    return made, coded, clusters.weights().to(tensor.dtype)


def _dtype_name(name: str, tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise UnsupportedError(f"'{name}' has the type {dtype}", f"convert it to one of {', '.join(DTYPES)}")
    if name == METADATA:
        raise UnsupportedError(f"no tensor can be called '{name}'", "rename it")
    return dtype


def _require_numbers(name: str, tensor: Tensor, shared: bool) -> None:
    hint = "train again; a network with such weights computes nothing"
    if bool(tensor.isnan().any()):
        raise UnsupportedError(f"'{name}' holds NaN", hint)
    if shared and bool(tensor.isinf().any()):
        raise UnsupportedError(f"'{name}' holds infinite weights", hint)


def _row(entry: TensorEntry, before: Tensor, after: Tensor) -> PackedTensor:
    # Tensors whose type is no number of usual width were kept bit by bit.
    lossy = before.dtype in SHARED and before.numel() > 0
    error = _relative_error(before.detach().cpu().double(), after.double()) if lossy else 0.0
    return PackedTensor(
        entry.name,
        before.numel(),
        entry.coding,
        entry.bits,
        entry.entries,
        before.numel() * before.element_size(),
        entry.bytes,
        error,
    )


def _relative_error(before: Tensor, after: Tensor) -> float:
    if torch.equal(before, after):
        return 0.0
    power = float(before.square().sum())
    return math.sqrt(float((after - before).square().sum()) / power) if power else 0.0


def _compare(read_back: Mapping[str, Tensor], judged: Mapping[str, Tensor]) -> None:
    for name, tensor in judged.items():
        found = read_back[name]
        same = found.dtype == tensor.dtype and found.shape == tensor.shape
        if not same or code_raw(found) != code_raw(tensor):
            raise UnsupportedError(f"'{name}' does not come back as it was packed", "report it as a bug")


def _write_safetensors(output: Path, packed: PackedWeights) -> None:
    content = save(packed.state, metadata=packed.metadata or None)
    _replace(output, content)
    if packed.card is not None:
        text = json.dumps(packed.card, indent=2, ensure_ascii=False) + "\n"
        _replace(output.with_suffix(".json"), text.encode())


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        _write(partial, content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
