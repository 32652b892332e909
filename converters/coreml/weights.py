"""Weights of ML Programs in fewer bits: linear per output channel, or as look-up tables.

Compressed are the constant weights of convolutions, transposed convolutions, linear layers and matrix
products wherever the file gets smaller by it; everything else stays float16. In a quantized network ("int8")
they are those that the network has as integers, and stay these integers. The pass runs after coremltools'
own, when weights are folded and rounded to float16, so that the program is serialized once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from toolchain.converters.coreml.goal import ML_PROGRAM
from toolchain.converters.coreml.mil import Block, Operation, Program, Var, mb, types
from toolchain.converters.coreml.palette import lossless_tables, palettize
from toolchain.converters.coreml.passes import NAMESPACE, optimization_pipeline
from toolchain.converters.coreml.quantized_constants import Integers, on_grid
from toolchain.converters.coreml.quiet import import_coremltools, quiet_coremltools
from toolchain.converters.graph.quantization import Quantization
from toolchain.errors import UnsupportedError

import_coremltools()
with quiet_coremltools():
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

LINEAR = "w8"
INTEGER = "int8"
PALETTE_BITS = {"palette4": 4, "palette6": 6, "palette8": 8}
COMPRESSED = (LINEAR, *PALETTE_BITS)
# Precisions for which the file says what became of the weights.
REPORTED = (*COMPRESSED, INTEGER)
MOST = 127
PASS = "compress_weights"
# iOS 18 has element types below one byte, and scales and tables per block of a weight.
BLOCKWISE_IOS = 18
# Output channels that share a table of 16 entries: a table costs little then, one for all costs accuracy.
GROUP = 16
GROUPED_BITS = 4
# The weight file: an entry has metadata of 64 bytes, and its data fill up 64 bytes; constants below ten
# elements lie in the specification.
ALIGNMENT = 64
LEAST_STORED = 10


@dataclass(frozen=True)
class Kept:
    """A weight that is not compressed.

    Attributes:
        name: of the weight in the program.
        elements: how many numbers it has.
        reason: why.
    """

    name: str
    elements: int
    reason: str


@dataclass
class WeightReport:
    """What became of the weights.

    Attributes:
        precision: what was asked for.
        compressed: number of weights that were compressed.
        elements: how many numbers they have together.
        kept: weights that were not.
    """

    precision: str
    compressed: int = 0
    elements: int = 0
    kept: list[Kept] = field(default_factory=list)

    def as_text(self) -> str:
        """JSON for the metadata of the file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def require_any(self) -> None:
        """Raises UnsupportedError when nothing was compressed: the file would be no other than with fp16."""
        if self.compressed:
            return
        reasons = Counter(kept.reason for kept in self.kept)
        why = f" ({', '.join(f'{count} {reason}' for reason, count in reasons.items())})" if reasons else ""
        raise UnsupportedError(
            f"the network has no weight that gets smaller as '{self.precision}'{why}", "export with -p fp16"
        )


def compression_pipeline(
    precision: str,
    ios: int,
    report: WeightReport,
    quantized: bool = False,
    grids: tuple[Quantization, ...] = (),
) -> Any:
    """coremltools' passes with the compression after them; without it for the other precisions.

    Args:
        precision: of the ML Program.
        ios: oldest iOS that must run it, 16 or later for a compressed precision.
        report: takes what became of the weights.
        quantized: the program has quantized activations.
        grids: for "int8", how the constants of the quantized network were stored.
    """
    pipeline = optimization_pipeline(ML_PROGRAM, precision != "fp32", quantized)
    if precision in REPORTED:
        name = f"{NAMESPACE}::{PASS}"
        pipeline.append_pass(name)
        pipeline.set_options(name, {"blockwise": ios >= BLOCKWISE_IOS, "report": report, "grids": grids})
    if precision == INTEGER:
        from toolchain.converters.coreml.integer_passes import SHARE_CONSTANTS

        pipeline.append_pass(SHARE_CONSTANTS)
    return pipeline


