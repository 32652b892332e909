"""From a cleaned ONNX graph to a Core ML model: an ML Program or a neural network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from toolchain.converters.coreml.goal import ML_PROGRAM, Goal, check_precision, least_ios
from toolchain.converters.coreml.interface import (
    classifier_config,
    completed,
    describe,
    image_types,
    read_interface,
)
from toolchain.converters.coreml.lowering import (
    COMPUTED_TYPES,
    Lowering,
    check_value,
    handlers,
    lower_graph,
)
from toolchain.converters.coreml.mil import Function, Placeholder, Program, Var, mb, types
from toolchain.converters.coreml.network_weights import compress_network
from toolchain.converters.coreml.passes import optimization_pipeline
from toolchain.converters.coreml.quantized_constants import release_constants
from toolchain.converters.coreml.quiet import import_coremltools, quiet_coremltools, spared_collections
from toolchain.converters.coreml.refusals import CoremltoolsRefused, coremltools_refusals
from toolchain.converters.coreml.weights import COMPRESSED, INTEGER, WeightReport, compression_pipeline
from toolchain.converters.graph import clean
from toolchain.converters.graph.expand_functions import expand_functions
from toolchain.converters.graph.quantization import Quantization, is_quantized
from toolchain.converters.node_view import Refused, is_constant, shape_of
from toolchain.errors import UnsupportedError
from toolchain.spec import GENERIC, ModelSpec, Preprocess, TensorSpec

INPUT_TYPES = {
    ir.DataType.FLOAT: types.fp32,
    ir.DataType.INT32: types.int32,
    ir.DataType.INT64: types.int32,
    ir.DataType.BOOL: types.int32,
}

Metadata = Callable[[tuple[TensorSpec, ...], tuple[TensorSpec, ...]], Mapping[str, str]]


@dataclass(frozen=True)
class CoreMLModel:
    """A converted network.

    Attributes:
        model: coremltools' MLModel; `save(path)` writes it.
        inputs: its inputs as the file takes them.
        outputs: its outputs.
        ops: operator or layer name to count.
        ios: oldest iOS that runs it.
        weights: which weights were compressed, and why others were not.
    """

    model: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: dict[str, int]
    ios: int
    weights: WeightReport


def convert(
    model: ir.Model,
    precision: str = "fp16",
    kind: str = ML_PROGRAM,
    ios: int | None = None,
    spec: ModelSpec | None = None,
    metadata: Metadata | None = None,
) -> CoreMLModel:
    """Convert a cleaned graph (see `toolchain.converters.graph.clean`), which is changed in place.

    Args:
        model: graph with static shapes and no Constant nodes.
        precision: one of PRECISIONS[kind]; all but "fp32" compute in float16 in an ML Program. "int8" is for
            a graph with QuantizeLinear/DequantizeLinear pairs, whose weights stay the integers that they are.
        kind: ML_PROGRAM or NEURAL_NETWORK.
        ios: oldest iOS that must run it, one of IOS_VERSIONS; None for the oldest that can.
        spec: the network's contract. With `preprocess`, the first input becomes an RGB image, and the file
            normalizes the pixels itself. A classifier with labels whose first output is named
            "probabilities" becomes a classifier of Core ML.
        metadata: called with the inputs and outputs of the file; texts that the file is to carry, by name.

    Raises:
        UnsupportedOpsError: nodes that cannot be lowered, all of them.
        UnsupportedError: the network as a whole does not fit into the format, has no weights to compress, or
            is to be "int8" and not quantized.
        UsageError: unknown precision, or an iOS version too old for it.
        MissingDependencyError: coremltools or its native library is not there.
    """
    check_precision(kind, precision)
    goal = Goal(kind, least_ios(kind, precision, ios), half=kind == ML_PROGRAM and precision != "fp32")
    spec = spec or ModelSpec("model", GENERIC, (), ())
    while expand_functions(model, kept=handlers()):
        clean(model)
    report = WeightReport(precision)
    quantized = is_quantized(model)
    if precision == INTEGER and not quantized:
        raise UnsupportedError(
            "the network has no quantized values, which precision 'int8' needs",
            "quantize it first, which needs calibration data, or export with -p w8",
        )
    grids = release_constants(model.graph)
    shapes = [shape_of(value) for value in model.graph.outputs]
    with quiet_coremltools(), spared_collections():
        program = _program(model.graph, goal, spec.preprocess)
        made = _serialized(program, goal, spec, report, quantized, grids)
        if precision in COMPRESSED:
            report.require_any()
        made = completed(made, spec, shapes)
        describe(made, spec, report)
    inputs, outputs, ops = read_interface(made.get_spec(), spec)
    if metadata is not None:
        made.user_defined_metadata.update(metadata(inputs, outputs))
    return CoreMLModel(made, inputs, outputs, ops, goal.ios, report)


def _target(ios: int) -> Any:
    return getattr(import_coremltools().target, f"iOS{ios}")


def _program(graph: ir.Graph, goal: Goal, preprocess: Preprocess | None) -> Program:
    lowering = Lowering(goal)
    placeholders = {value.name or "input": _placeholder(value) for value in graph.inputs}
    program = Program()
    with Function(placeholders, opset_version=_target(goal.ios)) as function:
        for index, value in enumerate(graph.inputs):
            var = function.inputs[value.name or "input"]
            lowering.unique(var.name)
            lowering.bind(value, _entered(value, var, preprocess if index == 0 else None))
        for value in graph.outputs:
            lowering.reserve(value)
        lower_graph(lowering, graph)
        function.set_outputs([_left(lowering, value, placeholders) for value in graph.outputs])
    program.add_function("main", function)
    return program


def _placeholder(value: ir.Value) -> Placeholder:
    try:
        check_value(value)
    except Refused as refused:
        raise UnsupportedError(f"input: {refused.reason}", refused.hint) from refused
    shape = shape_of(value)
    if not shape:
        raise UnsupportedError(
            f"input '{value.name}' is a scalar, which a Core ML file cannot take", "give it the shape (1,)"
        )
    return Placeholder(shape, dtype=INPUT_TYPES[value.dtype])  # type: ignore[index]


def _entered(value: ir.Value, var: Var, preprocess: Preprocess | None) -> Var:
    """What the network sees of an input: normalized pixels, integers as booleans."""
    if value.dtype == ir.DataType.BOOL:
        return mb.cast(x=var, dtype="bool")
    if preprocess is None:
        return var
    _check_image(value, preprocess)
    mean, std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (preprocess.mean, preprocess.std))
    centred = mb.sub(x=var, y=mean, name=f"{var.name}_centred")
    return mb.real_div(x=centred, y=std, name=f"{var.name}_normalized")


def _check_image(value: ir.Value, preprocess: Preprocess) -> None:
    shape = shape_of(value)
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3) or value.dtype != ir.DataType.FLOAT:
        raise UnsupportedError(
            f"input '{value.name}' of shape {shape} cannot be an image of Core ML",
            "a picture has the shape 1,3,H,W or 1,1,H,W; leave `preprocess` out of the ModelSpec otherwise",
        )
    if not len(preprocess.mean) == len(preprocess.std) == shape[1] or not all(preprocess.std):
        raise UnsupportedError(
            f"the preprocessing has {len(preprocess.mean)} means and {len(preprocess.std)} deviations for"
            f" {shape[1]} channels, or a deviation of 0",
            "correct the ModelSpec",
        )


def _left(lowering: Lowering, value: ir.Value, taken: Mapping[str, Any]) -> Var:
    """The variable of a graph output, under the output's own name."""
    if value.dtype not in COMPUTED_TYPES:
        raise UnsupportedError(f"output '{value.name}' has a type that Core ML does not have", "cast it")
    var = lowering.value(value)
    name = value.name or "output"
    if value.dtype == ir.DataType.BOOL:
        var = mb.cast(x=var, dtype="int32")
    elif var.name != name or var.op is None or var.op.op_type == "const" or is_constant(value):
        var = mb.identity(x=var)
    var.name = name
    return var


