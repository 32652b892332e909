"""Sequences of different lengths in one batch."""

from __future__ import annotations

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import mb


@lowers("ReverseSequence")
def reverse_sequence(context: NodeContext) -> None:
    """ReverseSequence: the first elements of each sequence in reverse, as many as its length says."""
    made = mb.reverse_sequence(
        x=context.input(),
        lengths=context.input(1),
        seq_axis=context.int("time_axis", 0),
        batch_axis=context.int("batch_axis", 1),
    )
    context.store(made)
