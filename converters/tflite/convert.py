"""From a cleaned ONNX graph to the bytes of a .tflite file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph import clean
from toolchain.converters.graph.expand_functions import expand_functions
from toolchain.converters.graph.flatten_channels_last import flatten_channels_last
from toolchain.converters.graph.quantization import absorb_quantization
from toolchain.converters.tflite.flatbuffer import serialize
from toolchain.converters.tflite.float16 import store_float16
from toolchain.converters.tflite.fuse_activation import fuse_activation
from toolchain.converters.tflite.fuse_bias import fuse_bias
from toolchain.converters.tflite.integer import FloatOperator, integerize
from toolchain.converters.tflite.integer_borders import check_io, close_borders, open_inputs
from toolchain.converters.tflite.integer_report import IntegerReport, check_accepted, read_back, refuse_floats
from toolchain.converters.tflite.layout import (
    Perm,
    channels_last_perm,
    is_constant,
    plain_perm,
    rank_of,
    shape_of,
)
from toolchain.converters.tflite.lowering import REFUSED_TYPES, Lowering, Refused, handlers, lower_graph
from toolchain.converters.tflite.program import Program, Tensor
from toolchain.converters.tflite.separate_views import separate_views
from toolchain.converters.tflite.weights_int8 import store_int8
from toolchain.errors import UnsupportedError, UsageError
from toolchain.spec import TensorSpec

PRECISIONS = ("fp32", "fp16", "w8", "int8", "int16x8")
INTEGER = ("int8", "int16x8")
PAIRS = ("QuantizeLinear", "DequantizeLinear")
LAYOUTS = ("nhwc", "nchw")
LAYOUT_NAMES = {3: ("NCW", "NWC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}


@dataclass(frozen=True)
class TFLiteModel:
    """A converted network.

    Attributes:
        data: the file's bytes.
        inputs: its inputs, shapes in storage order.
        outputs: its outputs, shapes in storage order.
        ops: operator name to count.
        report: what is integer and what is not, None for fp32 and fp16.
        origins: for each operator of the file, the name of the ONNX node that it was lowered from; empty
            where no single node stands for it.
    """

    data: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: dict[str, int]
    report: IntegerReport | None = None
    origins: tuple[str, ...] = ()


Describe = Callable[[tuple[TensorSpec, ...], tuple[TensorSpec, ...]], dict[str, bytes]]


def convert(
    model: ir.Model,
    precision: str = "fp32",
    layout: str = "nhwc",
    describe: Describe | None = None,
    io: str = "float",
    allow_float: Collection[str] | None = None,
    kept_float: Collection[str] = (),
) -> TFLiteModel:
    """Convert a cleaned graph (see `toolchain.converters.graph.clean`), which is changed in place.

    Args:
        model: graph with static shapes and no Constant nodes.
        precision: "fp32", or "fp16" for float16 weights with float32 arithmetic, "w8" for int8 weights with
            float activations, or "int8" or "int16x8" for integer arithmetic of a graph with
            QuantizeLinear/DequantizeLinear pairs.
        layout: "nhwc" stores pictures channel-last at the borders, "nchw" keeps the ONNX shapes.
        describe: called with the file's inputs and outputs, returns named blobs to embed as metadata.
        io: "float", "int8" or "uint8", type of the inputs and outputs of an int8 file.
        allow_float: names of nodes, ONNX operators or TFLite operators of an integer file that may stay
            float; "auto" among them accepts all.
        kept_float: names of nodes that stay float, although they have integer kernels.

    Raises:
        UnsupportedOpsError: nodes that cannot be lowered, all of them; or in an integer file those that
            stay float without being accepted.
        UnsupportedError: the network as a whole does not fit into the format.
        UsageError: unknown precision or layout.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"a .tflite file cannot have precision '{precision}'", f"use {' or '.join(PRECISIONS)}"
        )
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{layout}'", f"use {' or '.join(LAYOUTS)}")
    check_io(io)
    if io != "float" and precision != "int8":
        raise UsageError(f"a file of {precision} cannot have inputs of {io}", "use -p int8, or --io float")
    _check_quantization(model, precision)
    names = {node.name or "" for node in model.graph}
    while expand_functions(model, kept={*handlers(), *PAIRS}):
        clean(model)
    if layout == "nhwc":
        flatten_channels_last(model)
    absorb_quantization(model)
    lowering = Lowering()
    inputs = _bind_inputs(lowering, model.graph, layout)
    lower_graph(lowering, model.graph)
    outputs = _bind_outputs(lowering, model.graph, layout)
    program = lowering.program
    fuse_bias(program)
    fuse_activation(program)
    floats: tuple[FloatOperator, ...] = ()
    if precision in INTEGER:
        open_inputs(program, io)
        floats = integerize(program, kept_float)
        check_accepted(allow_float or (), names | {node.name or "" for node in model.graph}, floats)
        # First, as what stays float without leave is why a border has no scale.
        refuse_floats(floats, {*(allow_float or ()), *kept_float}, f"an {precision} file")
        close_borders(program, io)
        inputs, outputs = _stored(inputs, program.inputs), _stored(outputs, program.outputs)
    separate_views(program)
    if precision == "fp16":
        store_float16(program)
    elif precision == "w8":
        store_int8(program)
    metadata = describe(inputs, outputs) if describe is not None else None
    data = serialize(program, "made by toolchain", metadata)
    report = read_back(data, floats) if precision in (*INTEGER, "w8") else None
    origins = tuple("" if made.origin is None else made.origin.name or "" for made in program.operators)
    return TFLiteModel(data, inputs, outputs, program.histogram(), report, origins)


