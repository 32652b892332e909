"""Scales of tensors that the ONNX graph has no value for."""

from __future__ import annotations

from collections import Counter

import numpy as np

from toolchain.converters.tflite.integer_kernels import KERNELS, fixed_output
from toolchain.converters.tflite.program import Op, Operator, Program, Tensor

SUM_TOLERANCE = 1e-5


def spread(program: Program) -> None:
    """Give a scale to tensors between the operators of one node, in place.

    ::

        x (scale) -> RESHAPE -> t -> CONV_2D        t has the scale of x
        x -> CONV_2D -> t -> RESHAPE -> y (scale)   t has the scale of y

    1. Against the direction first, over operators that move or compare stored numbers: what they read has
       the scale of what they make, if nothing else reads it.
    2. Then in the direction of the data: what they make has the scale of what they read.
    3. So do weighted averages: products with a constant matrix whose rows are not negative and add up to
       1 at most, as a resize has them.
    4. Results of functions that are always stored with one scale (LOGISTIC, SOFTMAX, ...) have that.
    """
    uses = Counter(id(used) for operator in program.operators for used in operator.inputs if used is not None)
    uses.update(id(tensor) for tensor in program.outputs)
    borders = {id(tensor) for tensor in program.inputs}
    for operator in reversed(program.operators):
        found = next((t.quantization for t in operator.outputs if t.quantization is not None), None)
        if found is None or not _moves(operator):
            continue
        for tensor in _unknown(operator.inputs):
            if uses[id(tensor)] == 1 and id(tensor) not in borders:
                tensor.quantization = found
    for operator in program.operators:
        known = [used for used in operator.inputs if used is not None and used.data is None]
        found = next((used.quantization for used in known if used.quantization is not None), None)
        if found is None:
            continue
        fixed = fixed_output(operator.code, found.dtype)
        for tensor in _unknown(operator.outputs):
            if fixed is not None:
                tensor.quantization = fixed
            elif _moves(operator) or _averages(operator):
                tensor.quantization = found


def _moves(operator: Operator) -> bool:
    kernel = KERNELS.get(operator.code)
    return kernel is not None and kernel.same


def _averages(operator: Operator) -> bool:
    matrix = operator.inputs[0] if operator.code == Op.BATCH_MATMUL else None
    if matrix is None or matrix.data is None or operator.options.adjX:
        return False
    return bool((matrix.data >= 0).all() and (matrix.data.sum(axis=-1) <= 1 + SUM_TOLERANCE).all())


def _unknown(tensors: list[Tensor | None] | list[Tensor]) -> list[Tensor]:
    """Activations of floats without a scale."""
    return [
        tensor
        for tensor in tensors
        if tensor is not None
        and tensor.data is None
        and tensor.quantization is None
        and tensor.dtype == np.float32
    ]
