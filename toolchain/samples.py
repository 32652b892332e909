"""Inputs for comparing files with their network: real ones from a path, or synthetic ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolchain.class_samples import ClassSamples, is_classified
from toolchain.errors import UnsupportedError, UsageError
from toolchain.parity import Arrays, contract_range, from_pixels, to_pixels
from toolchain.spec import CLASSIFICATION, PROBABILITIES, SEGMENTATION, ModelSpec, Preprocess, TensorSpec
from toolchain.stored_arrays import StoredArray, stored_arrays

if TYPE_CHECKING:
    from toolchain.training.datasets import FacePairs

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
ARRAYS = (".npy", ".npz")
SYNTHETIC = 4
# Kinds of numpy types: floating-point, signed, unsigned, bool.
NUMBERS = "fiub"
SEED = 0
# Name of the array of true labels in a .npz file; pixels with this label do not count.
LABELS = "labels"
IGNORED = 255
# A picture whose span is this many times wider than the contract's is on another scale: 0 to 255 for -1 to 1.
OFF_SCALE = 4.0
# Parts of a dataset: files are compared on one, and calibrated on the other, which they were trained on.
MEASURED, TRAINED = "val", "train"


def samples(spec: ModelSpec, calibration: str | Path | None, count: int) -> tuple[list[Arrays], str]:
    """The first `count` samples, in ONNX order and the network's own range, and where they come from.

    Args:
        spec: the network's contract.
        calibration: folder of pictures, `.npy`/`.npz` file, or a dataset, such as `celebamask:PATH` or
            `mnist:FOLDER`; None for synthetic inputs.
        count: how many at most.

    Raises:
        UsageError: there is nothing at `calibration`, or it does not fit the network.
        UnsupportedError: a picture or array is damaged.
    """
    if calibration is None:
        return synthetic(spec, min(count, SYNTHETIC)), "synthetic"
    return list(stream(spec, calibration, count)), str(calibration)


def stream(
    spec: ModelSpec,
    calibration: str | Path,
    count: int,
    split: str = MEASURED,
    *,
    rounded: bool = True,
    enough: int | None = None,
) -> Iterator[Arrays]:
    """As `samples`, one after the other: pictures are read when they are needed.

    Args:
        spec: the network's contract.
        calibration: as for `samples`.
        count: how many at most.
        split: which part of a dataset.
        rounded: pictures are rounded to 8 bits and cut to the range of the contract; otherwise they are as
            the data holds them.
        enough: how many of these are wanted; None for all. Pictures come with their classes mixed, so that
            the first ones will do; rows of arrays may be sorted, so that they are taken evenly spread.

    Raises:
        UsageError: there is nothing at `calibration`, or it does not fit the network.
        UnsupportedError: a picture or array is damaged.
    """
    wanted = count if enough is None else min(count, enough)
    found = _given(spec, calibration, split, count, wanted)
    number = -1
    for number, sample in enumerate(itertools.islice(found, wanted)):  # noqa: B007
        yield _of_pixels(spec, sample, str(calibration)) if rounded else sample
    if number < 0:
        hint = f"pictures end in {', '.join(sorted(PICTURES))}"
        if str(calibration).endswith(ARRAYS):
            hint = f"samples are on the first axis, '{spec.name}' takes {spec.inputs[0].shape[0]} at once"
        raise UsageError(f"'{calibration}' holds no samples", hint)


def true_labels(spec: ModelSpec, calibration: str | Path, count: int) -> list[np.ndarray] | None:
    """The true labels of what `samples` gives, in the same order; None where the data holds none.

    - Datasets of face parsing: label maps, for networks with the classes of `toolchain.models.faces`.
    - Datasets of classification (mnist:, images:): a class each, see `ClassSamples.labels`.
    - `.npz`: the array "labels" of integers, samples on its first axis: a class each, or a label map each.
    - Folders: the number of the class after which the folder of a picture is named, for classifications.

    Args:
        spec: the network's contract.
        calibration: as for `samples`.
        count: how many at most.

    Returns:
        Integers (batch, ...) for each sample, in label maps 255 where none is known.

    Raises:
        UsageError: there are fewer labels than samples, or only some folders are named after classes.
        UnsupportedError: a label map or array is damaged, or the labels are no integers.
    """
    text = str(calibration)
    if is_classified(text):
        return ClassSamples(spec, text, trained=False).labels(count)
    if _is_dataset(text):
        if not holds_faces(spec):
            return None
        data = _opened(spec, text, MEASURED)
        return [data.pair(index)[1][None] for index in range(min(count, len(data)))]
    if Path(text).is_dir():
        return _folder_labels(spec, Path(text), count)
    return _array_labels(spec, Path(text), count) if text.endswith(".npz") else None


def holds_faces(spec: ModelSpec) -> bool:
    """Whether the network is a segmentation with the classes of face parsing."""
    from toolchain.models.faces import LABELS as FACE_LABELS

    return spec.task == SEGMENTATION and spec.labels == FACE_LABELS


def _folder_labels(spec: ModelSpec, folder: Path, count: int) -> list[np.ndarray] | None:
    pictures = list(itertools.islice(_pictures(folder), count))
    known = [path for path in pictures if path.parent.name in spec.labels]
    if spec.task != CLASSIFICATION or not known:
        return None
    if len(known) < len(pictures):
        other = next(path for path in pictures if path not in known)
        raise UsageError(
            f"'{other}' is in no folder that is named after a class, and others are",
            f"classes of '{spec.name}' are {', '.join(spec.labels[:5])}{', ...' * (len(spec.labels) > 5)}",
        )
    return [np.array([spec.labels.index(path.parent.name)]) for path in known]


def _array_labels(spec: ModelSpec, path: Path, count: int) -> list[np.ndarray] | None:
    with stored_arrays(path) as arrays:
        if LABELS not in arrays or any(tensor.name == LABELS for tensor in spec.inputs):
            return None
        stored, batch = arrays[LABELS], spec.inputs[0].shape[0]
        number = min(count, _count(spec, _inputs_of(spec, path, arrays)))
        if stored.dtype.kind not in "iu" or not stored.shape:
            raise UnsupportedError(
                f"'{LABELS}' in '{path}' holds {stored.dtype}, not integers", "save class numbers, from 0"
            )
        if stored.shape[0] < number * batch:
            raise UsageError(
                f"'{path}' holds {stored.shape[0]} labels for {number * batch} samples", "one for each"
            )
        return [stored.next_rows(batch).astype(np.int64) for _ in range(number)]


def _of_pixels(spec: ModelSpec, sample: Arrays, where: str) -> Arrays:
    """The sample with its picture rounded to 8 bits per channel, as cameras and files have it.

    Files that take pixels can be fed nothing finer, and all files are compared on the same inputs.

    Raises:
        UsageError: the picture is on another scale, so that hardly anything would be left of it.
    """
    if spec.preprocess is None:
        return sample
    name = spec.inputs[0].name
    low, high = contract_range(spec.preprocess)
    least, greatest = float(sample[name].min()), float(sample[name].max())
    if greatest - least > OFF_SCALE * (high - low):
        raise UsageError(
            f"'{name}' in '{where}' goes from {least:g} to {greatest:g}, the contract of '{spec.name}' makes"
            f" {low:g} to {high:g} of pixels",
            "bring it to the network's own range, or give a folder of pictures",
        )
    return {**sample, name: from_pixels(to_pixels(sample[name], spec.preprocess), spec.preprocess)}


def _given(spec: ModelSpec, calibration: str | Path, split: str, count: int, wanted: int) -> Iterator[Arrays]:
    text = str(calibration)
    if is_classified(text):
        return iter(ClassSamples(spec, text, trained=split == TRAINED))
    if _is_dataset(text):
        return _from_dataset(spec, text, split)
    # The empty text would be the current folder.
    if text and Path(text).is_dir():
        return _from_folder(spec, Path(text))
    if text.endswith(ARRAYS):
        return _from_arrays(spec, Path(text), count, wanted)
    raise UsageError(
        f"no calibration data at '{text}'",
        "give a folder of pictures, a .npy or .npz file, or a dataset: celebamask:PATH, mnist:FOLDER",
    )


def synthetic(spec: ModelSpec, count: int) -> list[Arrays]:
    """Deterministic inputs: pictures are smooth noise over the whole range, other tensors standard normal."""
    random = np.random.default_rng(SEED)
    return [
        {
            tensor.name: _picture(random, tensor, spec.preprocess)
            if index == 0 and spec.preprocess is not None
            else _noise(random, tensor)
            for index, tensor in enumerate(spec.inputs)
        }
        for _ in range(count)
    ]


def answers(
    spec: ModelSpec, inputs: list[Arrays], run: Callable[[Arrays], Arrays]
) -> tuple[list[Arrays], list[Arrays]]:
    """What the reference makes of the samples, and the samples as they were used.

    The previous-mask input of a video parser (its second input, shaped like its first output) is filled
    as a video does: zeros at first, then the softmax of the answer before. Other inputs stay as they are.

    Args:
        spec: the network's contract.
        inputs: samples in ONNX order.
        run: the reference network.

    Returns:
        (samples, answers), one each per sample.
    """
    if not takes_previous_mask(spec):
        return inputs, [run(sample) for sample in inputs]
    name, output = spec.inputs[1].name, spec.outputs[0].name
    previous = np.zeros(spec.inputs[1].shape, np.float32)
    used, made = [], []
    for sample in inputs:
        used.append({**sample, name: previous})
        made.append(run(used[-1]))
        previous = previous_mask(spec, made[-1][output])
    return used, made


def takes_previous_mask(spec: ModelSpec) -> bool:
    """Whether the second input of a segmentation is its own answer to the picture before."""
    if spec.task != SEGMENTATION or len(spec.inputs) != 2:
        return False
    previous, output = spec.inputs[1].shape, spec.outputs[0].shape
    return previous in (output, (*output[:1], *previous[1:2], *output[1:]))


def previous_mask(spec: ModelSpec, answer: np.ndarray) -> np.ndarray:
    """Class probabilities (N, classes, ...) of the first output: of logits, probabilities or labels."""
    classes, name = spec.inputs[1].shape[1], spec.outputs[0].name
    if answer.dtype.kind in "iu":
        return np.moveaxis(np.eye(classes, dtype=np.float32)[answer], -1, 1)
    if name == PROBABILITIES:
        return answer.astype(np.float32)
    shifted = np.exp(answer - answer.max(1, keepdims=True))
    return (shifted / shifted.sum(1, keepdims=True)).astype(np.float32)


def _picture(random: np.random.Generator, tensor: TensorSpec, preprocess: Preprocess) -> np.ndarray:
    """Noise of several scales, as pictures have it, through the preprocessing contract."""
    import cv2

    batch, channels, height, width = tensor.shape
    total = np.zeros((batch, channels, height, width), np.float32)
    for level in (4, 16, 64):
        for index in np.ndindex(batch, channels):
            small = random.standard_normal((level, level)).astype(np.float32)
            total[index] += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = total.min(), total.max()
    pixels = (total - low) / max(high - low, 1e-6) * 255
    return from_pixels(np.rint(pixels), preprocess)


def _noise(random: np.random.Generator, tensor: TensorSpec) -> np.ndarray:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return random.standard_normal(tensor.shape).astype(dtype)
    return random.integers(0, 2, tensor.shape).astype(dtype)


def _from_picture(spec: ModelSpec, picture: np.ndarray) -> Arrays:
    """A whole picture, RGB uint8 (H, W, 3) of any size, as the first input; other inputs are zero."""
    import cv2

    from toolchain.face.preprocess import normalized

    assert spec.preprocess is not None
    height, width = spec.inputs[0].shape[2:]
    interpolation = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (width, height), interpolation=interpolation)
    sample = {spec.inputs[0].name: np.ascontiguousarray(normalized(resized, spec.preprocess)[None])}
    for tensor in spec.inputs[1:]:
        sample[tensor.name] = np.zeros(tensor.shape, tensor.dtype)
    return sample


def _needs_pictures(spec: ModelSpec, where: str) -> None:
    if spec.preprocess is None:
        raise UsageError(
            f"'{spec.name}' has no preprocessing contract, so the pictures in '{where}' cannot be used",
            "give a .npz with one array per input, in the network's own range",
        )


def _from_folder(spec: ModelSpec, folder: Path) -> Iterator[Arrays]:
    import cv2

    _needs_pictures(spec, str(folder))
    for path in _pictures(folder):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise UnsupportedError(
                f"'{path}' is not a readable picture", "remove it from the calibration folder"
            )
        yield _from_picture(spec, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _pictures(folder: Path) -> Iterator[Path]:
    """Pictures in and below a folder: of each folder the first one, then of each the second, and so on.

    So that the first pictures of a folder with a folder for each class are of all classes.
    """
    found: dict[Path, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES):
        found.setdefault(path.parent, []).append(path)
    for row in itertools.zip_longest(*found.values()):
        yield from (path for path in row if path is not None)


def _is_dataset(text: str) -> bool:
    """Whether the text is SCHEME:WHAT with a scheme of the datasets of face parsing."""
    scheme, colon, _ = text.partition(":")
    if not colon:
        return False
    from toolchain.training.datasets import schemes

    return scheme in schemes


def _opened(spec: ModelSpec, text: str, split: str) -> FacePairs:
    from toolchain.training.datasets import open_pairs

    return open_pairs(text, split, spec.inputs[0].shape[-1])


def _from_dataset(spec: ModelSpec, text: str, split: str) -> Iterator[Arrays]:
    _needs_pictures(spec, text)
    data = _opened(spec, text, split)
    for index in range(len(data)):
        yield _from_picture(spec, data.pair(index)[0])


def _shape_hint(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to do about an array whose samples have another shape than the network's."""
    if given == wanted:
        return "the array is one sample: add an axis in front, array[None]"
    if len(given) == 4 and (given[3], *given[1:3]) == wanted:
        return "the channels are last here and second in the network: array.transpose(0, 3, 1, 2)"
    return "samples are on the first axis, in the layout of the ONNX graph"


