"""Labels of a face parser's Core ML files against those of the network, in every precision of the weights.

    python -P -m toolchain.benchmarks.coreml_agreement --data celebamask_hq_256.zip --output agreement.json

The network is written as .mlpackage in each precision; the reference interpreter runs the saved files on the
validation pairs of CelebAMask-HQ, with an empty previous mask as on a first frame. Agreement is the share of
pixels with the label that the float32 network in PyTorch gives them; F1 is against the annotated labels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.benchmarks.environment import PACKAGES, environment
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.converters.coreml.convert import CoreMLModel, convert
from toolchain.converters.coreml.goal import ML_PROGRAM, PRECISIONS
from toolchain.converters.graph import clean
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.errors import UsageError
from toolchain.models import zoo
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import ModelEntry
from toolchain.runtimes.base import Runtime
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.spec import SEGMENTATION, ModelSpec
from toolchain.training.celebamask import CelebAMask
from toolchain.training.metrics import FaceF1

NAME = "mobile-hourglass"
SPLIT = "val"


@dataclass
class Score:
    """What one file, or the network itself, makes of the pictures."""

    f1: FaceF1
    agreements: list[float] = field(default_factory=list)

    def add(self, found: np.ndarray, truth: np.ndarray, label: Tensor) -> None:
        """Count one picture: labels found and those of the network, (H, W) each, and the annotation."""
        self.agreements.append(float((found == truth).mean()))
        self.f1.update(torch.from_numpy(found)[None], label[None].long())

    def as_json(self) -> dict[str, Any]:
        """Agreement over all pixels and of the worst picture, F1 figures in percent."""
        scores = self.f1.scores()
        return {
            "agreement": round(float(np.mean(self.agreements)), 6),
            "worst_picture_agreement": round(min(self.agreements), 6),
            "overall_f1": round(scores.overall, 3),
            "strict_f1": round(scores.strict, 3),
            "micro_f1_with_skin": round(scores.micro_with_skin, 3),
        }


def measure(
    data: Path, name: str = NAME, precisions: Sequence[str] | None = None, pictures: int | None = None
) -> dict[str, Any]:
    """Compare files of every precision with the network, on validation pictures.

    Args:
        data: celebamask_hq_256.zip.
        name: a face parser of the zoo that ships with weights.
        precisions: of the ML Programs; None for all.
        pictures: how many, evenly spread; None for all.

    Returns:
        A dict that JSON can express: `torch` and per precision in `files` the figures of `Score.as_json`, and
        per file `bytes`, `compressed_weights` and `weights` (numbers in them).

    Raises:
        UsageError: the network is no trained face parser, or the data are not there.
        UnsupportedError: a precision cannot be written.
    """
    entry = zoo().get(name)
    if entry.weights is None or entry.spec.task != SEGMENTATION or entry.spec.preprocess is None:
        raise UsageError(f"'{name}' is no face parser with weights", f"use {NAME}")
    if pictures is not None and pictures < 1:
        raise UsageError(f"pictures must be at least 1, not {pictures}")
    pairs = CelebAMask(data, SPLIT, entry.spec.inputs[0].shape[-1])
    chosen = np.unique(np.linspace(0, len(pairs) - 1, pictures or len(pairs)).round().astype(int))
    network = _network(entry)
    graph = torch_to_onnx(network, entry.spec.inputs, [tensor.name for tensor in entry.spec.outputs])
    clean(graph)
    precisions = list(precisions or PRECISIONS[ML_PROGRAM])
    files: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runtimes: dict[str, Runtime] = {}
        for precision in precisions:
            path = Path(folder) / f"{name}-{precision}.mlpackage"
            made = convert(graph.clone(), precision, ML_PROGRAM, spec=entry.spec)
            made.model.save(str(path))
            files[precision] = _facts(made, path)
            runtimes[precision] = CoreMLRuntime(path)
        own, scores = _compare(network, entry.spec, runtimes, pairs, chosen)
    return {
        "name": name,
        "split": SPLIT,
        "pictures": len(chosen),
        "torch": own.as_json(),
        "files": {precision: {**scores[precision].as_json(), **files[precision]} for precision in precisions},
        "environment": environment((*PACKAGES, "coremltools")),
    }


def _network(entry: ModelEntry) -> nn.Module:
    assert entry.weights is not None
    network = entry.build().eval()
    load_weights(network, entry.weights)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _facts(made: CoreMLModel, path: Path) -> dict[str, Any]:
    return {
        "bytes": sum(part.stat().st_size for part in path.rglob("*") if part.is_file()),
        "compressed_weights": made.weights.compressed,
        "weights": made.weights.elements,
    }


def _compare(
    network: nn.Module,
    spec: ModelSpec,
    runtimes: dict[str, Runtime],
    pairs: CelebAMask,
    chosen: np.ndarray,
) -> tuple[Score, dict[str, Score]]:
    """Scores of the network itself and of each file."""
    classes = len(spec.labels)
    own, scores = Score(FaceF1(classes)), {name: Score(FaceF1(classes)) for name in runtimes}
    for index in chosen:
        picture, annotated = pairs.pair(int(index))
        label = torch.from_numpy(annotated)
        truth = _labels_of_network(network, spec, picture)
        own.add(truth, truth, label)
        for name, runtime in runtimes.items():
            scores[name].add(_labels_of_file(runtime, picture), truth, label)
    return own, scores


def _labels_of_network(network: nn.Module, spec: ModelSpec, picture: np.ndarray) -> np.ndarray:
    """(H, W) int64 labels of an RGB picture (H, W, 3) uint8."""
    assert spec.preprocess is not None
    mean, std = (np.array(values, np.float32) for values in (spec.preprocess.mean, spec.preprocess.std))
    planes = torch.from_numpy((picture - mean) / std).permute(2, 0, 1)[None]
    others = [torch.zeros(tensor.shape) for tensor in spec.inputs[1:]]
    with torch.inference_mode():
        return network(planes, *others)[0].argmax(0).numpy()


def _labels_of_file(runtime: Runtime, picture: np.ndarray) -> np.ndarray:
    image, *others = runtime.inputs
    feeds = {image.name: picture[None]} | {t.name: np.zeros(t.shape, t.dtype) for t in others}
    return next(iter(runtime.run(feeds).values()))[0].argmax(0)


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.coreml_agreement",
        description="Label agreement and F1 of a face parser's .mlpackage files, as JSON.",
    )
    parser.add_argument("name", nargs="?", default=NAME, help="a face parser of the zoo with weights")
    parser.add_argument("--data", type=Path, required=True, help="celebamask_hq_256.zip")
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS[ML_PROGRAM], help="of the files; default: all"
    )
    parser.add_argument("--pictures", type=int, help="how many validation pictures; default: all")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    options = parser.parse_args(arguments)
    report = measure(options.data, options.name, options.precisions, options.pictures)
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
