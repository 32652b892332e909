"""What is in a model file: operators, shapes, parameters, multiply-adds, bytes, transposes, refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import UnsupportedError, UnsupportedOpsError, UsageError
from toolchain.source import Shapes
from toolchain.spec import TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

TRANSPOSES = ("TRANSPOSE", "Transpose")


@dataclass(frozen=True)
class Inspection:
    """What a file holds.

    Attributes:
        path: the file.
        format: "tflite" or "onnx".
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
    """Inspect a `.tflite` or `.onnx` file.

    Args:
        path: the file.
        input_shape: for dynamic inputs of an ONNX file.

    Raises:
        UsageError: no such file, or a suffix that is not known.
        UnsupportedError: the file is damaged.
    """
    if not path.is_file():
        raise UsageError(f"no file '{path}'", "give the path of a .tflite or .onnx file")
    if path.name.lower().endswith(".tflite"):
        if input_shape is not None:
            raise UsageError(
                "--input-shape is for ONNX files; a .tflite file has its shapes", "leave --input-shape out"
            )
        return _inspect_tflite(path)
    if path.name.lower().endswith(".onnx"):
        return _inspect_onnx(path, input_shape)
    raise UsageError(f"'{path}' is neither .tflite nor .onnx", "these are the formats that can be inspected")


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
        parameters=_onnx_parameters(cleaned),
        macs=sum(_onnx_macs(node) for node in cleaned.graph) if static else None,
        refused=refused,
    )


def _dry_run(graph: ir.Model) -> tuple[ir.Model, list[tuple[str, int, str, str, str]], bool]:
    """Clean and lower a copy: the cleaned graph, what was refused, and whether all shapes are known."""
    from toolchain.converters.graph import clean
    from toolchain.converters.tflite import convert

    cleaned = graph.clone()
    try:
        clean(cleaned)
    except UnsupportedOpsError as error:
        return cleaned, error.rows(), False
    try:
        convert(cleaned.clone())
    except UnsupportedOpsError as error:
        return cleaned, error.rows(), True
    except UnsupportedError as error:
        return cleaned, [("-", 1, "-", error.message, error.hint)], True
    return cleaned, [], True


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
