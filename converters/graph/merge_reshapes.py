"""Two changes of shape in a row become one Reshape."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import add_initializer, graph_of, is_op, set_inputs, shape_of

RESHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that keep the elements in their order."""


def merge_reshapes(model: ir.Model) -> bool:
    """Let a Reshape, Flatten, Squeeze or Unsqueeze of another one become a Reshape of the first one's input.

    ::

        x -> Squeeze -> Reshape -> y        x -> Reshape(shape of y) -> y

    1. The new Reshape has the full static shape, without 0 and -1.
    2. Other readers of the first node keep it.
    3. A Reshape that turns out to keep the shape is removed by remove_noops.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, *RESHAPING)]:
        source = node.inputs[0]
        before = source.producer() if source is not None else None
        shape = shape_of(node.outputs[0])
        if before is None or not is_op(before, *RESHAPING) or before.graph is not node.graph:
            continue
        if shape is None or 0 in shape or before.inputs[0] is None:
            continue
        target = add_initializer(graph_of(node), np.array(shape, np.int64), f"{node.name}.shape")
        node.op_type = "Reshape"
        node.attributes.clear()
        set_inputs(node, [before.inputs[0], target])
        changed = True
    return changed
