"""What an app sees of a Core ML file: types of inputs and outputs, labels, texts, and what Xcode previews."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from toolchain.converters.coreml.mil import Program
from toolchain.converters.coreml.quiet import import_coremltools
from toolchain.converters.coreml.weights import REPORTED, WeightReport
from toolchain.errors import UnsupportedError
from toolchain.spec import (
    CLASSIFICATION,
    PROBABILITIES,
    SEGMENTATION,
    ModelSpec,
    Preprocess,
    TensorSpec,
    shape_text,
)

ARRAY_TYPES = {65568: "float32", 131104: "int32", 65600: "float64", 65552: "float16"}
AUTHOR = "mobile-toolchain"
NO_TERMS = "Not stated here: the terms of the network and of the data that it was trained on apply."
CLASS_LABEL = "classLabel"
CLASS_PROBABILITIES = "classLabel_probs"
# The keys by which Xcode finds out how to preview a model, and the name of coremltools' time stamp.
PREVIEW_TYPE = "com.apple.coreml.model.preview.type"
PREVIEW_PARAMETERS = "com.apple.coreml.model.preview.params"
TIME_STAMP = "com.github.apple.coremltools.conversion_date"
WEIGHTS = "TOOLCHAIN_WEIGHTS"
LABELS = "classes"


def image_types(program: Program, picture: bool) -> list[Any]:
    """Types for coremltools of the program's inputs; the first is an RGB image if `picture`."""
    coremltools = import_coremltools()
    made = []
    for index, (name, var) in enumerate(program.functions["main"].inputs.items()):
        if index == 0 and picture:
            made.append(
                coremltools.ImageType(name=name, shape=var.shape, color_layout=coremltools.colorlayout.RGB)
            )
        else:
            dtype = np.int32 if "int" in str(var.dtype) else np.float32
            made.append(coremltools.TensorType(name=name, shape=var.shape, dtype=dtype))
    return made


def is_classifier(spec: ModelSpec) -> bool:
    """Whether the file becomes a classifier of Core ML: it has labels, and probabilities for them."""
    return (
        spec.task == CLASSIFICATION
        and bool(spec.labels)
        and bool(spec.outputs)
        and spec.outputs[0].name == PROBABILITIES
    )


def classifier_config(spec: ModelSpec) -> Any:
    """What coremltools needs to make a classifier, None when the file is none.

    Raises:
        UnsupportedError: the labels do not fit the probabilities, or one of them occurs twice.
    """
    if not is_classifier(spec):
        return None
    shape = spec.outputs[0].shape
    if int(np.prod(shape)) != len(spec.labels):
        raise UnsupportedError(
            f"{len(spec.labels)} labels do not fit probabilities of the shape {shape_text(shape)}",
            "a classifier of Core ML takes one sample at a time and has one label per class",
        )
    [(label, count)] = Counter(spec.labels).most_common(1)
    if count > 1:
        raise UnsupportedError(
            f"label '{label}' stands for {count} classes, whose probabilities Core ML would merge",
            "give every class a label of its own",
        )
    return import_coremltools().ClassifierConfig(
        list(spec.labels),
        predicted_feature_name=CLASS_LABEL,
        predicted_probabilities_output=PROBABILITIES,
    )


def completed(model: Any, spec: ModelSpec, shapes: Sequence[tuple[int, ...]]) -> Any:
    """The model with the parts of its interface that coremltools leaves out.

    Neural networks get the shapes of their outputs, and classifiers keep the array of their probabilities
    beside the dictionary of them.

    Args:
        model: coremltools' MLModel.
        spec: the network's contract.
        shapes: of the outputs of the graph, in order.
    """
    proto = model.get_spec()
    if proto.WhichOneof("Type") == "mlProgram":
        if not is_classifier(spec):
            return model
        _keep_probabilities(proto, shapes[0])
        return import_coremltools().models.MLModel(proto, weights_dir=model.weights_dir, skip_model_load=True)
    for feature, shape in zip(proto.description.output, shapes, strict=True):
        array = feature.type.multiArrayType
        if not array.shape:
            array.shape.extend(shape or (1,))
    if is_classifier(spec):
        _make_classifier(proto, spec.labels)
    return import_coremltools().models.MLModel(proto, skip_model_load=True)


