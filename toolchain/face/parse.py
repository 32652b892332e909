"""A face parser that runs picture after picture and remembers the mask before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.face.motion import SIDE, MovingMask, shrunk_grey, shrunk_matrix, shrunk_planes
from toolchain.face.picture import check_picture
from toolchain.face.preprocess import class_probabilities, picture_input, picture_sizes, to_input
from toolchain.face.region import Square, crop, crop_matrix, unwarp_labels
from toolchain.runtimes import Runtime
from toolchain.spec import SEGMENTATION, Artifact, Preprocess, TensorSpec

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


@dataclass
class _Buffers:
    """Arrays that are written anew for every picture; None where a new array is wanted each time."""

    cut: np.ndarray | None = None
    image: np.ndarray | None = None
    previous: np.ndarray | None = None
    probabilities: np.ndarray | None = None

    @classmethod
    def of(cls, contract: Contract) -> _Buffers:
        size, image, previous = contract.size, contract.image, contract.previous
        return cls(
            np.empty((size, size, 3), np.uint8),
            np.empty(image.shape, image.dtype),
            None if previous is None else np.empty(previous.shape, previous.dtype),
            np.empty(picture_sizes(contract.logits), np.float32),
        )


class FaceParser:
    """Runs a face parser on the pictures of one video, or on single pictures after `reset()`.

    Args:
        runtime: the loaded file; stays the caller's to close.
        artifact: its sidecar, from which everything else is read.
        reuse: write every picture's tensors into the same arrays, so that `Parsed.probabilities` holds until
            the next call only; for video.

    Raises:
        UnsupportedError: the file is no segmentation of pictures, or the sidecar is not its own.
    """

    def __init__(self, runtime: Runtime, artifact: Artifact, reuse: bool = False) -> None:
        self.contract = contract_of(artifact)
        check_runtime(runtime, artifact)
        self._runtime = runtime
        self._buffers = _Buffers.of(self.contract) if reuse else _Buffers()
        self._before = MovingMask(reuse)
        self._small = np.empty((len(self.contract.labels), SIDE, SIDE), np.float32)
        self._matrix = np.eye(2, 3)
        self._cut = False

    @property
    def cut(self) -> bool:
        """Whether the last picture shows hardly anything of the one before, as after a cut.

        Only known of networks that take a previous mask.
        """
        return self._cut

    @property
    def overview(self) -> tuple[np.ndarray, np.ndarray]:
        """The last answer at a coarser size, which is enough to follow a face.

        Returns:
            (classes, side, side) float32, which holds until the next picture, and (2, 3) from picture to it.
        """
        return self._small, shrunk_matrix(self._matrix, self.contract.size)

    @property
    def block_means(self) -> np.ndarray | None:
        """The same where its pixels are means of whole blocks of the answer's pixels, for `unwarp_labels`."""
        return self._small if self.contract.size % SIDE == 0 else None

    def reset(self) -> None:
        """Forget the previous mask: the next picture is the first of its kind."""
        self._before.forget()

    def parse(
        self,
        picture: np.ndarray,
        square: Square,
        stages: Stages | None = None,
        labels: np.ndarray | None = None,
    ) -> Parsed:
        """Parse what `square` shows of a picture.

        Args:
            picture: (height, width, 3) RGB uint8.
            square: region of interest.
            stages: where to add the times of "crop", "inference" and "unwarp".
            labels: (height, width) uint8 to draw the labels of this face into; None for a new array.

        Raises:
            UsageError: `picture` is no such array.
            UnsupportedError: the network's output is not finite.
        """
        stages = stages or Stages()
        probabilities, matrix = self.infer(picture, square, stages)
        with stages.measure("unwarp"):
            drawn = unwarp_labels(probabilities, matrix, picture.shape, labels, self.block_means)
        return Parsed(drawn, probabilities, matrix)

    def infer(self, picture: np.ndarray, square: Square, stages: Stages) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities of the region, before they are put back into the picture.

        Args:
            picture: (height, width, 3) RGB uint8.
            square: region of interest.
            stages: where to add the times of "crop", "inference" and "unwarp".

        Returns:
            (classes, size, size) float32, and the (2, 3) matrix from picture to crop.

        Raises:
            UsageError: `picture` is no such array.
            UnsupportedError: the network's output is not finite.
        """
        check_picture(picture)
        contract, buffers = self.contract, self._buffers
        self._cut = False
        with stages.measure("crop"):
            matrix = crop_matrix(square, contract.size)
            cut = crop(picture, matrix, contract.size, contract.preprocess.resize, buffers.cut)
            arrays = {
                contract.image.name: picture_input(cut, contract.preprocess, contract.image, buffers.image)
            }
            if contract.previous is not None:
                grey = shrunk_grey(cut)
                before = self._before.carried(cut, matrix, grey)
                if before is None:
                    self._cut = self._before.is_known
                    before = np.zeros(picture_sizes(contract.previous), np.float32)
                arrays[contract.previous.name] = to_input(before, contract.previous, buffers.previous)
        with stages.measure("inference"):
            result = self._runtime.run(arrays)
        with stages.measure("unwarp"):
            scores = result[contract.logits.name]
            probabilities = class_probabilities(scores, contract.logits, buffers.probabilities)
            self._matrix = matrix
            shrunk_planes(probabilities, self._small)
            if contract.previous is not None:
                self._before.put(cut, matrix, self._small, grey)
        return probabilities, matrix
