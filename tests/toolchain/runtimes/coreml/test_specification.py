"""Specifications that contradict themselves, or are of another kind: one clear error each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.errors import ToolchainError, UnsupportedError
from toolchain.inspection import inspect_file
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.runtimes.coreml_file import NEWEST_SPECIFICATION
from toolchain.runtimes.coreml_proto import coreml_proto

SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
FEEDS = {"x": np.linspace(-1, 1, 75, dtype=np.float32).reshape(1, 3, 5, 5)}


def edited(path: Path, change: Callable[[Any], Any]) -> Path:
    """Changes the specification of a package or file in place."""
    source = path / SPECIFICATION if path.is_dir() else path
    spec = coreml_proto("Model").Model.FromString(source.read_bytes())
    change(spec)
    source.write_bytes(spec.SerializeToString())
    return path


def block(spec: Any) -> Any:
    """The only block of a program."""
    (found,) = spec.mlProgram.functions["main"].block_specializations.values()
    return found


def operation(spec: Any, kind: str) -> Any:
    """The only operation of a type."""
    (found,) = (item for item in block(spec).operations if item.type == kind)
    return found


# The specification.


def _value(spec: Any) -> Any:
    """The constant that is the convolution's weight."""
    name = operation(spec, "conv").inputs["weight"].arguments[0].name
    (found,) = (item for item in block(spec).operations if item.outputs[0].name == name)
    return found.attributes["val"]


def _dimension(index: int, size: int) -> Callable[[Any], Any]:
    def change(spec: Any) -> None:
        _value(spec).type.tensorType.dimensions[index].constant.size = size

    return change


def _blob(**fields: Any) -> Callable[[Any], Any]:
    def change(spec: Any) -> None:
        for name, value in fields.items():
            setattr(_value(spec).blobFileValue, name, value)

    return change


def _renamed_main(spec: Any, *names: str) -> None:
    functions = spec.mlProgram.functions
    for name in names:
        functions[name].CopyFrom(functions["main"])
    del functions["main"]


def _read(name: str) -> Callable[[Any], Any]:
    def change(spec: Any) -> None:
        operation(spec, "relu").inputs["x"].arguments[0].name = name

    return change


