"""Two transpositions in a row become one."""

from __future__ import annotations

import onnx_ir as ir

from toolchain.converters.graph.rewrite import attribute, is_op, set_attributes, shape_of


def merge_transposes(model: ir.Model) -> bool:
    """Let a Transpose of a Transpose read what the first one reads.

    ::

        x -> Transpose(p) -> Transpose(q) -> y        x -> Transpose(p[q[0]], p[q[1]], ...) -> y

    1. A missing perm reverses the axes.
    2. Other readers of the first Transpose keep it.
    3. A Transpose that turns out to keep the order is removed by remove_noops.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "Transpose")]:
        source = node.inputs[0]
        before = source.producer() if source is not None else None
        if before is None or not is_op(before, "Transpose") or before.graph is not node.graph:
            continue
        first, second = _order(before), _order(node)
        if first is None or second is None or before.inputs[0] is None:
            continue
        set_attributes(node, perm=[first[axis] for axis in second])
        node.replace_input_with(0, before.inputs[0])
        changed = True
    return changed


def _order(node: ir.Node) -> list[int] | None:
    perm, shape = attribute(node, "perm"), shape_of(node.inputs[0])
    if perm is not None:
        return list(perm)
    return None if shape is None else list(range(len(shape)))[::-1]
