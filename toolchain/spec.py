"""What the parts hand each other: a network's contract, and a written file with its sidecar.

This module imports neither torch nor any converter, so that every part may import it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from toolchain.errors import UnsupportedError, UsageError

SIDECAR_VERSION = 1

SEGMENTATION = "segmentation"
CLASSIFICATION = "classification"
GENERIC = "generic"

# Behind the name of a file that failed its gate.
REJECTED = ".rejected"

# Name of an output that has been through a softmax in the file.
PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output tensor.

    Attributes:
        name: tensor name in the file and in every call.
        shape: static shape, in the order of `layout`.
        dtype: numpy name of the element type.
        layout: one letter per axis ("NCHW", "NHWC", "NC"), or "" when the axes have no meaning.
        scale: quantization scale, None for float tensors.
        zero_point: quantization zero point, None for float tensors.
        image: "RGB" when the file takes 8-bit pixels here and normalizes them itself, else "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: str = ""
    scale: float | None = None
    zero_point: int | None = None
    image: str = ""


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the first input: resize, reorder colours, then (x - mean) / std.

    Attributes:
        color: order of the channels that the network expects; always "RGB" here.
        mean: per-channel mean on the 0-255 scale.
        std: per-channel standard deviation on the 0-255 scale.
        resize: interpolation used to reach the input size ("bilinear" or "area").
        margin: side of the square region of interest in units of the detected face box's side.
        shift: downward shift of the region's centre in units of the detected face box's side.
    """

    color: str = "RGB"
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)
    resize: str = "bilinear"
    margin: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class ModelSpec:
    """The contract of a network: its tensors, its preprocessing and what its outputs mean.

    Attributes:
        name: the zoo name, or the stem of a foreign file.
        task: "segmentation", "classification" or "generic"; selects the parity figure.
        inputs: input tensors in the order of `forward`, NCHW.
        outputs: output tensors, NCHW.
        preprocess: how a picture becomes the first input; None for networks that take no picture.
        labels: class names in output channel order.
        palette: one RGB triple (0-255) per label, for overlays.
        description: one line for listings.
        source: paper or document that the architecture follows.
        terms: what the weights may be used for; "" when that is not known.
    """

    name: str
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    description: str = ""
    source: str = ""
    terms: str = ""

    def renamed(self, name: str) -> ModelSpec:
        """The same contract under another name."""
        return replace(self, name=name)