@register_pass(namespace=NAMESPACE, name=PASS, override=True)
class CompressWeights(AbstractGraphPass):
    """conv(x, const) -> conv(x, constexpr_affine_dequantize or constexpr_lut_to_dense).

    Attributes:
        blockwise: write the operators of iOS 18.
        report: names the precision and takes what became of the weights.
        grids: how the constants of a quantized network were stored.
    """

    def __init__(self) -> None:
        self.blockwise = False
        self.report = WeightReport(LINEAR)
        self.grids: tuple[Quantization, ...] = ()

    def apply(self, prog: Program) -> None:
        """Compress the weights of every function."""
        for function in prog.functions.values():
            for weight, axes in _weights(function).items():
                self._compress(weight, axes)

    def _compress(self, weight: Var, axes: set[int | None]) -> None:
        data = weight.val
        reason = self._refusal(weight, axes)
        if reason:
            self.report.kept.append(Kept(weight.name, data.size, reason))
            return
        [axis] = axes
        assert axis is not None
        with weight.op.enclosing_block:
            made = self._made(weight, axis)
        if made is None:
            self.report.kept.append(Kept(weight.name, data.size, "is float in the quantized network"))
            return
        block = weight.op.enclosing_block
        name = weight.name
        block.replace_uses_of_var_after_op(anchor_op=made.op, old_var=weight, new_var=made)
        block.remove_ops([weight.op])
        made.name = name
        self.report.compressed += 1
        self.report.elements += data.size

    def _made(self, weight: Var, axis: int) -> Var | None:
        precision = self.report.precision
        if precision in PALETTE_BITS:
            return _palette(weight, PALETTE_BITS[precision], axis, self.blockwise)
        if precision == LINEAR:
            data, scale = quantize(weight.val, axis)
            return _linear(weight, Integers(data, scale, np.zeros(len(scale), np.int8), axis), self.blockwise)
        found = on_grid(weight.val, axis, self.grids)
        return None if found is None else _linear(weight, found, self.blockwise)

    def _refusal(self, weight: Var, axes: set[int | None]) -> str:
        """Why a weight stays as it is, or "" when it is compressed."""
        data = weight.val
        if len(axes) != 1 or None in axes or weight.consuming_blocks:
            return "used in several ways"
        if not np.isfinite(data).all():
            return "is not finite"
        if self.report.precision == INTEGER:
            return ""
        [axis] = axes
        assert axis is not None
        before = stored_bytes(data.size, data.dtype.itemsize * 8)
        if before <= self._bytes_after(data, axis):
            return "would not get smaller"
        return ""

    def _bytes_after(self, data: np.ndarray, axis: int) -> int:
        bits = data.dtype.itemsize * 8
        if self.report.precision == LINEAR:
            channels = data.shape[axis]
            shift = 0 if self.blockwise else stored_bytes(channels, 8)
            return stored_bytes(data.size, 8) + stored_bytes(channels, bits) + shift
        width = PALETTE_BITS[self.report.precision]
        tables = groups(data, width, axis, self.blockwise)
        return stored_bytes(data.size, width) + stored_bytes(tables << width, bits)


def _weights(block: Block) -> dict[Var, set[int | None]]:
    """Constant weights -> output-channel axis in each use; None for a use as something else."""
    found: dict[Var, set[int | None]] = {}
    for operation in _operations(block):
        for parameter, axis in _output_axes(operation).items():
            weight = getattr(operation, parameter)
            if _is_weight(weight):
                found.setdefault(weight, set()).add(axis)
    for weight, axes in found.items():
        if any(child.op_type not in WEIGHTS for child in weight.child_ops):
            axes.add(None)
    return found


def _operations(block: Block) -> Iterator[Operation]:
    for operation in block.operations:
        for inner in operation.blocks:
            yield from _operations(inner)
        yield operation


def _is_weight(var: Var | None) -> bool:
    return (
        var is not None
        and var.op is not None
        and var.op.op_type == "const"
        and isinstance(var.val, np.ndarray)
        and var.val.dtype in (np.float16, np.float32)
        and var.rank >= 2
    )


def _output_axes(operation: Operation) -> dict[str, int]:
    """Parameter that may hold a weight -> its axis of output channels."""
    return WEIGHTS[operation.op_type](operation) if operation.op_type in WEIGHTS else {}


def _first_axis(_operation: Operation) -> dict[str, int]:
    return {"weight": 0}


def _transposed_axis(operation: Operation) -> dict[str, int]:
    """Weights are (inputs, outputs of a group, ...); depthwise ones count both on the first axis."""
    return {"weight": 0 if operation.weight.shape[1] == 1 else 1}


