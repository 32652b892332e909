"""Fuse the addition of a constant vector into the FULLY_CONNECTED before."""

from __future__ import annotations

from collections import Counter

import numpy as np

from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import Activation, Op, Operator, Program, Tensor


def fuse_bias(program: Program) -> bool:
    """Make an addition behind a matrix product its bias.

    ```
    x -> FULLY_CONNECTED -> y -> ADD(b) -> z        x -> FULLY_CONNECTED(bias b) -> z
    ```

    1. The product has no bias yet and no activation, and only the ADD reads its result.
    2. The other operand is constant with one number per column, or one for all of them.
    3. An activation of the ADD becomes that of the product.

    To be run before `fuse_activation`, which then finds the product in front of an activation.
    """
    producers = {id(made): operator for operator in program.operators for made in operator.outputs}
    uses = Counter(id(used) for operator in program.operators for used in operator.inputs if used is not None)
    uses.update(id(tensor) for tensor in program.outputs)
    fused: set[int] = set()
    for operator in program.operators:
        if operator.code != Op.ADD:
            continue
        for source, other in (operator.inputs, operator.inputs[::-1]):
            product = producers.get(id(source))
            if product is None or uses[id(source)] != 1 or not _is_free(product):
                continue
            bias = _bias(other, product, operator)
            if bias is not None:
                _fuse(product, operator, bias)
                producers[id(operator.outputs[0])] = product
                fused.add(id(operator))
                break
    program.operators = [operator for operator in program.operators if id(operator) not in fused]
    return bool(fused)


def _is_free(product: Operator) -> bool:
    if product.code != Op.FULLY_CONNECTED or product.options.fusedActivationFunction != Activation.NONE:
        return False
    return len(product.inputs) == 2 or product.inputs[2] is None


def _bias(other: Tensor | None, product: Operator, add: Operator) -> Tensor | None:
    """The constant operand as one number per column; None when it is something else."""
    if other is None or other.data is None or other.dtype != np.float32:
        return None
    if add.outputs[0].shape != product.outputs[0].shape:
        return None
    columns = product.outputs[0].shape[-1]
    if other.data.size == 1:
        data = np.full(columns, other.data.reshape(-1)[0], np.float32)
    elif other.data.size == columns and other.shape[-1] == columns:
        data = np.ascontiguousarray(other.data.reshape(-1))
    else:
        return None
    return Tensor(f"{product.outputs[0].name}/bias", data.shape, data.dtype, data)


def _fuse(product: Operator, add: Operator, bias: Tensor) -> None:
    product.inputs = [*product.inputs[:2], bias]
    product.outputs = add.outputs
    product.options.fusedActivationFunction = add.options.fusedActivationFunction
    product.version = lowest_version(product.code, product.inputs, product.outputs, product.options)