def _keep_probabilities(proto: Any, shape: tuple[int, ...]) -> None:
    """Make the array that the dictionary is made of an output of the program again, before all others."""
    [function] = proto.mlProgram.functions.values()
    [block] = function.block_specializations.values()
    others = [name for name in block.outputs if name not in (CLASS_LABEL, CLASS_PROBABILITIES)]
    del block.outputs[:]
    block.outputs.extend([CLASS_LABEL, CLASS_PROBABILITIES, PROBABILITIES, *others])
    features = {feature.name: feature for feature in proto.description.output}
    array = type(proto.description.output[0])(name=PROBABILITIES)
    array.type.multiArrayType.dataType = array.type.multiArrayType.FLOAT32
    array.type.multiArrayType.shape.extend(shape)
    features[PROBABILITIES] = array
    ordered = [features[name] for name in block.outputs]
    del proto.description.output[:]
    proto.description.output.extend(ordered)


def _make_classifier(proto: Any, labels: Sequence[str]) -> None:
    """neuralNetwork -> neuralNetworkClassifier; coremltools' own function would lose the array output."""
    network = type(proto.neuralNetwork)()
    network.CopyFrom(proto.neuralNetwork)
    classifier = proto.neuralNetworkClassifier
    classifier.layers.extend(network.layers)
    classifier.preprocessing.extend(network.preprocessing)
    classifier.arrayInputShapeMapping = network.arrayInputShapeMapping
    classifier.imageInputShapeMapping = network.imageInputShapeMapping
    classifier.stringClassLabels.vector.extend(labels)
    classifier.labelProbabilityLayerName = PROBABILITIES
    arrays = list(proto.description.output)
    label = type(arrays[0])(name=CLASS_LABEL)
    label.type.stringType.SetInParent()
    dictionary = type(arrays[0])(name=CLASS_PROBABILITIES)
    dictionary.type.dictionaryType.stringKeyType.SetInParent()
    del proto.description.output[:]
    proto.description.output.extend([label, dictionary, *arrays])
    proto.description.predictedFeatureName = CLASS_LABEL
    proto.description.predictedProbabilitiesName = CLASS_PROBABILITIES


def describe(model: Any, spec: ModelSpec, report: WeightReport) -> None:
    """Fill in the texts of a model, per-feature descriptions and metadata.

    Metadata are the preview of segmentation networks (type, labels and colours as Xcode reads them), the
    class names, and what became of the weights in a compressed precision. coremltools' time stamp is removed,
    so that the same network gives the same file.
    """
    model.author = AUTHOR
    model.license = spec.terms or NO_TERMS
    model.version = metadata.version(AUTHOR)
    model.short_description = ". ".join(text for text in (spec.description or spec.name, spec.source) if text)
    features = model.get_spec().description
    for index, feature in enumerate(features.input):
        model.input_description[feature.name] = _input_text(feature, index, spec)
    arrays = 0
    for feature in features.output:
        model.output_description[feature.name] = _output_text(feature, arrays, spec)
        arrays += feature.type.WhichOneof("Type") == "multiArrayType"
    texts = model.user_defined_metadata
    if TIME_STAMP in texts:
        del texts[TIME_STAMP]
    for key, text in _texts(spec, report):
        texts[key] = text


def _texts(spec: ModelSpec, report: WeightReport) -> Iterator[tuple[str, str]]:
    if spec.labels:
        yield LABELS, json.dumps(list(spec.labels), ensure_ascii=False)
    if spec.task == SEGMENTATION and spec.labels:
        parameters: dict[str, list[str]] = {"labels": list(spec.labels)}
        if len(spec.palette) == len(spec.labels):
            parameters["colors"] = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in spec.palette]
        yield PREVIEW_TYPE, "imageSegmenter"
        yield PREVIEW_PARAMETERS, json.dumps(parameters, ensure_ascii=False)
    if report.precision in REPORTED:
        yield WEIGHTS, report.as_text()


def _input_text(feature: Any, index: int, spec: ModelSpec) -> str:
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        assert spec.preprocess is not None
        size = f"RGB picture, {image.width} x {image.height} pixels, normalized by the network"
        return f"{size}; {_crop_text(spec.preprocess)}"
    text = _array_text(feature)
    if index > 0 and is_previous(spec, index):
        return f"Class probabilities of the previous frame, {text}, zeros on the first frame, {CHANNELS}"
    if index == 0 and spec.preprocess is not None:
        mean, std = (
            ", ".join(f"{v:g}" for v in values) for values in (spec.preprocess.mean, spec.preprocess.std)
        )
        return f"RGB picture in 0-255 after (x - mean) / std with mean {mean} and std {std}, {text}"
    return text[0].upper() + text[1:]


