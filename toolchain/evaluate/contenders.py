"""A face parser of any kind as one function from a picture to labels: a torch network or a model file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.parse import check_runtime
from toolchain.face.preprocess import normalized, picture_input, picture_sizes, to_input
from toolchain.models.faces import LABELS
from toolchain.publish import require_own, sha256_of, size_of
from toolchain.runtimes import SUFFIXES, Runtime, load
from toolchain.runtimes.torch_runtime import TorchRuntime
from toolchain.source import Source, resolve
from toolchain.spec import (
    REJECTED,
    SEGMENTATION,
    Artifact,
    ModelSpec,
    Preprocess,
    TensorSpec,
    load_sidecar,
    sidecar_path,
)
from toolchain.verify import run_file

TORCH = "torch"
PARSERS = "face parsers of the zoo fit: `toolchain models` lists them"
Planes = np.ndarray | None


@dataclass(frozen=True)
class Contender:
    """A face parser that is judged.

    Attributes:
        name: what the tables call it.
        text: how the user called it.
        format: "torch", or the suffix of the file without its dot.
        precision: of the sidecar; "fp32" for torch, "" when the file has no sidecar.
        bytes: size of the file, None for torch.
        sha256: of the file, as sidecars have it; None for torch.
        size: side of the square input in pixels.
        takes_previous: whether it takes the class probabilities of the frame before.
        terms: what its weights may be used for, as far as known.
        preprocess: how a picture is cut out and becomes the input.
        output: the tensor of the scores, whose scale they still need.
        runtime: to be closed by the owner of this.
        scores: from a picture (size, size, 3) RGB uint8 and the previous mask (classes, size, size) float32
            or None for an empty one, to the class scores (classes, size, size), or to labels (size, size).
    """

    name: str
    text: str
    format: str
    precision: str
    bytes: int | None
    sha256: str | None
    size: int
    takes_previous: bool
    terms: str
    preprocess: Preprocess
    output: TensorSpec
    runtime: Runtime
    scores: Callable[[np.ndarray, Planes], np.ndarray]


def is_file(text: str) -> bool:
    """Whether an argument names a model file rather than a network in torch."""
    return Path(text.lower().removesuffix(REJECTED)).suffix in SUFFIXES


def open_contender(
    text: str,
    weights: Path | None = None,
    like: ModelSpec | None = None,
    threads: int | None = None,
    taken: Collection[str] = (),
) -> Contender:
    """Load what an argument names.

    Args:
        text: a model file, a zoo name, or `file.py:factory`.
        weights: state dict of a torch network.
        like: contract of what has none: files without a sidecar, factories without a ModelSpec.
        threads: threads of one operator; None is the runtime's default.
        taken: names that others have.

    Raises:
        UsageError: there is no such file or network, or its weights or its contract are missing.
        UnsupportedError: it is no face parser with the classes of the data, or it is damaged.
    """
    made = _of_file(Path(text), like, threads) if is_file(text) else _of_torch(text, weights, like)
    return replace(made, name=_free_name(made, taken))


def _free_name(contender: Contender, taken: Collection[str]) -> str:
    """Its name; the whole path where another file has that name, and a number where even that is taken."""
    numbered = (f"{contender.text} ({number})" for number in count(2))
    return next(name for name in chain((contender.name, contender.text), numbered) if name not in taken)


def check_unused(texts: Sequence[str], like: str | None, threads: int | None) -> None:
    """Refuse options that none of the face parsers `texts` would use.

    Raises:
        UsageError: threads without a model file among them, or a contract although each file has its own.
    """
    files = [text for text in texts if is_file(text)]
    if threads is not None and not files:
        raise UsageError(
            "--threads is for model files, and there is none: a network in torch runs with torch's threads",
            "leave it out, or set OMP_NUM_THREADS",
        )
    if like is not None and len(files) == len(texts) and all(sidecar_path(Path(f)).is_file() for f in files):
        raise UsageError(
            "--like is for files without a sidecar, and all of these have one",
            "leave it out: the sidecar says how a file is used",
        )


def contract_like(text: str) -> ModelSpec:
    """The contract of the network that `text` names.

    Raises:
        UsageError: there is no such network.
        UnsupportedError: it is no face parser.
    """
    spec = resolve(text).spec
    _check_parser(spec, text)
    return spec


def _of_torch(text: str, weights: Path | None, like: ModelSpec | None) -> Contender:
    source = _resolved(text, weights, like)
    spec = source.spec
    if spec.task != SEGMENTATION and not spec.labels and like is not None:
        spec = _same_shapes(spec, like, text)
    _check_parser(spec, text)
    if not source.trained:
        raise UsageError(f"'{text}' has no weights, so that there is nothing to judge", "add --weights PATH")
    assert source.module is not None
    runtime = TorchRuntime(source.module, spec)
    name = text if weights is None else f"{text} ({weights.name})"
    return _contender(name, text, runtime, spec, TORCH, "fp32")


def _resolved(text: str, weights: Path | None, like: ModelSpec | None) -> Source:
    """The network; a factory that states no contract gets inputs of the shapes that `like` has."""
    try:
        return resolve(text, weights)
    except UsageError as error:
        if ":" not in text or "--input-shape" not in error.hint:
            raise
        if like is None:
            raise UsageError(
                f"'{text}' states no contract: {error.message}",
                "let it return (network, ModelSpec), or name a network with the same contract:"
                " --like mobile-hourglass",
            ) from error
    return resolve(text, weights, {tensor.name: tensor.shape for tensor in like.inputs})


def _same_shapes(spec: ModelSpec, like: ModelSpec, text: str) -> ModelSpec:
    """The contract `like` for a network that states none, whose tensors must be the same."""
    for own, other in zip((*spec.inputs, *spec.outputs), (*like.inputs, *like.outputs), strict=False):
        if own.shape != other.shape:
            raise UsageError(
                f"'{text}' has the tensor '{own.name}' {own.shape} where '{like.name}' has {other.shape}",
                "let the factory return (network, ModelSpec)",
            )
    if len(spec.inputs) != len(like.inputs) or len(spec.outputs) != len(like.outputs):
        raise UsageError(
            f"'{text}' has other inputs and outputs than '{like.name}'", "let the factory return a ModelSpec"
        )
    return like


def _of_file(path: Path, like: ModelSpec | None, threads: int | None) -> Contender:
    runtime = load(path, threads=threads)
    try:
        described = _sidecar_of(path)
        if described is not None:
            check_runtime(runtime, described)
            kind, precision = described.format, described.precision
            return _contender(path.name, str(path), runtime, described, kind, precision, path)
        if like is None:
            raise UsageError(
                f"'{path}' has no sidecar, so that its preprocessing and classes are not known",
                "name a network with the same contract: --like mobile-hourglass",
            )
        return _foreign(path, runtime, like)
    except BaseException:
        runtime.close()
        raise


def _sidecar_of(path: Path) -> Artifact | None:
    if not sidecar_path(path).is_file():
        return None
    sidecar = load_sidecar(path)
    require_own(sidecar, path)
    return sidecar


def _contender(
    name: str,
    text: str,
    runtime: Runtime,
    contract: ModelSpec | Artifact,
    kind: str,
    precision: str,
    file: Path | None = None,
) -> Contender:
    _check_parser(contract, text)
    assert contract.preprocess is not None
    feed = _Feed(runtime, contract.inputs, contract.outputs[0], contract.preprocess)
    return Contender(
        name=name,
        text=text,
        format=kind,
        precision=precision,
        bytes=None if file is None else size_of(file),
        sha256=None if file is None else sha256_of(file),
        size=picture_sizes(contract.inputs[0])[1],
        takes_previous=len(contract.inputs) == 2,
        terms=contract.terms,
        preprocess=contract.preprocess,
        output=contract.outputs[0],
        runtime=runtime,
        scores=feed.scores,
    )


class _Feed:
    """Pictures in and scores out of a network whose tensors are known; what never changes is made once."""

    def __init__(
        self, runtime: Runtime, inputs: tuple[TensorSpec, ...], output: TensorSpec, preprocess: Preprocess
    ) -> None:
        self._runtime, self._inputs, self._output, self._preprocess = runtime, inputs, output, preprocess
        self._empty = [to_input(np.zeros(picture_sizes(t), np.float32), t) for t in inputs[1:]]

    def scores(self, picture: np.ndarray, previous: Planes) -> np.ndarray:
        feeds = {self._inputs[0].name: picture_input(picture, self._preprocess, self._inputs[0])}
        for tensor, empty in zip(self._inputs[1:], self._empty, strict=True):
            feeds[tensor.name] = empty if previous is None else to_input(previous, tensor)
        # Scales are positive: the largest stored score is the largest score.
        made = self._runtime.run(feeds)[self._output.name][0]
        return made.transpose(2, 0, 1) if self._output.layout == "NHWC" else made


def _foreign(path: Path, runtime: Runtime, like: ModelSpec) -> Contender:
    """A file of another tool, whose tensors are matched with those of a contract."""
    preprocess = like.preprocess
    assert preprocess is not None
    image, others = like.inputs[0], like.inputs[1:]

    def scores(picture: np.ndarray, previous: Planes) -> np.ndarray:
        sample = {image.name: normalized(picture, preprocess)[None]}
        for tensor in others:
            sample[tensor.name] = (
                np.zeros(tensor.shape, np.float32) if previous is None else previous[None].astype(np.float32)
            )
        return run_file(runtime, sample, like)[like.outputs[0].name][0]

    size = picture_sizes(image)[1]
    kind = path.suffix.lstrip(".").lower()
    return Contender(
        name=path.name,
        text=str(path),
        format=kind,
        precision="",
        bytes=size_of(path),
        sha256=sha256_of(path),
        size=size,
        takes_previous=bool(others),
        terms="",
        preprocess=preprocess,
        output=like.outputs[0],
        runtime=runtime,
        scores=scores,
    )


def _check_parser(contract: ModelSpec | Artifact, text: str) -> None:
    """Raises UnsupportedError unless this is a face parser with the classes of the data."""
    if contract.task != SEGMENTATION or contract.preprocess is None:
        raise UnsupportedError(
            f"'{text}' is no face parser: its task is {contract.task}"
            + ("" if contract.preprocess else ", and it has no preprocessing contract"),
            PARSERS,
        )
    if contract.labels != LABELS:
        raise UnsupportedError(
            f"'{text}' has the {len(contract.labels)} classes {', '.join(contract.labels) or '(unnamed)'};"
            f" the data have {len(LABELS)}: {', '.join(LABELS)}",
            PARSERS,
        )
    if not 1 <= len(contract.inputs) <= 2 or len(contract.outputs) != 1:
        raise UnsupportedError(
            f"'{text}' has {len(contract.inputs)} inputs and {len(contract.outputs)} outputs, not a picture,"
            " perhaps a previous mask, and one map",
            PARSERS,
        )
    channels, height, width = picture_sizes(contract.inputs[0])
    if height != width or channels != len(contract.preprocess.mean):
        raise UnsupportedError(
            f"'{text}' takes pictures of {height} x {width} with {channels} channels",
            "square ones are judged",
        )
    for tensor in (*contract.inputs[1:], *contract.outputs):
        _check_map(tensor, height, text)


def _check_map(tensor: TensorSpec, side: int, text: str) -> None:
    is_labels = len(tensor.shape) == 3
    sizes = tensor.shape[1:] if is_labels else picture_sizes(tensor)
    wanted = (side, side) if is_labels else (len(LABELS), side, side)
    if sizes != wanted or tensor.shape[0] != 1:
        raise UnsupportedError(
            f"tensor '{tensor.name}' of '{text}' has shape {tensor.shape} ({tensor.layout}), not"
            f" {len(LABELS)} classes or labels of {side} x {side} pixels",
            PARSERS,
        )
