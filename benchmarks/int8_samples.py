"""Pictures of faces for calibrating and for measuring int8 files: the same ones for every quantizer.

    python -P -m toolchain.benchmarks.int8_samples NAME FLOAT.tflite --data FACES.zip --output FOLDER

writes FOLDER/pictures/*.png for `toolchain export --calibration` and FOLDER/calibration.npz with the same
pictures as the inputs of a .tflite file, for quantizers that take arrays. A video parser sees every second
picture with an empty previous mask and the others with its own first answer to them, as
`toolchain.quantize` does it. FOLDER/calibration-masked.npz gives every picture its mask: a quantizer that
averages the extremes of the samples would clip the mask at half its range on the first file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.report import as_text, run_benchmark
from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.preprocess import normalized
from toolchain.runtimes import load
from toolchain.runtimes.base import Runtime
from toolchain.spec import ModelSpec, Preprocess

CALIBRATION_SPLIT, MEASURED_SPLIT = "train", "val"
COUNT = 100

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class FaceSample:
    """One picture as the inputs of a channel-last file.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        arrays: (1, H, W, channels) float32 by input name.
        annotation: (H, W) uint8 classes, 255 where nothing counts.
        masked: whether a previous mask was given.
    """

    pixels: np.ndarray
    arrays: Arrays
    annotation: np.ndarray
    masked: bool


def face_samples(
    data: Path | str,
    split: str,
    count: int,
    preprocess: Preprocess,
    network: Runtime,
    always_masked: bool = False,
) -> Iterator[FaceSample]:
    """The first `count` pictures of a split of CelebAMask-HQ, fewer when it has no more.

    Args:
        data: zip of the data set.
        split: "train" or "val".
        count: how many.
        preprocess: the contract of the network.
        network: the float file, channel-last, which answers for the previous masks.
        always_masked: give every picture a previous mask, not only every second one.

    Raises:
        UsageError: no such data, or a count below 1.
        UnsupportedError: the network's inputs are not a picture and perhaps a previous mask.
    """
    from toolchain.training.datasets.celebamask import CelebAMask

    if count < 1:
        raise UsageError(f"count must be at least 1, not {count}")
    picture, mask = _roles(network)
    pairs = CelebAMask(data, split, network.inputs[0].shape[1])
    for index in range(min(count, len(pairs))):
        pixels, annotation = pairs.pair(index)
        arrays = {picture: np.ascontiguousarray(normalized(pixels, preprocess).transpose(1, 2, 0)[None])}
        masked = mask is not None and (always_masked or index % 2 == 1)
        if mask is not None:
            arrays[mask] = np.zeros(network.inputs[1].shape, np.float32)
        if mask is not None and masked:
            arrays[mask] = _probabilities(first_output(network.run(arrays)))
        yield FaceSample(pixels, arrays, annotation, masked)


def first_output(answer: Arrays) -> np.ndarray:
    """The class scores (1, H, W, classes) of an answer."""
    return next(iter(answer.values()))


def for_file(arrays: Arrays, file: Runtime) -> Arrays:
    """The same inputs under the names of another channel-last file; tensors are matched by their shape.

    Raises:
        UsageError: a shape is missing or occurs twice.
    """
    by_shape = {array.shape: array for array in arrays.values()}
    wanted = {spec.name: spec.shape for spec in file.inputs}
    if len(by_shape) != len(arrays) or sorted(by_shape) != sorted(wanted.values()):
        raise UsageError(
            f"a file takes {sorted(wanted.values())}, the samples are {sorted(by_shape)}",
            "compare files of one network, channel-last and at one size",
        )
    return {name: by_shape[shape] for name, shape in wanted.items()}


def _roles(network: Runtime) -> tuple[str, str | None]:
    """Names of the picture input and of the previous mask, None where there is none."""
    specs = network.inputs
    square = all(len(spec.shape) == 4 and spec.shape[1] == spec.shape[2] for spec in specs)
    if not square or len(specs) > 2 or specs[0].shape[-1] != 3:
        raise UnsupportedError(
            f"a network with inputs {[spec.shape for spec in specs]} is not a channel-last face parser",
            "give a .tflite file of a face parser, exported with --layout nhwc",
        )
    if len(specs) == 2 and specs[1].shape[1:] != network.outputs[0].shape[1:]:
        raise UnsupportedError(
            f"the second input {specs[1].shape} is no previous mask for the output {network.outputs[0].shape}"
        )
    return specs[0].name, specs[1].name if len(specs) == 2 else None


def _probabilities(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    return (shifted / shifted.sum(-1, keepdims=True)).astype(np.float32)


def write_calibration(
    spec: ModelSpec, float_file: Path, data: Path | str, folder: Path, count: int = COUNT
) -> dict[str, Any]:
    """Write `pictures/*.png`, `calibration.npz` and `calibration-masked.npz` of training pictures.

    Args:
        spec: contract of the network.
        float_file: its float .tflite file, channel-last.
        data: zip of CelebAMask-HQ.
        folder: where to write; pictures of an earlier call are removed.
        count: how many pictures.

    Returns:
        `pictures` (their number) and `inputs` (shape of each array of the .npz by input name).

    Raises:
        UsageError: no such file or data.
        UnsupportedError: the network is no face parser.
    """
    import cv2

    preprocess = contract_of(spec)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    with load(float_file, threads=1) as network:
        found = list(face_samples(data, CALIBRATION_SPLIT, count, preprocess, network))
        masked = face_samples(data, CALIBRATION_SPLIT, count, preprocess, network, always_masked=True)
        shapes = _save_arrays(found, folder / "calibration.npz")
        _save_arrays(list(masked), folder / "calibration-masked.npz")
    for index, sample in enumerate(found):
        cv2.imwrite(str(pictures / f"{index:04}.png"), cv2.cvtColor(sample.pixels, cv2.COLOR_RGB2BGR))
    return {"pictures": len(found), "inputs": shapes}


def _save_arrays(found: list[FaceSample], path: Path) -> dict[str, tuple[int, ...]]:
    """Write one array per input, samples on the first axis; returns their shapes."""
    arrays = {name: np.concatenate([sample.arrays[name] for sample in found]) for name in found[0].arrays}
    np.savez(path, allow_pickle=False, **arrays)
    return {name: array.shape for name, array in arrays.items()}


def contract_of(spec: ModelSpec) -> Preprocess:
    """The preprocessing contract.

    Raises:
        UnsupportedError: the network has none.
    """
    if spec.preprocess is None:
        raise UnsupportedError(f"'{spec.name}' takes no pictures", "name a face parser of the zoo")
    return spec.preprocess


def _benchmark(arguments: Sequence[str] | None) -> str:
    from toolchain.models import zoo

    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.int8_samples",
        description="Calibration pictures as a folder and as arrays for a .tflite file.",
    )
    parser.add_argument("name", help="a face parser of the zoo")
    parser.add_argument("float_file", type=Path, help="its float .tflite file")
    parser.add_argument("--data", type=Path, required=True, help="zip of CelebAMask-HQ")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(arguments)
    spec = zoo().get(options.name).spec
    return as_text(write_calibration(spec, options.float_file, options.data, options.output, options.count))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures from the command line and return the exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