def _matrix_axes(operation: Operation) -> dict[str, int]:
    """Axis of the product that each factor brings in: rows of x, columns of y."""
    x, y = operation.x, operation.y
    turned_x = operation.transpose_x is not None and bool(operation.transpose_x.val)
    turned_y = operation.transpose_y is not None and bool(operation.transpose_y.val)
    return {"x": x.rank - 1 if turned_x else x.rank - 2, "y": y.rank - 2 if turned_y else y.rank - 1}


WEIGHTS = {
    "conv": _first_axis,
    "conv_transpose": _transposed_axis,
    "linear": _first_axis,
    "matmul": _matrix_axes,
}


def stored_bytes(elements: int, bits: int) -> int:
    """Bytes that a constant takes in the weight file."""
    if elements < LEAST_STORED:
        return 0
    size = -(-elements * bits // 8)
    return ALIGNMENT + -(-size // ALIGNMENT) * ALIGNMENT


def quantize(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Linear, symmetric, one scale per index of `axis`: weights ~ scale * integers.

    Args:
        weights: finite float16 or float32 numbers.
        axis: of the output channels.

    Returns:
        (integers, scales): int8 in -127..127 of the shape of the weights, and scales of their type, shape
        (channels,), rounded up so that no weight lies beyond 127 scales. The error is at most half a scale.
    """
    exact = weights.astype(np.float64)
    others = tuple(index for index in range(weights.ndim) if index != axis)
    wanted = np.abs(exact).max(axis=others) / MOST
    scales = wanted.astype(weights.dtype)
    scales = np.where(scales < wanted, np.nextafter(scales, weights.dtype.type(np.inf)), scales)
    scales[wanted == 0] = 1
    shape = [-1 if index == axis else 1 for index in range(weights.ndim)]
    return np.rint(exact / scales.astype(np.float64).reshape(shape)).astype(np.int8), scales


def _linear(weight: Var, found: Integers, blockwise: bool) -> Var:
    if blockwise:
        shape = [-1 if index == found.axis else 1 for index in range(found.data.ndim)]
        offset = {"offset": found.zero_point.reshape(shape)} if found.zero_point.any() else {}
        return mb.constexpr_blockwise_shift_scale(
            data=found.data,
            scale=found.scale.reshape(shape),
            before_op=weight.op,
            name=f"{weight.name}_w8",
            **offset,
        )
    single = len(found.scale) == 1
    return mb.constexpr_affine_dequantize(
        quantized_data=found.data,
        zero_point=found.zero_point[0] if single else found.zero_point,
        scale=found.scale[0] if single else found.scale,
        axis=found.axis,
        before_op=weight.op,
        name=f"{weight.name}_w8",
    )


def groups(weights: np.ndarray, bits: int, axis: int, blockwise: bool) -> int:
    """How many look-up tables a weight gets: as many as lose nothing, else the usual number."""
    channels = weights.shape[axis]
    if not blockwise:
        return 1
    usual = channels // GROUP if bits == GROUPED_BITS and channels % GROUP == 0 else 1
    width = weights.dtype.itemsize * 8
    room = stored_bytes(weights.size, width) - stored_bytes(weights.size, bits)
    counts = [n for n in dict.fromkeys((1, usual, channels)) if stored_bytes(n << bits, width) < room]
    return lossless_tables(weights, bits, axis, counts) or usual


def _palette(weight: Var, bits: int, axis: int, blockwise: bool) -> Var:
    data = weight.val
    name = f"{weight.name}_palette"
    if not blockwise:
        table, indices = palettize(data, bits)
        return mb.constexpr_lut_to_dense(
            indices=packed(indices, bits),
            lut=table,
            shape=np.array(data.shape, np.uint32),
            before_op=weight.op,
            name=name,
        )
    parts = np.split(data, groups(data, bits, axis, blockwise), axis)
    made = [palettize(part, bits) for part in parts]
    sizes = [len(parts) if index == axis else 1 for index in range(data.ndim)]
    small = types.nptype_from_builtin(types.string_to_builtin(f"uint{bits}"))
    return mb.constexpr_lut_to_dense(
        indices=np.concatenate([indices for _, indices in made], axis).astype(small),
        lut=np.stack([table for table, _ in made]).reshape([*sizes, 1 << bits, 1]),
        before_op=weight.op,
        name=name,
    )


def packed(indices: np.ndarray, bits: int) -> np.ndarray:
    """uint8 indices as a stream of `bits` bits each, from the low bit of each byte on."""
    flat = indices.reshape(-1)
    if bits == 8:
        return flat
    stream = np.unpackbits(flat[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(stream.reshape(-1), bitorder="little")
