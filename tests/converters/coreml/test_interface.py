"""Structure of the saved files: coremltools loads them, and they say what the sidecar says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper

from toolchain.converters.coreml.convert import CoreMLModel, convert
from toolchain.converters.coreml.quiet import import_coremltools
from toolchain.converters.graph import clean
from toolchain.errors import UnsupportedError
from toolchain.export import clean_graph
from toolchain.head import with_head
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.source import Source, resolve
from toolchain.spec import CLASSIFICATION, ModelSpec, TensorSpec
from toolchain.targets import METADATA_NAME, contract

SUFFIXES = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}
KINDS = tuple(SUFFIXES)
# Zoo network -> (input shape or None, head); small pictures where the network takes any size.
NETWORKS: dict[str, tuple[tuple[int, ...] | None, str | None]] = {
    "mobile-hourglass": ((1, 3, 32, 32), None),
    "mobile-hourglass-still-f16-t3": ((1, 3, 16, 32), "argmax"),
    "mobilenetv2-0.35-96": (None, None),
    "lenet": (None, "softmax"),
}
ARRAY_TYPES = {"float32": "FLOAT32", "int32": "INT32"}


@dataclass(frozen=True)
class Case:
    """A network of the zoo and what it was converted to."""

    source: Source
    kind: str
    made: CoreMLModel


@pytest.fixture(scope="module")
def graphs() -> dict[str, tuple[Source, ir.Model]]:
    """Networks that have been exported, by name: torch.onnx takes longest."""
    return {}


@pytest.fixture(scope="module", params=[(name, kind) for name in NETWORKS for kind in KINDS], ids="-".join)
def case(request: pytest.FixtureRequest, graphs: dict[str, tuple[Source, ir.Model]]) -> Case:
    """A zoo network with the contract of its sidecar inside, as `toolchain export` writes it."""
    name, kind = request.param
    if name not in graphs:
        torch.manual_seed(0)
        shape, head = NETWORKS[name]
        found = with_head(resolve(name, input_shape=shape), head)
        graphs[name] = found, clean_graph(found)
    source, graph = graphs[name]

    def texts(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> dict[str, str]:
        return {METADATA_NAME: json.dumps(contract(source.spec, inputs, outputs))}

    return Case(source, kind, convert(graph.clone(), "fp32", kind, spec=source.spec, metadata=texts))


def loaded(made: CoreMLModel, kind: str, folder: Path) -> tuple[Any, Path]:
    """The saved file as coremltools loads it."""
    path = folder / f"model{SUFFIXES[kind]}"
    made.model.save(str(path))
    return import_coremltools().models.MLModel(str(path), skip_model_load=True), path


def arrays(features: Any) -> Iterator[Any]:
    """Features that are tensors, not the label or dictionary of a classifier."""
    return (f for f in features if f.type.WhichOneof("Type") in ("multiArrayType", "imageType"))


def check_tensor(feature: Any, tensor: dict[str, Any]) -> None:
    """A feature of the file is what the sidecar says of it."""
    assert feature.name == tensor["name"]
    if tensor["image"]:
        image = feature.type.imageType
        assert image.ColorSpace.Name(image.colorSpace) == tensor["image"] == "RGB"
        assert (1, image.height, image.width, 3) == tuple(tensor["shape"])
        assert (tensor["dtype"], tensor["layout"]) == ("uint8", "NHWC")
        return
    array = feature.type.multiArrayType
    assert tuple(array.shape) == tuple(tensor["shape"])
    assert array.ArrayDataType.Name(array.dataType) == ARRAY_TYPES[tensor["dtype"]]
    assert len(tensor["layout"]) in (0, len(tensor["shape"]))


def test_saved_zoo_networks_are_as_their_sidecars_say(case: Case, tmp_path: Path) -> None:
    source, made = case.source, case.made
    model, path = loaded(made, case.kind, tmp_path)
    description = model.get_spec().description
    said = json.loads(model.user_defined_metadata[METADATA_NAME])
    for features, tensors, own in (
        (description.input, said["inputs"], source.spec.inputs),
        (description.output, said["outputs"], source.spec.outputs),
    ):
        found = list(arrays(features))
        assert len(found) == len(tensors) == len(own)
        for feature, tensor, known in zip(found, tensors, own, strict=True):
            check_tensor(feature, tensor)
            assert feature.name == known.name
            assert feature.shortDescription
            if not tensor["image"]:
                assert tuple(tensor["shape"]) == known.shape
                assert tensor["layout"] == known.layout
    assert said["labels"] == list(source.spec.labels)
    assert model.version == metadata.version("mobile-toolchain")
    assert model.author
    assert model.license
    assert source.spec.description in model.short_description
    # The runtime finds the same tensors in the file.
    with CoreMLRuntime(path) as runtime:
        assert [(t.name, t.shape, t.dtype, t.image) for t in runtime.inputs] == [
            (t.name, t.shape, t.dtype, t.image) for t in made.inputs
        ]
        shapes = {t.name: (t.shape, t.dtype) for t in runtime.outputs}
        assert all(shapes[t.name] == (t.shape, t.dtype) for t in made.outputs)


def test_segmentation_networks_have_a_preview(case: Case) -> None:
    texts, spec = case.made.model.user_defined_metadata, case.source.spec
    if spec.task != "segmentation":
        assert "com.apple.coreml.model.preview.type" not in texts
        return
    assert texts["com.apple.coreml.model.preview.type"] == "imageSegmenter"
    shown = json.loads(texts["com.apple.coreml.model.preview.params"])
    assert shown["labels"] == list(spec.labels)
    assert shown["colors"][1] == "#7878ff"
    assert len(shown["colors"]) == len(shown["labels"])


def test_operators_are_counted_without_constants(case: Case) -> None:
    ops = case.made.ops
    assert ops["conv" if case.kind == "mlprogram" else "convolution"] >= 2
    assert "const" not in ops
    assert list(ops.values()) == sorted(ops.values(), reverse=True)


def test_texts_of_a_face_parser(case: Case) -> None:
    if case.source.spec.name != "mobile-hourglass":
        assert "previous" not in [tensor.name for tensor in case.made.inputs]
        return
    model = case.made.model
    picture = model.input_description["image"]
    assert "32 x 32 pixels" in picture
    assert "1.56 times the detected box's side, its centre 0.08 of that side further up" in picture
    assert model.input_description["previous"] == (
        "Class probabilities of the previous frame, NCHW float32 (1, 10, 32, 32), zeros on the first frame,"
        " channels in the order of the labels"
    )
    assert model.output_description["logits"].startswith("Class scores of every pixel before a softmax")
    assert json.loads(model.user_defined_metadata["classes"])[1] == "skin"


LABELS = ("cat", "dog", "eel")


def classifier(outputs: list[str], batch: int = 1) -> ir.Model:
    """(batch, 3, 4, 4) -> probabilities of three classes, and the pooled features if asked for."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Softmax", ["features"], ["probabilities"], axis=1),
    ]
    made = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [batch, 3, 4, 4])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, 3]) for name in outputs],
    )
    graph = ir.serde.deserialize_model(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    )
    clean(graph)
    return graph


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_file_tells_the_time(kind: str) -> None:
    spec = classifier_spec(["probabilities"])
    first, second = (
        convert(classifier(["probabilities"]), "fp32", kind, spec=spec).model.get_spec() for _ in range(2)
    )
    assert "com.github.apple.coremltools.conversion_date" not in first.description.metadata.userDefined
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def classifier_spec(outputs: list[str], labels: tuple[str, ...] = LABELS, batch: int = 1) -> ModelSpec:
    return ModelSpec(
        "classifier",
        CLASSIFICATION,
        (TensorSpec("image", (batch, 3, 4, 4), layout="NCHW"),),
        tuple(TensorSpec(name, (batch, 3), layout="NC") for name in outputs),
        labels=labels,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("outputs", [["probabilities"], ["probabilities", "features"]], ids=len)
def test_probabilities_with_labels_make_a_classifier(
    outputs: list[str], precision: str, kind: str, tmp_path: Path
) -> None:
    made = convert(classifier(outputs), precision, kind, spec=classifier_spec(outputs))
    model, path = loaded(made, kind, tmp_path)
    spec = model.get_spec()
    assert spec.description.predictedFeatureName == "classLabel"
    assert spec.description.predictedProbabilitiesName == "classLabel_probs"
    kinds = {feature.name: feature.type.WhichOneof("Type") for feature in spec.description.output}
    assert kinds.pop("classLabel") == "stringType"
    assert kinds.pop("classLabel_probs") == "dictionaryType"
    assert kinds == dict.fromkeys(outputs, "multiArrayType")
    assert [tensor.name for tensor in made.outputs] == outputs
    assert all(tensor.shape == (1, 3) for tensor in made.outputs)
    if kind == "neuralnetwork":
        network = spec.neuralNetworkClassifier
        assert network.labelProbabilityLayerName == "probabilities"
        assert tuple(network.stringClassLabels.vector) == LABELS
    else:
        assert made.ops["classify"] == 1
    picture = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)
    picture[:, 1] += 3
    scores = picture.mean((2, 3))
    expected = np.exp(scores) / np.exp(scores).sum()
    with CoreMLRuntime(path) as runtime:
        result = runtime.run({"image": picture})
    assert str(result["classLabel"]) == "dog"
    for name in ("probabilities", "classLabel_probs"):
        np.testing.assert_allclose(result[name].reshape(1, 3), expected, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_other_names_and_tasks_make_no_classifier(kind: str, tmp_path: Path) -> None:
    spec = classifier_spec(["features"])
    made = convert(classifier(["features"]), "fp32", kind, spec=spec)
    model, _ = loaded(made, kind, tmp_path)
    assert not model.get_spec().description.predictedFeatureName
    assert json.loads(model.user_defined_metadata["classes"]) == list(LABELS)
    generic = replace(classifier_spec(["probabilities"]), task="generic")
    model, _ = loaded(convert(classifier(["probabilities"]), "fp32", kind, spec=generic), kind, tmp_path)
    assert not model.get_spec().description.predictedFeatureName


@pytest.mark.parametrize(
    ("labels", "batch", "reason"),
    [
        (("cat", "dog"), 1, "2 labels do not fit probabilities of the shape 1x3"),
        (("cat", "dog", "cat"), 1, "label 'cat' stands for 2 classes"),
        (LABELS, 2, "3 labels do not fit probabilities of the shape 2x3"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_do_not_fit_are_refused(
    kind: str, labels: tuple[str, ...], batch: int, reason: str
) -> None:
    spec = classifier_spec(["probabilities"], labels, batch)
    with pytest.raises(UnsupportedError, match=reason) as caught:
        convert(classifier(["probabilities"], batch), "fp32", kind, spec=spec)
    assert caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_no_identifiers(
    kind: str,
    make_model: Callable[..., onnx.ModelProto],
    to_coreml: Callable[..., CoreMLModel],
    tmp_path: Path,
) -> None:
    nodes = [helper.make_node("Relu", ["in.1"], ["9 out"]), helper.make_node("Neg", ["in.1"], ["b"])]
    model = make_model(nodes, {"in.1": np.zeros((2, 3), np.float32)}, ("9 out", "b"))
    made = to_coreml(model, kind=kind)
    assert [tensor.name for tensor in made.inputs] == ["in_1"]
    assert [tensor.name for tensor in made.outputs] == ["var_9_out", "b"]
    assert [tensor.shape for tensor in made.outputs] == [(2, 3), (2, 3)]
    with CoreMLRuntime(loaded(made, kind, tmp_path)[1]) as runtime:
        array = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
        result = runtime.run({"in_1": array})
    assert np.array_equal(result["var_9_out"], np.maximum(array, 0))
    assert np.array_equal(result["b"], -array)