def _feature(part: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda spec: change(getattr(spec.description, part)[0])


def _state(spec: Any) -> None:
    state = spec.description.state.add(name="cache")
    state.type.stateType.arrayType.shape.append(3)


def _state_input(spec: Any) -> None:
    spec.mlProgram.functions["main"].inputs[0].type.stateType.wrappedType.tensorType.rank = 0


def _flexible(kind: Any, shape: list[int]) -> None:
    kind.enumeratedShapes.shapes.add().shape.extend(shape)


PROGRAMS = {
    "no-function": (lambda s: s.mlProgram.functions.clear(), "none at all"),
    "two-functions": (lambda s: _renamed_main(s, "a", "b"), "no function 'main'"),
    "no-block": (lambda s: s.mlProgram.functions["main"].block_specializations.clear(), "operator set"),
    "other-opset": (lambda s: setattr(s.mlProgram.functions["main"], "opset", "CoreML99"), "CoreML99"),
    "no-operations": (lambda s: block(s).ClearField("operations"), "never computed"),
    "no-outputs": (lambda s: block(s).ClearField("outputs"), "does not compute 'y'"),
    "other-output": (lambda s: block(s).outputs.__setitem__(0, "nothing"), "'nothing'"),
    "empty-message": (lambda s: s.mlProgram.Clear() or s.mlProgram.SetInParent(), "none at all"),
    "reads-nothing": (_read("nowhere"), "never computed"),
    "reads-later": (_read("y"), "only later"),
    "reads-itself": (lambda s: _read(operation(s, "relu").outputs[0].name)(s), "only later"),
    "computed-twice": (
        lambda s: setattr(operation(s, "softmax").outputs[0], "name", operation(s, "conv").outputs[0].name),
        "second time",
    ),
    "computes-the-input": (lambda s: setattr(operation(s, "relu").outputs[0], "name", "x"), "second time"),
    "no-op-output": (lambda s: operation(s, "relu").ClearField("outputs"), "no output"),
    "no-op-input": (lambda s: operation(s, "relu").inputs.clear(), "lacks the parameter 'x'"),
    "empty-argument": (lambda s: operation(s, "relu").inputs["x"].ClearField("arguments"), "'x' is empty"),
    "parameter": (
        lambda s: operation(s, "relu").inputs["new"].CopyFrom(operation(s, "relu").inputs["x"]),
        "new",
    ),
    "no-type": (lambda s: setattr(operation(s, "relu"), "type", ""), "does not know"),
    "const-without-value": (
        lambda s: [i.attributes.clear() for i in block(s).operations if i.type == "const"],
        "without a value",
    ),
    "negative-size": (_dimension(0, (1 << 64) - 4), "elements"),
    "huge-size": (_dimension(0, 1 << 60), "elements"),
    "zero-size": (_dimension(0, 0), "elements"),
    "no-sizes": (lambda s: _value(s).type.tensorType.ClearField("dimensions"), "axes"),
    "unknown-sizes": (
        lambda s: [d.unknown.SetInParent() for d in _value(s).type.tensorType.dimensions],
        "constant",
    ),
    "unknown-type": (lambda s: setattr(_value(s).type.tensorType, "dataType", 4711), "4711"),
    "string-type": (lambda s: setattr(_value(s).type.tensorType, "dataType", 2), "strings"),
    "no-value-type": (lambda s: _value(s).ClearField("type"), "constant"),
    "list-value-type": (lambda s: _value(s).type.listType.SetInParent(), "constant"),
    "no-value": (lambda s: _value(s).ClearField("value"), "constant"),
    "offset": (_blob(offset=1 << 50), "outside of the file"),
    "offset-inside": (_blob(offset=128), "mark of an entry"),
    "offset-crooked": (_blob(offset=65), "outside of the file"),
    "file": (_blob(fileName="@model_path/weights/other.bin"), "other.bin"),
    "file-parent": (_blob(fileName="@model_path/../../../x.bin"), "outside of the package"),
    "file-null": (_blob(fileName="@model_path/a\0b"), "outside of the package"),
    "file-absolute": (_blob(fileName="/etc/hostname"), "not there"),
    "file-none": (_blob(fileName=""), "not there"),
    "state": (_state, "state 'cache'"),
    "state-input": (_state_input, "state"),
    "input-renamed": (_feature("input", lambda f: setattr(f, "name", "z")), "its description says ['z']"),
    "input-without-name": (_feature("input", lambda f: setattr(f, "name", "")), "name of their own"),
    "input-twice": (
        lambda s: s.description.input.add().CopyFrom(s.description.input[0]),
        "name of their own",
    ),
    "input-missing": (lambda s: s.description.ClearField("input"), "its description says []"),
    "input-shape": (
        _feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, 4)),
        "its description says (1, 4, 5, 5)",
    ),
    "input-negative": (_feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, -3)), "shape"),
    "input-zero": (_feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, 0)), "shape"),
    "input-huge": (_feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, 1 << 50)), "shape"),
    "input-integers": (
        _feature("input", lambda f: setattr(f.type.multiArrayType, "dataType", 131104)),
        "integers",
    ),
    "input-unknown-type": (
        _feature("input", lambda f: setattr(f.type.multiArrayType, "dataType", 4711)),
        "element type 4711",
    ),
    "input-invalid-type": (
        _feature("input", lambda f: setattr(f.type.multiArrayType, "dataType", 0)),
        "INVALID_ARRAY_DATA_TYPE",
    ),
    "input-image-of-no-colour": (_feature("input", lambda f: f.type.imageType.SetInParent()), "colour space"),
    "input-image-of-other-colour": (
        _feature("input", lambda f: setattr(f.type.imageType, "colorSpace", 4711)),
        "colour space 4711",
    ),
    "input-sequence": (_feature("input", lambda f: f.type.sequenceType.SetInParent()), "sequenceType"),
    "input-string": (_feature("input", lambda f: f.type.stringType.SetInParent()), "stringType"),
    "input-nothing": (_feature("input", lambda f: f.ClearField("type")), "input 'x'"),
    "shapes-of-other-rank": (
        _feature("input", lambda f: _flexible(f.type.multiArrayType, [1, 2])),
        "different rank",
    ),
    "output-missing": (lambda s: s.description.ClearField("output"), "no outputs"),
    "output-renamed": (_feature("output", lambda f: setattr(f, "name", "z")), "'z'"),
    "output-sequence": (_feature("output", lambda f: f.type.sequenceType.SetInParent()), "sequenceType"),
    "output-integers": (
        _feature("output", lambda f: setattr(f.type.multiArrayType, "dataType", 131104)),
        "integers",
    ),
    "output-shape": (
        _feature("output", lambda f: f.type.multiArrayType.shape.extend([9])),
        "its description says",
    ),
    "newer": (lambda s: setattr(s, "specificationVersion", NEWEST_SPECIFICATION + 1), "version 11"),
    "no-version": (lambda s: setattr(s, "specificationVersion", 0), "no Core ML model"),
    "functions-without-default": (lambda s: s.description.functions.add(name="a"), "default"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_that_contradicts_itself(case, package, refused, check):
    change, message = PROGRAMS[case]
    refused(edited(package, change), message)
    try:
        inspect_file(package)
    except ToolchainError as error:
        check(error)


def _layer(index: int, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda spec: change(spec.neuralNetwork.layers[index])


def _padding(layer: Any) -> None:
    for edge in layer.convolution.valid.paddingAmounts.borderAmounts:
        edge.startEdgeSize = 1 << 20


NETWORKS = {
    "no-layers": (lambda s: s.neuralNetwork.ClearField("layers"), "no layer computes 'y'"),
    "reads-nothing": (_layer(1, lambda n: n.input.__setitem__(0, "nowhere")), "'nowhere'"),
    "reads-later": (_layer(1, lambda n: n.input.__setitem__(0, "y")), "'y' has not been computed"),
    "output-renamed": (_feature("output", lambda f: setattr(f, "name", "z")), "'z'"),
    "negative-size": (
        _layer(0, lambda n: setattr(n.convolution, "outputChannels", (1 << 64) - 4)),
        "108 weights",
    ),
    "huge-size": (_layer(0, lambda n: setattr(n.convolution, "outputChannels", 1 << 60)), "108 weights"),
    "zero-size": (_layer(0, lambda n: setattr(n.convolution, "outputChannels", 0)), "108 weights"),
    "weights-missing": (_layer(0, lambda n: n.convolution.ClearField("weights")), "needs weights"),
    "weights-cut": (_layer(0, lambda n: n.convolution.weights.floatValue.pop()), "107 weights"),
    "weights-twice": (_layer(0, lambda n: setattr(n.convolution.weights, "float16Value", b"12")), "one form"),
    "padding": (_layer(0, _padding), "impossibly large"),
    "unknown-mode": (_layer(0, lambda n: setattr(n.convolution.same, "asymmetryMode", 9)), "9"),
    "no-input": (_layer(1, lambda n: n.ClearField("input")), "activation"),
    "mapping": (lambda s: setattr(s.neuralNetwork, "arrayInputShapeMapping", 7), "arrayInputShapeMapping 7"),
    "classifier-without-labels": (
        lambda s: s.neuralNetworkClassifier.layers.extend(s.neuralNetwork.layers),
        "no labels",
    ),
    "input-huge": (_feature("input", lambda f: f.type.multiArrayType.shape.__setitem__(1, 1 << 50)), "shape"),
    "output-missing": (lambda s: s.description.ClearField("output"), "no outputs"),
    "state": (_state, "state 'cache'"),
    "newer": (lambda s: setattr(s, "specificationVersion", 99), "version 99"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_network_that_contradicts_itself(case, model, check):
    change, message = NETWORKS[case]
    edited(model, change)
    with pytest.raises(UnsupportedError) as caught, CoreMLRuntime(model) as runtime:
        runtime.run(FEEDS)
    check(caught.value)
    assert message in caught.value.message
    assert model.name in caught.value.message


def test_a_stated_shape_that_is_not_computed_is_refused(package, check):
    def change(spec: Any) -> None:
        operation(spec, "relu").outputs[0].type.tensorType.dimensions[1].constant.size = 7

    edited(package, change)
    match = r"relu .* computes the shape"
    with CoreMLRuntime(package) as runtime, pytest.raises(UnsupportedError, match=match) as caught:
        runtime.run(FEEDS)
    check(caught.value)


def test_a_loop_without_an_end_is_refused(monkeypatch, model, check):
    def change(spec: Any) -> None:
        layer = spec.neuralNetwork.layers.add(name="endless", output=["y2"])
        layer.loop.maxLoopIterations = (1 << 64) - 1
        layer.loop.bodyNetwork.layers.add(name="copy", input=["x"], output=["y2"]).copy.SetInParent()

    monkeypatch.setattr("toolchain.runtimes.neuralnetwork.execute.MOST_PASSES", 50)
    edited(model, change)
    match = "goes on after 50 passes"
    with CoreMLRuntime(model) as runtime, pytest.raises(UnsupportedError, match=match) as caught:
        runtime.run(FEEDS)
    check(caught.value)


KINDS = [
    "pipeline",
    "pipelineClassifier",
    "treeEnsembleClassifier",
    "treeEnsembleRegressor",
    "glmRegressor",
    "supportVectorClassifier",
    "nonMaximumSuppression",
    "visionFeaturePrint",
    "wordTagger",
    "customModel",
    "linkedModel",
    "identity",
]


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_of_model_is_named(kind, model, refused):
    edited(model, lambda spec: getattr(spec, kind).SetInParent())
    assert "network" in refused(model, f"of the kind '{kind}'").hint
    with pytest.raises(UnsupportedError, match=kind):
        inspect_file(model)


def test_an_encrypted_model_is_named(model, refused):
    refused(edited(model, lambda spec: setattr(spec.serializedModel, "model", b"secret")), "encrypted")


def test_the_newest_specification_is_that_of_coremltools(coremltools):
    known = [
        value for name, value in vars(coremltools).items() if name.startswith("_SPECIFICATION_VERSION_IOS")
    ]
    assert max(known) == NEWEST_SPECIFICATION


def test_every_unknown_operator_is_listed(package):
    def change(spec: Any) -> None:
        operation(spec, "relu").type = "warp"
        operation(spec, "softmax").type = "fold"

    with pytest.raises(UnsupportedError, match=r"fold, warp") as caught:
        CoreMLRuntime(edited(package, change))
    assert len(caught.value.refusals) == 2
    assert "Mac" in caught.value.hint
    assert inspect_file(package).ops == {"conv": 1, "fold": 1, "warp": 1}


def test_a_custom_layer_is_named(model):
    def change(spec: Any) -> None:
        spec.neuralNetwork.layers[1].custom.className = "MyWarp"

    with pytest.raises(UnsupportedError, match="MyWarp"):
        CoreMLRuntime(edited(model, change))


def test_a_layer_of_no_known_type_is_refused(model):
    with pytest.raises(UnsupportedError, match="none that is known"):
        CoreMLRuntime(edited(model, lambda spec: spec.neuralNetwork.layers[1].ClearField("layer")))
