"""Puts what turns scores into probabilities or labels behind a network."""

from __future__ import annotations

import onnx_ir as ir

HEADS = {"softmax": ("Softmax", "probabilities"), "argmax": ("ArgMax", "labels")}
CLASSES_AXIS = 1


def append_head(model: ir.Model, head: str) -> None:
    """Append a softmax or arg max over the classes to the first output.

    ::

        ... -> logits        ... -> logits -> Softmax(axis=1) -> probabilities
                             ... -> logits -> ArgMax(axis=1, keepdims=0) -> labels (int64)

    Args:
        model: a graph whose first output has the shape (N, classes, ...); changed in place.
        head: a key of HEADS.
    """
    op_type, name = HEADS[head]
    scores = model.graph.outputs[0]
    attributes = {"axis": CLASSES_AXIS}
    if op_type == "ArgMax":
        attributes["keepdims"] = 0
    node = ir.node(op_type, [scores], attributes, name=f"head_{op_type.lower()}")
    made = node.outputs[0]
    sizes = list(scores.shape or ())
    assert scores.dtype is not None
    made.name, made.dtype, made.shape = name, scores.dtype, ir.Shape(sizes)
    if op_type == "ArgMax":
        made.dtype, made.shape = ir.DataType.INT64, ir.Shape(sizes[:CLASSES_AXIS] + sizes[CLASSES_AXIS + 1 :])
    model.graph.append(node)
    model.graph.outputs[0] = made
