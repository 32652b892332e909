"""How far an int8 file of a face parser is from its float network, and from its own quantized graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.base import Arrays, Runtime
from toolchain.spec import TensorSpec
from toolchain.training.metrics import FaceF1

# Differences are compared with a whole number of steps, which floats reach with an error of their own.
ROUNDING = 1e-3
STEPS = 2


@dataclass
class Score:
    """Class scores of a file against those of the float network, over pictures.

    The signal-to-quantization-noise ratio is 10 log10(sum of squares / sum of squared differences) over all
    pictures; agreement is the share of pixels with the same most probable class.
    """

    classes: int
    signal: float = 0.0
    noise: float = 0.0
    agreements: list[float] = field(default_factory=list)
    f1: FaceF1 | None = None

    def __post_init__(self) -> None:
        self.f1 = FaceF1(self.classes)

    def add(self, found: np.ndarray, truth: np.ndarray, annotation: np.ndarray | None = None) -> None:
        """Count one picture: class scores (1, H, W, classes) of both, and the annotated classes (H, W)."""
        self.signal += float(np.square(truth, dtype=np.float64).sum())
        self.noise += float(np.square(found.astype(np.float64) - truth).sum())
        labels = found[0].argmax(-1)
        self.agreements.append(float((labels == truth[0].argmax(-1)).mean()))
        if annotation is not None:
            assert self.f1 is not None
            self.f1.update(torch.from_numpy(labels)[None], torch.from_numpy(annotation)[None].long())

    @property
    def sqnr_db(self) -> float | None:
        """None where there is no noise or no signal."""
        if not self.noise or not self.signal:
            return None
        return 10 * math.log10(self.signal / self.noise)

    def as_json(self) -> dict[str, Any]:
        """SQNR in dB, agreement over all pixels and of the worst picture, F1 figures in percent."""
        assert self.f1 is not None
        scores = self.f1.scores()
        ratio = self.sqnr_db
        return {
            "pictures": len(self.agreements),
            "sqnr_db": None if ratio is None else round(ratio, 3),
            "agreement": round(float(np.mean(self.agreements)), 6),
            "worst_picture_agreement": round(min(self.agreements), 6),
            "overall_f1": round(scores.overall, 3),
            "micro_f1_with_skin": round(scores.micro_with_skin, 3),
        }


@dataclass
class StepScore:
    """Values of a file against those of its quantized graph, in steps of the output's scale."""

    step: float
    within: int = 0
    values: int = 0
    largest: float = 0.0
    agreements: list[float] = field(default_factory=list)

    def add(self, found: np.ndarray, truth: np.ndarray) -> None:
        """Count one picture: class scores (1, H, W, classes) of both."""
        steps = np.abs(found.astype(np.float64) - truth) / self.step
        self.within += int((steps <= STEPS + ROUNDING).sum())
        self.values += steps.size
        self.largest = max(self.largest, float(steps.max()))
        self.agreements.append(float((found[0].argmax(-1) == truth[0].argmax(-1)).mean()))

    def as_json(self) -> dict[str, Any]:
        """Share of values within two steps, largest difference in steps, label agreement."""
        return {
            "pictures": len(self.agreements),
            "step": self.step,
            "within_two_steps": round(self.within / self.values, 6),
            "largest_steps": round(self.largest, 2),
            "agreement": round(float(np.mean(self.agreements)), 6),
        }


def run_on_floats(runtime: Runtime, arrays: Arrays) -> np.ndarray:
    """The first output of a file as float32, whatever the file's borders are.

    Args:
        runtime: the file.
        arrays: float32 inputs by the file's names; an integer input gets round(x / scale) + zero point.

    Raises:
        UnsupportedError: an integer input or output has no scale.
    """
    made = runtime.run({spec.name: _stored(arrays[spec.name], spec) for spec in runtime.inputs})
    spec = runtime.outputs[0]
    found = made[spec.name]
    if found.dtype.kind == "f":
        return found.astype(np.float32)
    scale, zero_point = _parameters(spec)
    return (found.astype(np.float32) - zero_point) * np.float32(scale)


def _stored(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    if np.dtype(spec.dtype).kind == "f":
        return array
    scale, zero_point = _parameters(spec)
    limits = np.iinfo(spec.dtype)
    steps = np.rint(array / np.float32(scale)) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(spec.dtype)


def _parameters(spec: TensorSpec) -> tuple[float, int]:
    if spec.scale is None:
        raise UnsupportedError(
            f"tensor '{spec.name}' is {spec.dtype} without a scale", "compare files that carry their scales"
        )
    return spec.scale, spec.zero_point or 0


def output_step(path: Path) -> float:
    """Scale of the first output of a quantized ONNX graph.

    Raises:
        UnsupportedError: the output does not come from a DequantizeLinear with one constant scale.
    """
    import onnx_ir as ir

    value = ir.load(path).graph.outputs[0]
    node = value.producer()
    scale = node.inputs[1] if node is not None and node.op_type == "DequantizeLinear" else None
    constant = scale.const_value if scale is not None else None
    if constant is None or constant.numpy().size != 1:
        raise UnsupportedError(
            f"the output '{value.name}' of '{path}' is not stored as integers",
            "give the graph that the int8 file was made from: toolchain export -f onnx -p int8",
        )
    return float(constant.numpy().reshape(()))