def is_previous(spec: ModelSpec, index: int) -> bool:
    """Whether an input is the mask that a video parser made of the frame before."""
    return (
        spec.task == SEGMENTATION
        and len(spec.inputs) == 2
        and index == 1
        and bool(spec.labels)
        and len(spec.inputs[1].shape) == 4
        and spec.inputs[1].shape[1] == len(spec.labels)
    )


CHANNELS = "channels in the order of the labels"


def _crop_text(preprocess: Preprocess) -> str:
    scaled = f"scaled with {preprocess.resize} interpolation"
    if preprocess.margin == 1 and preprocess.shift == 0:
        return f"the whole picture, {scaled}"
    way = "down" if preprocess.shift > 0 else "up"
    moved = f", its centre {abs(preprocess.shift):g} of that side further {way}" if preprocess.shift else ""
    return f"a square of {preprocess.margin:g} times the detected box's side{moved}, {scaled}"


def _output_text(feature: Any, index: int, spec: ModelSpec) -> str:
    kind = feature.type.WhichOneof("Type")
    if kind == "stringType":
        return "The most probable class"
    if kind == "dictionaryType":
        return "Probability of every class"
    text = _array_text(feature)
    meaning = _meaning(index, spec)
    return f"{meaning}, {text}" if meaning else text[0].upper() + text[1:]


def _meaning(index: int, spec: ModelSpec) -> str:
    """What an output says, "" when its contract does not tell."""
    if index > 0 or spec.task not in (SEGMENTATION, CLASSIFICATION) or not spec.outputs:
        return ""
    where = "of every pixel" if spec.task == SEGMENTATION else "of the picture"
    output = spec.outputs[0]
    if "int" in output.dtype:
        return f"Class {where}, counted from 0 in the order of the labels"
    order = f"; {CHANNELS}" if spec.labels else ""
    if output.name == PROBABILITIES:
        return f"Class probabilities {where} (softmax){order}"
    return f"Class scores {where} before a softmax{order}"


def _array_text(feature: Any) -> str:
    """Layout, element type and shape: NCHW float32 (1, 10, 256, 256)."""
    array = feature.type.multiArrayType
    shape = tuple(int(size) for size in array.shape)
    layout = "NCHW " if len(shape) == 4 else ""
    return f"{layout}{ARRAY_TYPES[array.dataType]} {shape}"


def read_interface(
    proto: Any, spec: ModelSpec
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[str, int]]:
    """Inputs, outputs and operator counts as the written specification has them.

    Args:
        proto: message Model of the file.
        spec: the network's contract, whose layouts the tensors keep.

    Returns:
        (inputs, outputs, operator or layer name to count); both in the order of the ONNX graph. An image is
        (1, H, W, 3) uint8 with the channels last, as apps hand it over. The label and the dictionary of a
        classifier are no tensors and are left out.
    """
    return (
        _tensors(proto.description.input, spec.inputs),
        _tensors(proto.description.output, spec.outputs),
        _histogram(proto),
    )


def _tensors(features: Any, known: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    tensors = [f for f in features if f.type.WhichOneof("Type") in ("imageType", "multiArrayType")]
    # coremltools may rename a tensor whose name is no identifier; the order stays.
    same = len(tensors) == len(known)
    return tuple(
        _tensor(feature, known[index].layout if same else "") for index, feature in enumerate(tensors)
    )


def _tensor(feature: Any, layout: str) -> TensorSpec:
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        pixels = (1, int(image.height), int(image.width), 3)
        return TensorSpec(feature.name, pixels, "uint8", "NHWC", image="RGB")
    array = feature.type.multiArrayType
    shape = tuple(int(size) for size in array.shape)
    layout = layout if len(layout) == len(shape) else ""
    return TensorSpec(
        feature.name, shape, ARRAY_TYPES[array.dataType], layout or ("NCHW" if len(shape) == 4 else "")
    )


def _histogram(proto: Any) -> dict[str, int]:
    """Operator or layer name to count, the most frequent first."""
    if proto.WhichOneof("Type") == "mlProgram":
        [function] = proto.mlProgram.functions.values()
        [block] = function.block_specializations.values()
        names = [operation.type for operation in block.operations if operation.type != "const"]
    else:
        names = [layer.WhichOneof("layer") for layer in getattr(proto, proto.WhichOneof("Type")).layers]
    return dict(Counter(names).most_common())
