"""What every converter of the side-by-side table is given: the same weights, the same samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.benchmarks.int8_samples import CALIBRATION_SPLIT, MEASURED_SPLIT
from toolchain.errors import UsageError
from toolchain.spec import ModelSpec

FACES, DIGITS = "celebamask_hq_256.zip", "mnist"
WEIGHTS, CALIBRATION, MEASURED = "weights.safetensors", "calibration.npz", "measured.npz"
ANSWER = "answer"
SEED = 1

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Given:
    """The files of one network.

    Attributes:
        weights: state dict, safetensors.
        calibration: .npz, one channel-first array per input name, samples on the first axis.
        measured: .npz of other samples, with what the PyTorch network answers to them as `answer`.
        origin: what the samples are.
        trained: whether the weights are those that ship with the zoo.
    """

    weights: Path
    calibration: Path
    measured: Path
    origin: str
    trained: bool

    def digest(self) -> str:
        """SHA-256 over weights and calibration samples."""
        digest = hashlib.sha256()
        for path in (self.weights, self.calibration):
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()


def write_given(name: str, folder: Path, data: Path | None, calibration: int, measured: int) -> Given:
    """Write the files of one network into `folder`; files of an earlier call with the same counts are kept.

    Pictures of faces go through the contract of every network that takes three colours, digits into LeNet;
    uniform noise in [-1, 1) where there is no `data`. A face parser sees every second picture with its own
    first answer as previous mask.

    Raises:
        UsageError: an unknown name, or `data` lacks what is needed.
        UnsupportedError: the data is damaged.
    """
    import torch

    from toolchain.models.weights_file import load_weights
    from toolchain.models.zoo import zoo

    entry = zoo().get(name)
    folder.mkdir(parents=True, exist_ok=True)
    origin = _origin(entry.spec, data)
    given = Given(
        folder / WEIGHTS, folder / CALIBRATION, folder / MEASURED, origin, entry.weights is not None
    )
    if not given.weights.is_file():
        _write_weights(name, given.weights)
    if _count(given.calibration) == calibration and _count(given.measured) == measured:
        return given
    network = entry.build().eval()
    load_weights(network, given.weights)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for path, count, split in (
        (given.measured, measured, MEASURED_SPLIT),
        (given.calibration, calibration, CALIBRATION_SPLIT),
    ):
        with_answer = split == MEASURED_SPLIT
        inputs = _inputs(entry.spec, network, data, split, count)
        samples = [_answered(network, sample) if with_answer else sample for sample in inputs]
        if len(samples) < count:
            raise UsageError(f"{origin} has {len(samples)} samples, not {count}", "ask for fewer")
        arrays = {key: np.concatenate([sample[key] for sample in samples]) for key in samples[0]}
        np.savez(path, **arrays)  # type: ignore[arg-type]
    return given


def _count(path: Path) -> int:
    if not path.is_file():
        return 0
    with np.load(path) as arrays:
        return len(arrays[arrays.files[0]])


def _origin(spec: ModelSpec, data: Path | None) -> str:
    if data is None or spec.preprocess is None:
        return "uniform noise"
    channels = spec.inputs[0].shape[1]
    return {1: "MNIST", 3: "CelebAMask-HQ"}.get(channels, "uniform noise")


def _write_weights(name: str, path: Path) -> None:
    """The shipped weights, or random ones whose normalization has the statistics of what passes through."""
    from safetensors.torch import save_file

    from toolchain.benchmarks.seeded import seeded_network
    from toolchain.models.weights_file import read_state
    from toolchain.models.zoo import zoo

    entry = zoo().get(name)
    state = read_state(entry.weights) if entry.weights else seeded_network(entry).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path)


def _inputs(spec: ModelSpec, network: object, data: Path | None, split: str, count: int) -> Iterator[Arrays]:
    first, *rest = spec.inputs
    for index, picture in enumerate(_pictures(spec, data, split, count)):
        sample = {first.name: picture, **{tensor.name: np.zeros(tensor.shape, np.float32) for tensor in rest}}
        if rest and index % 2:
            answer = _answered(network, sample)[ANSWER]
            shifted = np.exp(answer - answer.max(1, keepdims=True))
            sample[rest[0].name] = (shifted / shifted.sum(1, keepdims=True)).astype(np.float32)
        yield sample


def _pictures(spec: ModelSpec, data: Path | None, split: str, count: int) -> Iterator[np.ndarray]:
    """`count` arrays in the shape of the first input and the network's own range."""
    shape, origin = spec.inputs[0].shape, _origin(spec, data)
    if data is None or spec.preprocess is None or origin == "uniform noise":
        random = np.random.default_rng([SEED, split == MEASURED_SPLIT])
        for _ in range(count):
            yield random.uniform(-1, 1, shape).astype(np.float32)
    elif origin == "MNIST":
        from toolchain.benchmarks.int8_pictures import TEST, TRAIN
        from toolchain.benchmarks.int8_training import digits, network_input

        found = digits(data, TEST if split == MEASURED_SPLIT else TRAIN)
        for index in np.random.default_rng(SEED).permutation(len(found))[:count]:
            yield network_input(found.pixels[index][None]).numpy()
    else:
        from toolchain.face.preprocess import normalized
        from toolchain.training.datasets.celebamask import CelebAMask

        pairs = CelebAMask(data / FACES, split, shape[-1])
        for index in range(min(count, len(pairs))):
            pixels, _annotation = pairs.pair(index)
            yield np.ascontiguousarray(normalized(pixels, spec.preprocess))[None]


def _answered(network: object, sample: Arrays) -> Arrays:
    import torch

    with torch.no_grad():
        # PyTorch's depthwise convolutions on a CPU are five times faster in this order.
        tensors = (
            torch.from_numpy(array).contiguous(memory_format=torch.channels_last) for array in sample.values()
        )
        return {**sample, ANSWER: network(*tensors).contiguous().numpy()}  # type: ignore[operator]