@dataclass(frozen=True)
class Parity:
    """How close a file's output is to the reference, worst output of all samples.

    Attributes:
        sqnr_db: signal-to-quantization-noise ratio in dB; infinity when bit-exact.
        max_abs: largest absolute difference.
        agreement: share (0-1) of pixels or samples with the same label, None for generic networks.
        samples: number of inputs compared.
        reference: runtime whose output counts as the truth.
        inputs: where the inputs came from: "synthetic", or the calibration data's path.
    """

    sqnr_db: float
    max_abs: float
    agreement: float | None
    samples: int
    reference: str = "torch"
    inputs: str = "synthetic"

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express: what is not finite becomes "inf", "-inf" or "nan"."""
        values = asdict(self)
        for name in ("sqnr_db", "max_abs"):
            if not math.isfinite(values[name]):
                values[name] = str(values[name])
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Parity:
        """Inverse of `as_json`."""
        return cls(**{**values, "sqnr_db": float(values["sqnr_db"]), "max_abs": float(values["max_abs"])})


@dataclass(frozen=True)
class Artifact:
    """A written model file and everything that its sidecar says about it."""

    path: Path
    format: str
    precision: str
    name: str
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    parity: Parity | None = None
    ops: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    # What is integer in a quantized .tflite file, see toolchain.integer_summary; else empty.
    integer: dict[str, Any] = field(default_factory=dict)
    # What the weights may be used for; "" when that is not known.
    terms: str = ""

    @property
    def sidecar_path(self) -> Path:
        """Where the sidecar of this file belongs."""
        return sidecar_path(self.path)

    def sidecar(self) -> dict[str, Any]:
        """The content of the sidecar JSON."""
        return {
            "version": SIDECAR_VERSION,
            "name": self.name,
            "format": self.format,
            "precision": self.precision,
            "task": self.task,
            "inputs": [asdict(tensor) for tensor in self.inputs],
            "outputs": [asdict(tensor) for tensor in self.outputs],
            "preprocessing": asdict(self.preprocess) if self.preprocess else None,
            "labels": list(self.labels),
            "palette": [list(color) for color in self.palette],
            "parity": self.parity.as_json() if self.parity else None,
            "ops": self.ops,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "versions": self.versions,
            "command": self.command,
            **({"terms": self.terms} if self.terms else {}),
            **({"integer": self.integer} if self.integer else {}),
        }

    def report(self) -> dict[str, Any]:
        """One row of `export --json`."""
        return {
            "path": os.fspath(self.path),
            "format": self.format,
            "precision": self.precision,
            "bytes": self.bytes,
            "parity": self.parity.as_json() if self.parity else None,
            "ops": self.ops,
            "seconds": self.seconds,
            **({"integer": self.integer} if self.integer else {}),
        }


def sidecar_path(path: Path | str) -> Path:
    """`NAME-PRECISION.FORMAT` -> `NAME-PRECISION.FORMAT.json`."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def parse_sidecar(path: Path, text: str | bytes) -> Artifact:
    """Build the Artifact of `path` from the JSON of its sidecar.

    Raises:
        UnsupportedError: the text is not a sidecar, or one of another version.
    """
    hint = "export the model again"
    try:
        raw = json.loads(text)
        if raw["version"] != SIDECAR_VERSION:
            raise UnsupportedError(
                f"sidecar of '{path}' has version {raw['version']}, not {SIDECAR_VERSION}", hint
            )
        pre = raw["preprocessing"]
        return Artifact(
            path=path,
            format=raw["format"],
            precision=raw["precision"],
            name=raw["name"],
            task=raw["task"],
            inputs=tuple(_tensor(item) for item in raw["inputs"]),
            outputs=tuple(_tensor(item) for item in raw["outputs"]),
            preprocess=Preprocess(**{**pre, "mean": tuple(pre["mean"]), "std": tuple(pre["std"])})
            if pre
            else None,
            labels=tuple(raw["labels"]),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in raw["palette"]),
            parity=Parity.from_json(raw["parity"]) if raw["parity"] else None,
            ops=dict(raw["ops"]),
            bytes=int(raw["bytes"]),
            sha256=raw["sha256"],
            versions=dict(raw["versions"]),
            command=raw["command"],
            terms=str(raw.get("terms", "")),
            integer=dict(raw.get("integer", {})),
        )
    except KeyError as error:
        raise UnsupportedError(f"sidecar of '{path}' cannot be read: it has no {error}", hint) from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UnsupportedError(f"sidecar of '{path}' cannot be read: {error!r}", hint) from error


def load_sidecar(path: Path | str) -> Artifact:
    """Read the sidecar that lies beside the model file `path`.

    Raises:
        UsageError: there is none.
        UnsupportedError: it is damaged or of another version.
    """
    beside = sidecar_path(path)
    try:
        text = beside.read_bytes()
    except OSError as error:
        raise UsageError(
            f"'{path}' has no sidecar ({beside.name} cannot be read: {error.strerror})",
            "keep the .json that `toolchain export` wrote beside the model file",
        ) from error
    return parse_sidecar(Path(path), text)


def _tensor(raw: dict[str, Any]) -> TensorSpec:
    return TensorSpec(**{**raw, "shape": tuple(raw["shape"])})


def shape_text(shape: Iterable[int | None]) -> str:
    """(1, 3, 256, 256) -> "1x3x256x256"; unknown sizes become "?"."""
    return "x".join("?" if size is None else str(size) for size in shape)
