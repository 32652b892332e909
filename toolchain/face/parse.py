"""A face parser that runs picture after picture and remembers the mask before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.face.picture import check_picture
from toolchain.face.preprocess import from_output, picture_input, picture_sizes, softmax, to_input
from toolchain.face.region import Square, crop, crop_matrix, move_probabilities, unwarp_labels
from toolchain.runtimes import Runtime
from toolchain.spec import PROBABILITIES, SEGMENTATION, Artifact, Preprocess, TensorSpec

# A label that only face parsers have: for other segmentations no face needs to be found.
FACE_LABEL = "nose"


@dataclass(frozen=True)
class Contract:
    """What a sidecar says about a segmentation network that takes one picture.

    Attributes:
        image: the picture input, square.
        previous: the input for the class probabilities of the picture before; None without one.
        logits: the output, as large as the picture, one channel a class.
        preprocess: how the crop becomes the picture input.
        labels: class names.
        palette: one RGB triple per class.
    """

    image: TensorSpec
    previous: TensorSpec | None
    logits: TensorSpec
    preprocess: Preprocess
    labels: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    @property
    def size(self) -> int:
        """Side of the crop in pixels."""
        return picture_sizes(self.image)[1]

    @property
    def is_face(self) -> bool:
        """Whether the network parses faces, so that a face has to be found first."""
        return FACE_LABEL in self.labels


def contract_of(artifact: Artifact) -> Contract:
    """Check that a sidecar describes a segmentation of pictures, and read it.

    Raises:
        UnsupportedError: another task, or inputs and outputs that do not fit it; the message says which.
    """
    hint = "face parsers of the zoo fit: `toolchain models` lists them"
    if artifact.task != SEGMENTATION or artifact.preprocess is None:
        raise UnsupportedError(f"'{artifact.path}' is no segmentation of pictures", hint)
    if not 1 <= len(artifact.inputs) <= 2 or len(artifact.outputs) != 1:
        raise UnsupportedError(
            f"'{artifact.path}' has {len(artifact.inputs)} inputs and {len(artifact.outputs)} outputs, "
            "not a picture, perhaps a previous mask, and one map",
            hint,
        )
    image, logits = artifact.inputs[0], artifact.outputs[0]
    previous = artifact.inputs[1] if len(artifact.inputs) == 2 else None
    channels, height, width = picture_sizes(image)
    classes = len(artifact.labels)
    if height != width or channels != len(artifact.preprocess.mean) or channels not in (1, 3):
        raise UnsupportedError(
            f"'{artifact.path}' takes pictures of {height} x {width} with {channels} channels",
            "square pictures with 3 channels (or grey) are supported",
        )
    if classes == 0 or len(artifact.palette) != classes:
        raise UnsupportedError(
            f"the sidecar of '{artifact.path}' has {classes} labels and {len(artifact.palette)} colours",
            "export the network with labels and a palette in its ModelSpec",
        )
    for tensor in filter(None, (previous, logits)):
        if picture_sizes(tensor) != (classes, height, width):
            raise UnsupportedError(
                f"tensor '{tensor.name}' of '{artifact.path}' has shape {tensor.shape} ({tensor.layout}), "
                f"not {height} x {width} with {classes} classes",
                hint,
            )
    return Contract(image, previous, logits, artifact.preprocess, artifact.labels, artifact.palette)


def check_runtime(runtime: Runtime, artifact: Artifact) -> None:
    """Raises UnsupportedError when the loaded file has other tensors than its sidecar says."""
    for kind, have, said in (
        ("inputs", runtime.inputs, artifact.inputs),
        ("outputs", runtime.outputs, artifact.outputs),
    ):
        # A Core ML classifier has outputs for its label beside the scores.
        if not _bare(said) <= _bare(have) or (kind == "inputs" and len(said) != len(have)):
            raise UnsupportedError(
                f"the {kind} of '{artifact.path}' are not those of its sidecar",
                "the sidecar belongs to another file: export the model again",
            )


def _bare(tensors: tuple[TensorSpec, ...]) -> set[TensorSpec]:
    # Neither order nor layout can be read from every model file, and quantization is checked by neither.
    return {replace(t, layout="", scale=None, zero_point=None) for t in tensors}


@dataclass
class Stages:
    """Milliseconds of each stage, in the order in which they ran."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = perf_counter()
        yield
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + 1e3 * (perf_counter() - start)


@dataclass(frozen=True)
class Parsed:
    """One parsed picture.

    Attributes:
        labels: (height, width) uint8, class of every pixel of the picture.
        probabilities: (classes, size, size) float32, of the crop.
        matrix: (2, 3), picture to crop.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    matrix: np.ndarray


class FaceParser:
    """Runs a face parser on the pictures of one video, or on single pictures after `reset()`.

    Args:
        runtime: the loaded file; stays the caller's to close.
        artifact: its sidecar, from which everything else is read.

    Raises:
        UnsupportedError: the file is no segmentation of pictures, or the sidecar is not its own.
    """

    def __init__(self, runtime: Runtime, artifact: Artifact) -> None:
        self.contract = contract_of(artifact)
        check_runtime(runtime, artifact)
        self._runtime = runtime
        self._before: Parsed | None = None

    def reset(self) -> None:
        """Forget the previous mask: the next picture is the first of its kind."""
        self._before = None

    def parse(self, picture: np.ndarray, square: Square, stages: Stages | None = None) -> Parsed:
        """Parse what `square` shows of a picture.

        Args:
            picture: (height, width, 3) RGB uint8.
            square: region of interest.
            stages: where to add the times of "crop", "inference" and "unwarp".

        Raises:
            UsageError: `picture` is no such array.
            UnsupportedError: the network's output is not finite.
        """
        check_picture(picture)
        stages = stages or Stages()
        contract = self.contract
        with stages.measure("crop"):
            matrix = crop_matrix(square, contract.size)
            cut = crop(picture, matrix, contract.size, contract.preprocess.resize)
            arrays = {contract.image.name: picture_input(cut, contract.preprocess, contract.image)}
            if contract.previous is not None:
                arrays[contract.previous.name] = to_input(self._previous(matrix), contract.previous)
        with stages.measure("inference"):
            result = self._runtime.run(arrays)
        with stages.measure("unwarp"):
            scores = from_output(result[contract.logits.name], contract.logits)
            probabilities = scores if contract.logits.name == PROBABILITIES else softmax(scores)
            labels = unwarp_labels(probabilities, matrix, picture.shape)
        self._before = Parsed(labels, probabilities, matrix)
        return self._before

    def _previous(self, matrix: np.ndarray) -> np.ndarray:
        """The previous picture's class probabilities where they lie in this crop; zeros at first."""
        if self._before is None:
            return np.zeros(picture_sizes(self.contract.logits), np.float32)
        return move_probabilities(self._before.probabilities, self._before.matrix, matrix)
