"""Turns the weights behind a Flatten, so that a channel-last target flattens without transposing back."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    add_initializer,
    attribute,
    constant,
    graph_of,
    input_at,
    insert_before,
    is_op,
    required,
    set_inputs,
    shape_and_type,
    shape_of,
    sole_consumer,
)

ELEMENTWISE = (
    "Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg",
    "Relu", "Sigmoid", "Softplus", "Sqrt", "Swish", "Tanh",
)  # fmt: skip
"""Unary operators that treat every element alike."""

CHANNELS_LAST = (0, 2, 3, 1)


def flatten_channels_last(model: ir.Model) -> bool:
    """Flatten (N, C, H, W) in the order H, W, C where only matrix products with constant weights read it.

    ::

        x -> Reshape(N, C*H*W) -> Relu -> Gemm(W)
        x -> Transpose(0, 2, 3, 1) -> Reshape(N, H*W*C) -> Relu -> Gemm(rows of W in the order h, w, c)

    1. The reader is a Reshape or Flatten of rank 4 to (N, C*H*W) with H*W > 1.
    2. Behind it are only Gemm (not transA) and MatMul whose right side is constant, directly or behind
       element-wise unary operators and quantization pairs with one scale.
    3. The weights may be behind a DequantizeLinear with one scale, or one scale per output.
    4. New initializers are made; shared weights are not written to.
    5. A Reshape behind such a Transpose is left alone, so that a second run changes nothing.

    Not part of `clean`: only targets that keep the channels last gain from it.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "Reshape", "Flatten")]:
        shape = _flattened(node)
        products = None if shape is None else _products(node.outputs[0], model.graph)
        if shape is None or not products:
            continue
        for matmul in products:
            _permute(matmul, shape[1:])
        _transpose_before(node, shape)
        changed = True
    return changed


def _flattened(node: ir.Node) -> tuple[int, ...] | None:
    """(N, C, H, W) if the node flattens it to (N, C*H*W)."""
    source, shape, target = node.inputs[0], shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if (
        source is None
        or shape is None
        or target is None
        or len(shape) != 4
        or node.outputs[0].is_graph_output()
    ):
        return None
    if target != (shape[0], math.prod(shape[1:])) or shape[2] * shape[3] <= 1:
        return None
    return None if _is_turned(source) else shape


def _is_turned(value: ir.Value) -> bool:
    """Whether the value is the output of the Transpose that this pass puts in."""
    node = value.producer()
    return (
        node is not None and is_op(node, "Transpose") and tuple(attribute(node, "perm", ())) == CHANNELS_LAST
    )


def _products(value: ir.Value, graph: ir.Graph) -> list[ir.Node] | None:
    """The matrix products that all paths from `value` end in; None if one ends elsewhere."""
    found: list[ir.Node] = []
    for use in value.uses():
        node = use.node
        if value.is_graph_output() or node.graph is not graph:
            return None
        if is_op(node, "Gemm", "MatMul"):
            if use.idx != 0 or attribute(node, "transA", 0) or _weight_use(node) is None:
                return None
            found.append(node)
        elif use.idx == 0 and (is_op(node, *ELEMENTWISE) or _is_plain_quantization(node)):
            below = _products(node.outputs[0], graph)
            if not below:
                return None
            found += below
        else:
            return None
    return found


def _is_plain_quantization(node: ir.Node) -> bool:
    return is_op(node, "QuantizeLinear", "DequantizeLinear") and _is_single(input_at(node, 1))


def _is_single(value: ir.Value | None) -> bool:
    shape = shape_of(value)
    return shape is not None and math.prod(shape) == 1


def _weight_use(matmul: ir.Node) -> tuple[ir.Node, int] | None:
    """Where the constant weight enters: an input of the product, or of a DequantizeLinear before it."""
    weight = matmul.inputs[1]
    if len(shape_of(weight) or ()) != 2 or weight is None:
        return None
    if constant(weight) is not None:
        return matmul, 1
    node = weight.producer()
    if node is None or not is_op(node, "DequantizeLinear") or sole_consumer(weight) is None:
        return None
    if constant(node.inputs[0]) is None:
        return None
    outputs = 0 if attribute(matmul, "transB", 0) else 1
    per_output = attribute(node, "axis", 1) % 2 == outputs and not attribute(node, "block_size", 0)
    return (node, 0) if _is_single(node.inputs[1]) or per_output else None


def _permute(matmul: ir.Node, sizes: tuple[int, ...]) -> None:
    """Reorder the rows of the weight, which lie in the order C, H, W, to H, W, C."""
    use = _weight_use(matmul)
    assert use is not None
    node, index = use
    old = required(node, index)
    weight = constant(old)
    assert weight is not None
    if attribute(matmul, "transB", 0):
        turned = weight.reshape(-1, *sizes).transpose(0, 2, 3, 1).reshape(weight.shape)
    else:
        turned = weight.reshape(*sizes, -1).transpose(1, 2, 0, 3).reshape(weight.shape)
    node.replace_input_with(index, add_initializer(graph_of(node), turned, f"{old.name}.hwc"))


def _transpose_before(node: ir.Node, shape: tuple[int, ...]) -> None:
    source = required(node)
    batch, channels, height, width = shape
    _, dtype = shape_and_type(source)
    turned = insert_before(
        node, "Transpose", [source], {"perm": CHANNELS_LAST}, (batch, height, width, channels), dtype
    )
    sizes = np.array([batch, math.prod(shape[1:])], np.int64)
    flat = add_initializer(graph_of(node), sizes, f"{node.name}.shape")
    node.op_type = "Reshape"
    node.attributes.clear()
    set_inputs(node, [turned, flat])