def _check_quantization(model: ir.Model, precision: str) -> None:
    """Raises UsageError unless a graph has pairs around activations just when the precision wants them."""
    has_pairs = any(node.op_type == "QuantizeLinear" for node in model.graph)
    if has_pairs and precision not in INTEGER:
        raise UsageError(
            f"the graph is quantized, and cannot become a file of {precision}",
            f"use {' or '.join('-p ' + name for name in INTEGER)}, or the graph of floats",
        )
    if precision in INTEGER and not has_pairs:
        raise UsageError(
            f"a file of {precision} is made from QuantizeLinear/DequantizeLinear pairs; the graph has none",
            "give the network of floats and calibration data with --calibration",
        )


def _stored(specs: tuple[TensorSpec, ...], tensors: list[Tensor]) -> tuple[TensorSpec, ...]:
    """The borders with the types and scales that they have been given."""
    return tuple(
        replace(
            spec,
            dtype=tensor.dtype.name,
            scale=float(found.scale[0]) if found is not None else None,
            zero_point=int(found.zero_point[0]) if found is not None else None,
        )
        for spec, tensor in zip(specs, tensors, strict=True)
        for found in [tensor.quantization if tensor.dtype.kind in "iu" else None]
    )


def _bind_inputs(lowering: Lowering, graph: ir.Graph, layout: str) -> tuple[TensorSpec, ...]:
    specs = []
    for value in graph.inputs:
        if value.dtype in REFUSED_TYPES:
            raise UnsupportedError(
                f"input '{value.name}' is {REFUSED_TYPES[value.dtype]}, which a .tflite file cannot take",
                "convert the network to float32 before exporting",
            )
        picture = reaches_spatial(value)
        perm = _border_perm(value, layout, picture)
        shape = shape_of(value)
        assert value.dtype is not None
        tensor = Tensor(
            lowering.unique(value.name or "input"), tuple(shape[axis] for axis in perm), value.dtype.numpy()
        )
        lowering.bind(value, tensor, perm)
        lowering.program.inputs.append(tensor)
        specs.append(_spec(tensor, perm, picture))
    return tuple(specs)


def _bind_outputs(lowering: Lowering, graph: ir.Graph, layout: str) -> tuple[TensorSpec, ...]:
    specs = []
    for value in graph.outputs:
        stored = lowering.perm_of(value)
        rank = rank_of(value)
        is_last = rank in LAYOUT_NAMES and not is_constant(value) and stored == channels_last_perm(rank)
        perm = _border_perm(value, layout, is_last)
        try:
            tensor = _named_output(lowering, value, perm)
        except Refused as refused:
            raise UnsupportedError(f"output '{value.name}': {refused.reason}", refused.hint) from refused
        lowering.program.outputs.append(tensor)
        specs.append(_spec(tensor, perm, is_last))
    return tuple(specs)


def _named_output(lowering: Lowering, value: ir.Value, perm: Perm) -> Tensor:
    """The tensor that carries the output's own name, a copy when the tensor has another one already."""
    tensor = lowering.value(value, perm)
    name = value.name or "output"
    program = lowering.program
    produced = any(made is tensor for operator in program.operators for made in operator.outputs)
    if tensor.name == name and produced and not any(tensor is other for other in program.outputs):
        return tensor
    taken = any(tensor is other for other in [*program.inputs, *program.outputs])
    if produced and not taken:
        _free_name(program, name)
        tensor.name = name
        return tensor
    _free_name(program, name)
    copy = lowering.reshape(tensor, tensor.shape, lowering.unique(name))
    copy.name = name
    return copy


def _free_name(program: Program, name: str) -> None:
    """Rename a tensor inside the program that stands in the way of an output's name."""
    for operator in program.operators:
        for tensor in operator.outputs:
            if tensor.name == name:
                tensor.name = f"{name}/stored"


def _border_perm(value: ir.Value, layout: str, wanted: bool) -> Perm:
    rank = rank_of(value)
    return channels_last_perm(rank) if layout == "nhwc" and wanted else plain_perm(rank)


def reaches_spatial(value: ir.Value) -> bool:
    """Whether an input is a picture: a convolution, pool or resize works on it or on a value of its rank."""
    rank = rank_of(value)
    if rank not in LAYOUT_NAMES:
        return False
    seen: set[ir.Value] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, index in current.uses():
            if node.op_type not in handlers():
                continue
            wanted = handlers().get(node.op_type).layout(node, [plain_perm(rank_of(v)) for v in node.inputs])
            if index == 0 and wanted.inputs[0] == channels_last_perm(rank):
                return True
            pending.extend(out for out in node.outputs if rank_of(out) == rank and not _moves_axes(node))
    return False


def _moves_axes(node: ir.Node) -> bool:
    return node.op_type in ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "MatMul", "Gemm")


def _spec(tensor: Tensor, perm: Perm, picture: bool) -> TensorSpec:
    first, last = LAYOUT_NAMES.get(len(perm), ("", ""))
    name = ""
    if picture:
        name = last if perm == channels_last_perm(len(perm)) else first
    return TensorSpec(tensor.name, tensor.shape, np.dtype(tensor.dtype).name, name)
