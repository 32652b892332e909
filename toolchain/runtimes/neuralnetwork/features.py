"""What enters a neural network and what leaves it: pictures, arrays and labels of the model's description."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.neuralnetwork.layers.parameters import enum_name

CLASSIFIER = "neuralNetworkClassifier"
COLOURS = {"RGB": ("red", "green", "blue"), "BGR": ("blue", "green", "red")}
GRAYSCALE = ("GRAYSCALE", "GRAYSCALE_FLOAT16")


def array_mapping(network: Any) -> bool:
    """Whether arrays enter with their own shape; otherwise as [Seq, Batch, C, H, W].

    Raises:
        UnsupportedError: the mapping is not known.
    """
    return _known(network.arrayInputShapeMapping, "arrayInputShapeMapping") == 1


def image_mapping(network: Any) -> bool:
    """Whether pictures enter as [1, C, H, W]; otherwise as [1, 1, C, H, W]."""
    return _known(network.imageInputShapeMapping, "imageInputShapeMapping") == 1


def _known(value: int, field: str) -> int:
    if value not in (0, 1):
        raise UnsupportedError(f"{field} {value} is not known")
    return value


def colour_space(image: Any) -> str:
    """Name of the colour space of an ImageFeatureType: "RGB", "BGR", "GRAYSCALE" or "GRAYSCALE_FLOAT16"."""
    name = enum_name(image, "colorSpace")
    if name not in (*COLOURS, *GRAYSCALE):
        raise UnsupportedError(f"the colour space {name} is not known")
    return name


class Preprocessing:
    """The scaling and centring of pictures that a network states for one input.

    Args:
        messages: the NeuralNetworkPreprocessing messages of this input.
        feature: the input's description.
    """

    def __init__(self, messages: list[Any], feature: Any) -> None:
        self.steps: list[tuple[float, np.ndarray]] = []
        if messages and feature.type.WhichOneof("Type") != "imageType":
            raise UnsupportedError(f"the input '{feature.name}' has preprocessing and is no picture")
        for message in messages:
            kind = message.WhichOneof("preprocessor")
            if kind == "scaler":
                self.steps.append(_scaler(message.scaler, feature))
            elif kind == "meanImage":
                self.steps.append(_mean_image(message.meanImage, feature))
            else:
                raise UnsupportedError(f"the preprocessing of '{feature.name}' is not known")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for scale, offset in self.steps:
            x = x * np.float32(scale) + offset
        return x


def _scaler(scaler: Any, feature: Any) -> tuple[float, np.ndarray]:
    if not scaler.channelScale:
        raise UnsupportedError(f"the preprocessing of '{feature.name}' scales by zero")
    space = colour_space(feature.type.imageType)
    if space in GRAYSCALE:
        offsets = [scaler.grayBias]
    else:
        offsets = [getattr(scaler, f"{colour}Bias") for colour in COLOURS[space]]
    return scaler.channelScale, np.array(offsets, dtype=np.float32).reshape(-1, 1, 1)


def _mean_image(mean: Any, feature: Any) -> tuple[float, np.ndarray]:
    image = feature.type.imageType
    channels = 1 if colour_space(image) in GRAYSCALE else 3
    values = np.array(mean.meanImage, dtype=np.float32)
    shape = (channels, int(image.height), int(image.width))
    if values.size != np.prod(shape):
        raise UnsupportedError(f"the mean picture of '{feature.name}' has {values.size} values, not {shape}")
    return 1.0, -values.reshape(shape)


class Inputs:
    """Turns arrays by input name into the network's first tensors."""

    def __init__(self, description: Any, network: Any) -> None:
        self.features = list(description.input)
        self.exact_arrays = array_mapping(network)
        self.exact_images = image_mapping(network)
        names = {feature.name for feature in self.features}
        if lost := sorted({item.featureName for item in network.preprocessing} - names):
            raise UnsupportedError(f"preprocessing is stated for '{lost[0]}', which is no input")
        self.preprocessing = {
            feature.name: Preprocessing(
                [item for item in network.preprocessing if item.featureName == feature.name], feature
            )
            for feature in self.features
        }

    def __call__(self, given: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Raises UsageError for missing arrays, UnsupportedError for shapes that cannot be mapped."""
        if missing := [feature.name for feature in self.features if feature.name not in given]:
            raise UsageError(f"the network lacks its input(s) {', '.join(missing)}")
        return {feature.name: self._tensor(feature, given[feature.name]) for feature in self.features}

    def _tensor(self, feature: Any, given: np.ndarray) -> torch.Tensor:
        array = self.preprocessing[feature.name](np.asarray(given).astype(np.float32))
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            channels = 1 if colour_space(feature.type.imageType) in GRAYSCALE else 3
            if array.ndim != 4 or array.shape[:2] != (1, channels):
                raise UsageError(f"'{feature.name}' takes a picture (1, {channels}, H, W), not {array.shape}")
            array = array if self.exact_images else array[None]
        elif kind == "multiArrayType":
            array = array if self.exact_arrays else _rank5(array, feature.name)
        else:
            raise UnsupportedError(f"the input '{feature.name}' of type {kind} is neither picture nor array")
        tensor = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _rank5(array: np.ndarray, name: str) -> np.ndarray:
    """[C] or [C, H, W] as [Seq, Batch, C, H, W]."""
    if array.ndim == 1:
        return array.reshape(1, 1, -1, 1, 1)
    if array.ndim == 3:
        return array[None, None]
    raise UnsupportedError(f"'{name}' enters as [C] or [C, H, W], not with shape {array.shape}")


class Outputs:
    """Turns the network's tensors into arrays, and for a classifier into labels, by output name."""

    def __init__(self, spec: Any, network: Any) -> None:
        self.description = deepcopy(spec.description)
        self.exact = array_mapping(network) and image_mapping(network)
        self.classifies = spec.WhichOneof("Type") == CLASSIFIER
        self.blobs = [feature.name for feature in self.description.output]
        if self.classifies:
            described = (self.description.predictedFeatureName, self.description.predictedProbabilitiesName)
            self.blobs = [name for name in self.blobs if name not in described]
            self.labels = _labels(network)
            self.probabilities = network.labelProbabilityLayerName or _last_output(network)

    @property
    def needed(self) -> list[str]:
        """The tensors that must be kept until the end."""
        return self.blobs + ([self.probabilities] if self.classifies else [])

    def __call__(self, values: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        if lost := [name for name in self.needed if name not in values]:
            raise UnsupportedError(f"no layer computes '{lost[0]}', which the network gives out")
        found: dict[str, Any] = {}
        for feature in self.description.output:
            if feature.name in self.blobs:
                array = values[feature.name].numpy().copy(order="C")
                found[feature.name] = _described(array, feature, self.exact)
        if self.classifies:
            self._add_labels(found, values[self.probabilities].reshape(-1).tolist())
        return found

    def _add_labels(self, found: dict[str, Any], scores: list[float]) -> None:
        if len(scores) != len(self.labels):
            raise UnsupportedError(f"{len(scores)} probabilities do not fit {len(self.labels)} labels")
        if name := self.description.predictedFeatureName:
            found[name] = self.labels[max(range(len(scores)), key=scores.__getitem__)]
        if name := self.description.predictedProbabilitiesName:
            found[name] = dict(zip(self.labels, scores, strict=True))


def _labels(network: Any) -> list[Any]:
    kind = network.WhichOneof("ClassLabels")
    if kind not in ("stringClassLabels", "int64ClassLabels"):
        raise UnsupportedError("the classifier has no labels")
    return list(getattr(network, kind).vector)


def _last_output(network: Any) -> str:
    if not network.layers or len(network.layers[-1].output) != 1:
        raise UnsupportedError("the classifier does not say which tensor holds the probabilities")
    return str(network.layers[-1].output[0])


def _described(array: np.ndarray, feature: Any, exact: bool) -> np.ndarray:
    """The array in the shape that the description states.

    Raises:
        UnsupportedError: it has another one. With the old mapping to five axes the description must state
            the shape, since it says which axes are left out.
    """
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return _picture(array, feature)
    stated = tuple(int(size) for size in feature.type.multiArrayType.shape)
    flexible = feature.type.multiArrayType.WhichOneof("ShapeFlexibility") is not None
    if exact:
        if stated and not flexible and stated != array.shape:
            raise UnsupportedError(f"'{feature.name}' has shape {array.shape}, the description says {stated}")
        return array
    squeezed = {1: array.shape[2:3], 3: array.shape[2:]}.get(len(stated))
    if array.ndim != 5 or squeezed != stated or array.size != np.prod(stated):
        raise UnsupportedError(
            f"'{feature.name}' has shape {array.shape}, the description says {stated}",
            "convert the network again, for iOS 13 or later",
        )
    return array.reshape(stated)


def _picture(array: np.ndarray, feature: Any) -> np.ndarray:
    image = feature.type.imageType
    channels = 1 if colour_space(image) in GRAYSCALE else 3
    if array.ndim < 4 or array.shape[-3] != channels or array.size != np.prod(array.shape[-3:]):
        raise UnsupportedError(
            f"'{feature.name}' has shape {array.shape}, which is no {colour_space(image)} picture"
        )
    stated = (int(image.height), int(image.width))
    flexible = image.WhichOneof("SizeFlexibility") is not None
    if all(stated) and not flexible and stated != array.shape[-2:]:
        raise UnsupportedError(f"'{feature.name}' has shape {array.shape}, the description says {stated}")
    return array.reshape(1, *array.shape[-3:])
