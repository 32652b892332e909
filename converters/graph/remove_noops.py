"""Removes nodes that hand on their input unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    STANDARD,
    attribute,
    bypass,
    constant,
    input_at,
    remove,
    scalar,
    shape_of,
)


def remove_noops(model: ir.Model) -> bool:
    """Let the readers of a node that changes nothing read its input.

    ::

        x -> Identity -> y -> A        x -> A

    1. Always: Identity; Dropout in inference; Sum, Max, Min and Mean of one input; Concat of one input that
       has elements.
    2. By type: Cast and CastLike to the type that the input has.
    3. By shape: Reshape, Flatten, Squeeze, Unsqueeze and Expand whose output has the shape of the input;
       Slice, Split and Resize too, where the sizes leave nothing to choose.
    4. By value: Transpose that keeps the order, Pad and Tile of nothing, Add and Sub of 0, Mul and Div by 1,
       Pow 1, pools of one element.
    5. A node between a graph input, initializer or other output and a graph output stays as an Identity.
    """
    changed = False
    for node in list(model.graph):
        check = _CHECKS.get(node.op_type) if node.domain == STANDARD else None
        if check is None or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
            continue
        source = check(node)
        if source is None:
            continue
        if bypass(node.outputs[0], source):
            remove(node)
            changed = True
        elif node.op_type != "Identity":
            _become_identity(node, source)
            changed = True
    return changed


def _become_identity(node: ir.Node, source: ir.Value) -> None:
    node.resize_outputs(1)
    node.resize_inputs(1)
    node.replace_input_with(0, source)
    node.attributes.clear()
    node.op_type = "Identity"


Check = Callable[[ir.Node], ir.Value | None]
"""Returns the input that equals the output, or None when the node does something."""


def _always(node: ir.Node) -> ir.Value | None:
    return node.inputs[0]


def _only_input(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _concat(node: ir.Node) -> ir.Value | None:
    """The only input that is not empty along the axis."""
    shapes = [shape_of(value) for value in node.inputs]
    axis = attribute(node, "axis")
    full = [value for value, shape in zip(node.inputs, shapes, strict=True) if shape is None or shape[axis]]
    return full[0] if len(full) == 1 else None


def _dropout(node: ir.Node) -> ir.Value | None:
    """Dropout is active only when its third input is true."""
    training = input_at(node, 2)
    return node.inputs[0] if training is None or scalar(training) == 0 else None


def _same_type(node: ir.Node) -> ir.Value | None:
    source = node.inputs[0]
    return (
        source
        if source is not None and source.dtype is not None and source.dtype == node.outputs[0].dtype
        else None
    )


def _same_shape(node: ir.Node) -> ir.Value | None:
    source, shape = node.inputs[0], shape_of(node.outputs[0])
    return source if shape is not None and shape_of(source) == shape else None


def _transpose(node: ir.Node) -> ir.Value | None:
    perm = attribute(node, "perm")
    return node.inputs[0] if perm is not None and list(perm) == sorted(perm) else None


def _slice(node: ir.Node) -> ir.Value | None:
    """A slice that keeps the shape keeps everything, unless it runs backwards."""
    steps = input_at(node, 4)
    known = constant(steps)
    forwards = steps is None or (known is not None and (known > 0).all())
    return _same_shape(node) if forwards else None


def _resize(node: ir.Node) -> ir.Value | None:
    """A resize by exactly 1 samples every pixel where it is, except for cropping and antialiasing modes."""
    mode = attribute(node, "coordinate_transformation_mode", "half_pixel")
    scales = constant(input_at(node, 2))
    exact = scales is None or scales.size == 0 or (scales == 1).all()
    plain = mode in (
        "half_pixel",
        "align_corners",
        "asymmetric",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
    )
    return _same_shape(node) if exact and plain else None


def _pad(node: ir.Node) -> ir.Value | None:
    pads = constant(input_at(node, 1))
    return node.inputs[0] if pads is not None and not pads.any() else None


def _tile(node: ir.Node) -> ir.Value | None:
    repeats = constant(input_at(node, 1))
    return node.inputs[0] if repeats is not None and (repeats == 1).all() else None


def _pool(node: ir.Node) -> ir.Value | None:
    sizes = [*attribute(node, "kernel_shape", (0,)), *attribute(node, "strides", (1,))]
    padded = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in (
        "NOTSET",
        "VALID",
    )
    return node.inputs[0] if not padded and set(sizes) == {1} else None


def _neutral(element: float, commutes: bool) -> Check:
    """Check for an operator whose right operand `element` changes nothing; the left too if it commutes."""

    def check(node: ir.Node) -> ir.Value | None:
        pairs = [(node.inputs[0], node.inputs[1])]
        if commutes:
            pairs.append((node.inputs[1], node.inputs[0]))
        for source, other in pairs:
            array = constant(other)
            if array is None or source is None or source.dtype != node.outputs[0].dtype:
                continue
            if (
                array.size
                and np.all(array == element)
                and shape_of(source) == shape_of(node.outputs[0]) is not None
            ):
                return source
        return None

    return check


_CHECKS: dict[str, Check] = {
    "Add": _neutral(0, commutes=True),
    "AveragePool": _pool,
    "Cast": _same_type,
    "CastLike": _same_type,
    "Concat": _concat,
    "Div": _neutral(1, commutes=False),
    "Dropout": _dropout,
    "Expand": _same_shape,
    "Flatten": _same_shape,
    "Identity": _always,
    "Max": _only_input,
    "MaxPool": _pool,
    "Mean": _only_input,
    "Min": _only_input,
    "Mul": _neutral(1, commutes=True),
    "Pad": _pad,
    "Pow": _neutral(1, commutes=False),
    "Reshape": _same_shape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _same_shape,
    "Squeeze": _same_shape,
    "Sub": _neutral(0, commutes=False),
    "Sum": _only_input,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _same_shape,
}
