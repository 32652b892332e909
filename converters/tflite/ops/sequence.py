"""Sequences of different lengths in one batch."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import along_axes
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.program import Op

TYPES = ("float32", "uint8", "int16", "int32", "int64")


@lowers("ReverseSequence", layout=along_axes)
def reverse_sequence(context: NodeContext) -> None:
    """ReverseSequence: the first elements of each sequence in reverse, as many as its length says."""
    x, lengths = context.input(), context.input(1)
    if x.dtype.name not in TYPES:
        raise Refused(f"ReverseSequence of {x.dtype.name}", "cast to float32 or int32 in the network")
    options = schema.ReverseSequenceOptionsT()
    options.seqDim = context.axis(context.int("time_axis", 0))
    options.batchDim = context.axis(context.int("batch_axis", 1))
    made = steps.emit(context, Op.REVERSE_SEQUENCE, [x, lengths], x.shape, options=options)
    steps.store(context, made)
