"""Computes one node whose inputs are all constants.

The operators that exporters leave on shapes and scalars are computed with numpy, which takes
microseconds; everything else goes to the evaluator of the ONNX reference implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.quiet import quiet
from toolchain.converters.graph.rewrite import attribute

Arrays = Sequence[np.ndarray | None]

NEVER = frozenset(
    {
        "Bernoulli",
        "Constant",
        "DequantizeLinear",
        "Dropout",
        "DynamicQuantizeLinear",
        "Multinomial",
        "QuantizeLinear",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Random operators, quantization pairs (they carry the scales to the target) and what is constant already."""


GROWTH_LIMIT = 1 << 20
"""Bytes up to which a folded constant may be larger than what it is computed from."""


def evaluate_fast(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    """The output of a node of one of the common operators, with no copy where a view will do.

    None for other operators, for attributes and types that numpy does not treat as ONNX does, and for
    results that would be too large.
    """
    fast = _FAST.get(node.op_type)
    result = None if fast is None else fast(node, inputs)
    return None if result is None or not fits(result.nbytes, inputs) else result


def fits(size: int, inputs: Arrays) -> bool:
    """Whether `size` bytes are few, or no more than the inputs have."""
    return size <= max(GROWTH_LIMIT, sum(array.nbytes for array in inputs if array is not None))


def evaluate_reference(node: ir.Node, inputs: Arrays, opset: int) -> list[np.ndarray]:
    """The outputs of a node of the ONNX domain, computed by the reference implementation.

    Args:
        node: the node; its attributes are read, its inputs are not.
        inputs: one array per input, None for an optional input that is left out.
        opset: version of the ONNX operator set.

    Raises:
        Exception: whatever numpy or the reference implementation raises for invalid inputs.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = ir.serde.serialize_node(node)
    names = [f"input_{index}" if array is not None else "" for index, array in enumerate(inputs)]
    feeds = {name: array for name, array in zip(names, inputs, strict=True) if name}
    results = [f"output_{index}" for index in range(len(node.outputs))]
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(results)
    unknown = onnx.TypeProto()
    graph = onnx.helper.make_graph(
        [proto],
        "one_node",
        [onnx.helper.make_value_info(name, unknown) for name in feeds],
        [onnx.helper.make_value_info(name, unknown) for name in results],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    with quiet(), np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model).run(None, feeds))


_ARITHMETIC = (np.float32, np.float64, np.int32, np.int64)


def _binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[ir.Node, Arrays], Any]:
    def run(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
        left, right = inputs
        if left is None or right is None or left.dtype != right.dtype or left.dtype not in _ARITHMETIC:
            return None
        size = math.prod(np.broadcast_shapes(left.shape, right.shape)) * left.dtype.itemsize
        with np.errstate(all="ignore"):
            return np.asarray(function(left, right)) if fits(size, inputs) else None

    return run


def _divide(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    """Division of floats, and of integers that are not negative, where rounding has one meaning only."""
    left, right = inputs
    if left is None or right is None:
        return None
    if left.dtype.kind == "f":
        return _binary(np.divide)(node, inputs)
    whole = left.dtype.kind == "i" and (left >= 0).all() and (right > 0).all()
    return _binary(np.floor_divide)(node, inputs) if whole else None


def _cast(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    return _cast_to(inputs[0], ir.DataType(attribute(node, "to")).numpy())


def _cast_like(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    return _cast_to(inputs[0], inputs[1].dtype if inputs[1] is not None else None)


def _cast_to(array: np.ndarray | None, dtype: np.dtype | None) -> np.ndarray | None:
    """Casts between the plain numeric types where the result fits; others go to the reference."""
    if array is None or dtype is None or array.dtype.kind not in "fiub" or np.dtype(dtype).kind not in "fi":
        return None
    if np.dtype(dtype).kind == "i" and array.size:
        limits = np.iinfo(dtype)
        if not (np.isfinite(array).all() and limits.min <= array.min() and array.max() < limits.max):
            return None
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _reshape(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    data, shape = inputs[0], inputs[1]
    if data is None or shape is None or attribute(node, "allowzero", 0) or data.size == 0:
        return None
    sizes = [data.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)]
    return data.reshape(sizes)


def _unsqueeze(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    if len(inputs) < 2 or inputs[0] is None or inputs[1] is None:
        return None
    return np.expand_dims(inputs[0], tuple(int(axis) for axis in inputs[1]))


def _squeeze(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    if len(inputs) < 2 or inputs[0] is None or inputs[1] is None:
        return None
    return np.squeeze(inputs[0], tuple(int(axis) for axis in inputs[1]))


def _concat(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    arrays = [array for array in inputs if array is not None]
    if len({array.dtype for array in arrays}) != 1:
        return None
    return np.concatenate(arrays, axis=attribute(node, "axis"))


def _gather(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    data, indices = inputs
    return (
        None if data is None or indices is None else np.take(data, indices, axis=attribute(node, "axis", 0))
    )


def _expand(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    data, shape = inputs
    if data is None or shape is None:
        return None
    sizes = tuple(int(size) for size in shape)
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, sizes))


def _transpose(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    return None if inputs[0] is None else np.transpose(inputs[0], attribute(node, "perm"))


_FAST: dict[str, Callable[[ir.Node, Arrays], Any]] = {
    "Add": _binary(np.add),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _concat,
    "Div": _divide,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": lambda node, inputs: inputs[0],
    "Mul": _binary(np.multiply),
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
