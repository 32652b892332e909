"""Labels of a face parser's files against those of the network that they were made from.

    python -P -m toolchain.benchmarks.face_agreement build/*-int8.tflite --data celebamask_hq_256.zip

The files, as `toolchain export` wrote them with their sidecars, run on the validation pairs of CelebAMask-HQ,
with an empty previous mask as on a first frame. Agreement is the share of pixels with the label that the
float32 network in PyTorch gives them; F1 is against the annotated labels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.benchmarks.environment import PACKAGES, environment
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import UsageError
from toolchain.face.parse import Contract, contract_of
from toolchain.face.preprocess import from_output, picture_input, picture_sizes, to_input
from toolchain.models import zoo
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import ModelEntry
from toolchain.runtimes import Runtime, load
from toolchain.spec import SEGMENTATION, ModelSpec, load_sidecar
from toolchain.training.datasets.celebamask import CelebAMask
from toolchain.training.metrics import FaceF1

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


def measure(files: Sequence[Path], data: Path, pictures: int | None = None) -> dict[str, Any]:
    """Compare files with the network that they were made from, on validation pictures.

    Args:
        files: model files with their sidecars, all of one face parser of the zoo that ships with weights.
        data: celebamask_hq_256.zip.
        pictures: how many, evenly spread; None for all.

    Returns:
        A dict that JSON can express: `torch` and per file name in `files` the figures of `Score.as_json`, and
        per file `bytes`.

    Raises:
        UsageError: the files are of no trained face parser or of several, two have the same name, or the data
            are not there.
        UnsupportedError: a file cannot be run.
    """
    if len({path.name for path in files}) < len(files):
        raise UsageError("two files have the same name, by which figures are listed", "measure one by one")
    sidecars = {path: load_sidecar(path) for path in files}
    entry = _entry({sidecar.name for sidecar in sidecars.values()})
    if pictures is not None and pictures < 1:
        raise UsageError(f"pictures must be at least 1, not {pictures}")
    pairs = CelebAMask(data, SPLIT, entry.spec.inputs[0].shape[-1])
    chosen = np.unique(np.linspace(0, len(pairs) - 1, pictures or len(pairs)).round().astype(int))
    runtimes = {path: load(path) for path in files}
    contracts = {path: contract_of(sidecar) for path, sidecar in sidecars.items()}
    classes = len(entry.spec.labels)
    own, scores = Score(FaceF1(classes)), {path: Score(FaceF1(classes)) for path in files}
    network = _network(entry)
    for index in chosen:
        picture, annotated = pairs.pair(int(index))
        label = torch.from_numpy(annotated)
        truth = _labels_of_network(network, entry.spec, picture)
        own.add(truth, truth, label)
        for path in files:
            scores[path].add(_labels_of_file(runtimes[path], contracts[path], picture), truth, label)
    return {
        "name": entry.spec.name,
        "split": SPLIT,
        "pictures": len(chosen),
        "torch": own.as_json(),
        "files": {path.name: {**scores[path].as_json(), "bytes": sidecars[path].bytes} for path in files},
        "environment": environment((*PACKAGES, "coremltools")),
    }


def _entry(names: set[str]) -> ModelEntry:
    if len(names) != 1:
        raise UsageError(
            f"the files are of several networks: {', '.join(sorted(names))}", "give those of one"
        )
    [name] = names
    entry = zoo().get(name)
    if entry.weights is None or entry.spec.task != SEGMENTATION or entry.spec.preprocess is None:
        raise UsageError(f"'{name}' is no face parser that ships with weights", "use mobile-hourglass")
    return entry


def _network(entry: ModelEntry) -> nn.Module:
    assert entry.weights is not None
    network = entry.build().eval()
    load_weights(network, entry.weights)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _labels_of_network(network: nn.Module, spec: ModelSpec, picture: np.ndarray) -> np.ndarray:
    """(H, W) int64 labels of an RGB picture (H, W, 3) uint8."""
    assert spec.preprocess is not None
    mean, std = (np.array(values, np.float32) for values in (spec.preprocess.mean, spec.preprocess.std))
    planes = torch.from_numpy((picture - mean) / std).permute(2, 0, 1)[None]
    others = [torch.zeros(tensor.shape) for tensor in spec.inputs[1:]]
    with torch.inference_mode():
        return network(planes, *others)[0].argmax(0).numpy()


def _labels_of_file(runtime: Runtime, contract: Contract, picture: np.ndarray) -> np.ndarray:
    feeds = {contract.image.name: picture_input(picture, contract.preprocess, contract.image)}
    if contract.previous is not None:
        empty = np.zeros(picture_sizes(contract.previous), np.float32)
        feeds[contract.previous.name] = to_input(empty, contract.previous)
    return from_output(runtime.run(feeds)[contract.logits.name], contract.logits).argmax(0)


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.face_agreement",
        description="Label agreement and F1 of a face parser's files, as JSON.",
    )
    parser.add_argument("files", nargs="+", type=Path, help="model files with their sidecars")
    parser.add_argument("--data", type=Path, required=True, help="celebamask_hq_256.zip")
    parser.add_argument("--pictures", type=int, help="how many validation pictures; default: all")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    options = parser.parse_args(arguments)
    report = measure(options.files, options.data, options.pictures)
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
