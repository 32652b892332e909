"""What is in a model file: operators, shapes, parameters, multiply-adds, bytes, transposes, refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import UnsupportedError, UnsupportedOpsError, UsageError
from toolchain.publish import size_of
from toolchain.source import Shapes
from toolchain.spec import REJECTED, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

TRANSPOSES = ("TRANSPOSE", "Transpose", "transpose", "permute")
SUFFIXES = (".tflite", ".onnx", ".mlpackage", ".mlmodel")


@dataclass(frozen=True)
class Inspection:
    """What a file holds.

    Attributes:
        path: the file.
        format: "tflite", "onnx", "coreml" or "mlmodel".
        bytes: its size.
        inputs: input tensors as stored.
        outputs: output tensors as stored.
        ops: operator name to count, most frequent first.
        parameters: elements of all weights; shapes, indices, single numbers and a bias of zeros do not count.
        macs: multiply-adds of convolutions and matrix products for one run; None where shapes are not known.
        refused: rows (op, count, first node, reason, what to do) of what --format tflite would refuse;
            None for a .tflite file.
    """

    path: Path
    format: str
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: dict[str, int]
    parameters: int
    macs: int | None
    refused: list[tuple[str, int, str, str, str]] | None = field(default=None)

    @property
    def transposes(self) -> int:
        """Operators that do nothing but move axes."""
        return sum(self.ops.get(name, 0) for name in TRANSPOSES)

    def as_json(self) -> dict[str, Any]:
        """What `inspect --json` prints."""
        return {
            "path": str(self.path),
            "format": self.format,
            "bytes": self.bytes,
            "inputs": [{"name": t.name, "shape": t.shape, "dtype": t.dtype} for t in self.inputs],
            "outputs": [{"name": t.name, "shape": t.shape, "dtype": t.dtype} for t in self.outputs],
            "ops": self.ops,
            "parameters": self.parameters,
            "macs": self.macs,
            "transposes": self.transposes,
            "refused": None
            if self.refused is None
            else [
                dict(zip(("op", "count", "first_node", "reason", "hint"), row, strict=True))
                for row in self.refused
            ],
        }


def inspect_file(path: Path, input_shape: Shapes = None) -> Inspection:
    """Inspect a `.tflite`, `.onnx`, `.mlpackage` or `.mlmodel` file.

    Args:
        path: the file.
        input_shape: for dynamic inputs of an ONNX file.

    Raises:
        UsageError: no such file, or a suffix that is not known.
        UnsupportedError: the file is damaged.
    """
    suffix = path.name.lower().removesuffix(REJECTED).rpartition(".")[2]
    readers = {
        "tflite": _inspect_tflite,
        **dict.fromkeys(("mlpackage", "mlmodel", "mlmodelc"), _inspect_coreml),
    }
    if suffix == "onnx" and path.is_file():
        return _inspect_onnx(path, input_shape)
    if suffix != "onnx" and suffix not in readers:
        raise UsageError(f"'{path}' is no model file of a known format", f"these are {', '.join(SUFFIXES)}")
    if not path.exists() or (path.is_dir() and not suffix.startswith("mlpackage")):
        raise UsageError(f"no file '{path}'", f"give the path of a model file: {', '.join(SUFFIXES)}")
    if input_shape is not None:
        raise UsageError(
            "--input-shape is for ONNX files; other files have their shapes", "leave --input-shape out"
        )
    return readers[suffix](path)


def _inspect_coreml(path: Path) -> Inspection:
    from toolchain.runtimes.coreml_file import errors_of

    with errors_of(path):
        return _inspect_read(path)


def _inspect_read(path: Path) -> Inspection:
    from toolchain.runtimes.coreml import NEURAL_NETWORKS, PROGRAM, read_inputs, read_outputs
    from toolchain.runtimes.coreml_file import read_coreml

    file = read_coreml(path)
    named: dict[str, Any]
    if file.kind == PROGRAM:
        from toolchain.runtimes.mil.measure import macs, parameters
        from toolchain.runtimes.mil.program import histogram, read_program

        program = read_program(file.spec.mlProgram, file.folder)
        counts = histogram(program.block.operations)
        named = {"ops": counts, "parameters": parameters(program), "macs": macs(program)}
    elif file.kind in NEURAL_NETWORKS:
        from toolchain.runtimes.neuralnetwork import measure

        counts = measure.histogram(file.spec)
        named = {"ops": counts, "parameters": measure.parameters(file.spec), "macs": None}
    else:
        raise UnsupportedError(
            f"'{path}' is a Core ML model of the kind '{file.kind}', not a network",
            "ML Programs and neural networks can be inspected",
        )
    return Inspection(
        path=path,
        format="coreml" if path.is_dir() else "mlmodel",
        bytes=size_of(path),
        inputs=read_inputs(file),
        outputs=read_outputs(file),
        **named,
    )


def _inspect_tflite(path: Path) -> Inspection:
    from toolchain.converters.tflite.reader import read_tflite

    program = read_tflite(path.read_bytes(), str(path))
    return Inspection(
        path=path,
        format="tflite",
        bytes=path.stat().st_size,
        inputs=tuple(program.inputs),
        outputs=tuple(program.outputs),
        ops=program.histogram(),
        parameters=program.parameters(),
        macs=program.macs(),
    )


def _inspect_onnx(path: Path, input_shape: Shapes) -> Inspection:
    from toolchain.converters.graph import load_onnx
    from toolchain.source import tensors_of

    model = load_onnx(path, input_shape)
    ops = dict(Counter(node.op_type for node in model.graph).most_common())
    cleaned, refused, static = _dry_run(model)
    return Inspection(
        path=path,
        format="onnx",
        bytes=path.stat().st_size,
        inputs=tensors_of(model.graph.inputs),
        outputs=tensors_of(cleaned.graph.outputs),
        ops=ops,
        parameters=_onnx_parameters(_with_real_constants(cleaned)),
        macs=sum(_onnx_macs(node) for node in cleaned.graph) if static else None,
        refused=refused,
    )


def _dry_run(graph: ir.Model) -> tuple[ir.Model, list[tuple[str, int, str, str, str]], bool]:
    """Clean and lower a copy: the cleaned graph, what was refused, and whether all shapes are known."""
    from toolchain.converters.graph import clean
    from toolchain.converters.quantize.foreign import accept_quantized
    from toolchain.converters.tflite import convert

    cleaned = graph.clone()
    try:
        accept_quantized(cleaned)
        clean(cleaned)
    except UnsupportedOpsError as error:
        return cleaned, error.rows(), False
    integer = any(node.op_type == "QuantizeLinear" for node in cleaned.graph)
    try:
        convert(cleaned.clone(), "int8" if integer else "fp32")
    except UnsupportedOpsError as error:
        return cleaned, error.rows(), True
    except UnsupportedError as error:
        return cleaned, [("-", 1, "-", error.message, error.hint)], True
    return cleaned, [], True


def _with_real_constants(model: ir.Model) -> ir.Model:
    """The graph with stored integers as the numbers that they stand for, where that can be said."""
    from toolchain.converters.graph.quantization import absorb_quantization, is_quantized
    from toolchain.converters.graph.remove_dead import remove_dead

    if not is_quantized(model):
        return model
    made = model.clone()
    try:
        absorb_quantization(made)
    except UnsupportedOpsError:
        return model
    remove_dead(made)
    return made


def _onnx_parameters(model: ir.Model) -> int:
    """Elements of floating-point constants with more than one element, without biases of zeros."""
    zeros = {
        value.name
        for node in model.graph
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.inputs) > 2
        for value in [node.inputs[2]]
        if value is not None and value.const_value is not None and not value.const_value.numpy().any()
    }
    total = 0
    for name, value in model.graph.initializers.items():
        size = prod(_sizes(value))
        if value.dtype is not None and value.dtype.is_floating_point() and size > 1 and name not in zeros:
            total += size
    return total


def _onnx_macs(node: ir.Node) -> int:
    """Multiply-adds of one node; 0 for everything that is no convolution or matrix product."""
    if node.domain != "" or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    first, weights, out = node.inputs[0], node.inputs[1], node.outputs[0]
    assert first is not None
    assert weights is not None
    x, w, y = _sizes(first), _sizes(weights), _sizes(out)
    if node.op_type == "Conv":
        return prod(y) * prod(w[1:])
    if node.op_type == "ConvTranspose":
        return prod(x) * prod(w[1:])
    return prod(y) * (w[-2] if len(w) > 1 and not _transposed(node) else w[-1])


def _transposed(node: ir.Node) -> bool:
    attribute = node.attributes.get("transB")
    return attribute is not None and attribute.as_int() == 1


def _sizes(value: ir.Value) -> tuple[int, ...]:
    sizes: Any = value.shape or ()
    return tuple(int(size) for size in sizes)