def _from_arrays(spec: ModelSpec, path: Path, count: int, wanted: int) -> Iterator[Arrays]:
    """`wanted` of the first `count` samples, evenly spread."""
    with stored_arrays(path) as arrays:
        found = _inputs_of(spec, path, arrays)
        total = min(count, _count(spec, found))
        chosen = set(np.linspace(0, total - 1, min(wanted, total)).round().astype(int).tolist())
        for number in range(total):
            sample = {tensor.name: _next(tensor, path, found[tensor.name]) for tensor in spec.inputs}
            if number in chosen:
                yield sample


def _count(spec: ModelSpec, arrays: Mapping[str, StoredArray]) -> int:
    return min(arrays[tensor.name].shape[0] // tensor.shape[0] for tensor in spec.inputs)


def _next(tensor: TensorSpec, path: Path, array: StoredArray) -> np.ndarray:
    rows = array.next_rows(tensor.shape[0])
    if not np.isfinite(rows).all():
        raise UnsupportedError(f"'{tensor.name}' in '{path}' has NaN or infinite values")
    return rows.astype(tensor.dtype)


def _inputs_of(spec: ModelSpec, path: Path, arrays: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """The arrays of the network's inputs, which samples of these shapes can be read from."""
    if list(arrays) == [""]:
        if len(spec.inputs) != 1:
            names = ", ".join(tensor.name for tensor in spec.inputs)
            raise UsageError(f"'{path}' has one array, the network has inputs {names}", "write a .npz")
        arrays = {spec.inputs[0].name: arrays[""]}
    for tensor in spec.inputs:
        array = arrays.get(tensor.name)
        if array is None:
            raise UsageError(
                f"'{path}' has no array '{tensor.name}'", f"it has: {', '.join(arrays) or 'none'}"
            )
        if not array.shape or array.shape[1:] != tensor.shape[1:]:
            raise UsageError(
                f"'{tensor.name}' in '{path}' has samples of shape {array.shape[1:]}, the network takes"
                f" {tensor.shape[1:]}",
                _shape_hint(array.shape, tensor.shape[1:]),
            )
        if array.dtype.kind not in NUMBERS:
            raise UnsupportedError(
                f"'{tensor.name}' in '{path}' holds {array.dtype}, not real numbers", f"save {tensor.dtype}"
            )
    return {tensor.name: arrays[tensor.name] for tensor in spec.inputs}