def _serialized(
    program: Program,
    goal: Goal,
    spec: ModelSpec,
    report: WeightReport,
    quantized: bool,
    grids: tuple[Quantization, ...],
) -> Any:
    """The program as a saved model of coremltools' own backend.

    Raises:
        UnsupportedError: the backend refuses the program.
    """
    coremltools = import_coremltools()
    classifier = classifier_config(spec)
    named: dict[str, Any] = {"minimum_deployment_target": _target(goal.ios)}
    if goal.kind == ML_PROGRAM:
        half = coremltools.precision.FLOAT16
        named["compute_precision"] = coremltools.precision.FLOAT32 if report.precision == "fp32" else half
        named["pass_pipeline"] = compression_pipeline(report.precision, goal.ios, report, quantized, grids)
        named["classifier_config"] = classifier
    else:
        named["pass_pipeline"] = optimization_pipeline(goal.kind, half=False)
    try:
        with coremltools_refusals():
            made = coremltools.convert(
                program,
                source="milinternal",
                convert_to=goal.kind,
                inputs=image_types(program, spec.preprocess is not None),
                skip_model_load=True,
                **named,
            )
    except CoremltoolsRefused as refused:
        raise UnsupportedError(
            f"coremltools cannot write the network: {refused}", "export with -f onnx or -f tflite"
        ) from refused
    return made if goal.kind == ML_PROGRAM else compress_network(made, report)
