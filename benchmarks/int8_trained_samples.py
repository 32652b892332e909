"""Inputs for the int8 comparison of trained networks: one file to calibrate from, one to measure on.

Both hold one array per input, samples on the first axis, channel-first and in the network's own range; the
second also what the float PyTorch network answers (`answer`) and the annotated classes (`labels`).
Calibration sees training data, the measurement held-out data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.benchmarks.int8_pictures import TEST, TRAIN
from toolchain.benchmarks.int8_samples import CALIBRATION_SPLIT, MEASURED_SPLIT, contract_of
from toolchain.benchmarks.int8_training import LENET, digits, network_input
from toolchain.models import faces
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import ModelEntry, zoo
from toolchain.spec import ModelSpec

CALIBRATION = 100
MEASURED = 200
ANSWER, LABELS = "answer", "labels"
FACES = "celebamask_hq_256.zip"
SEED = 1

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class SampleFiles:
    """Where the inputs of one network are.

    Attributes:
        calibration: .npz of the inputs that every quantizer calibrates from.
        measured: .npz of held-out inputs, answers and labels.
    """

    calibration: Path
    measured: Path

    @property
    def sha256(self) -> dict[str, str]:
        """Digests of both files."""
        paths = {"calibration": self.calibration, "measured": self.measured}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}


def networks() -> tuple[str, ...]:
    """Names in the zoo that can be compared: the classifier trained here, and face parsers with weights."""
    return (LENET, *(name for name in zoo() if _is_face_parser(zoo().get(name)) and zoo().get(name).weights))


def _is_face_parser(entry: ModelEntry) -> bool:
    return entry.spec.labels == faces.LABELS and entry.spec.preprocess is not None


def write_samples(
    name: str,
    weights: Path,
    data: Path,
    folder: Path,
    calibration: int = CALIBRATION,
    measured: int = MEASURED,
) -> SampleFiles:
    """Write `calibration.npz` and `measured.npz` of a network into `folder`.

    Args:
        name: of `networks()`.
        weights: its weights.
        data: folder with `mnist/` and `celebamask_hq_256.zip`.
        folder: where to write.
        calibration: training samples.
        measured: held-out samples.

    Raises:
        UsageError: an unknown name, or no such data.
        UnsupportedError: damaged data.
    """
    entry = zoo().get(name)
    network = entry.build().eval()
    load_weights(network, weights)
    # PyTorch's depthwise convolutions on a CPU are five times faster in this order.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    make = _digits if name == LENET else _faces
    folder.mkdir(parents=True, exist_ok=True)
    files = SampleFiles(folder / "calibration.npz", folder / "measured.npz")
    inputs = {tensor.name for tensor in entry.spec.inputs}
    found = _stacked(make(entry.spec, network, data, calibration, False), calibration)
    np.savez(files.calibration, **{key: array for key, array in found.items() if key in inputs})  # type: ignore[arg-type]
    np.savez(files.measured, **_stacked(make(entry.spec, network, data, measured, True), measured))  # type: ignore[arg-type]
    return files


def _stacked(samples: Iterator[Arrays], count: int) -> Arrays:
    """At most `count` samples on the first axis; filled in place, since faces take a gigabyte."""
    arrays: Arrays = {}
    number = -1
    for number, sample in enumerate(samples):
        for key, array in sample.items():
            arrays.setdefault(key, np.empty((count, *array.shape[1:]), array.dtype))[number] = array[0]
    return {key: array[: number + 1] for key, array in arrays.items()}


def _digits(spec: ModelSpec, network: nn.Module, data: Path, count: int, held_out: bool) -> Iterator[Arrays]:
    """Pictures at random over all classes, each with the network's answer and its label."""
    pictures = digits(data, TEST if held_out else TRAIN)
    for index in np.random.default_rng(SEED).permutation(len(pictures))[:count]:
        image = network_input(pictures.pixels[index][None])
        yield {
            spec.inputs[0].name: image.numpy(),
            ANSWER: _answer(network, image).numpy(),
            LABELS: pictures.labels[index][None],
        }


def _faces(spec: ModelSpec, network: nn.Module, data: Path, count: int, held_out: bool) -> Iterator[Arrays]:
    """Pictures of faces; every second one with the network's own first answer to it as previous mask."""
    from toolchain.face.preprocess import normalized
    from toolchain.training.datasets.celebamask import CelebAMask

    picture, *rest = spec.inputs
    split = MEASURED_SPLIT if held_out else CALIBRATION_SPLIT
    pairs = CelebAMask(data / FACES, split, picture.shape[-1])
    for index in range(min(count, len(pairs))):
        pixels, annotation = pairs.pair(index)
        inputs = [torch.from_numpy(np.ascontiguousarray(normalized(pixels, contract_of(spec))))[None]]
        inputs += [torch.zeros(tensor.shape) for tensor in rest]
        if rest and index % 2:
            inputs[1] = _answer(network, *inputs).softmax(1)
        arrays = {tensor.name: value.numpy() for tensor, value in zip(spec.inputs, inputs, strict=True)}
        yield {**arrays, ANSWER: _answer(network, *inputs).numpy(), LABELS: annotation[None]}


def _answer(network: nn.Module, *inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return network(*(value.contiguous(memory_format=torch.channels_last) for value in inputs))
