"""Store float32 constants as float16."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.program import Op, Operator, Program, Tensor
from toolchain.errors import UnsupportedError

# Smaller constants save nothing: the DEQUANTIZE that brings them back is larger.
MIN_ELEMENTS = 16
FLOAT16_MAX = float(np.finfo(np.float16).max)
DEQUANTIZE_FLOAT16_VERSION = 3


def store_float16(program: Program) -> bool:
    """Halve the file: float16 weights, float32 arithmetic.

    ```
    w(float32) -> CONV_2D        w(float16) -> DEQUANTIZE -> CONV_2D
    ```

    1. Every float32 constant of at least MIN_ELEMENTS elements is converted, once per tensor.
    2. Runtimes expand the weights when they load the file; a delegate that computes in float16 reads
       them as they are.

    Raises:
        UnsupportedError: a constant is too large for float16.
    """
    expanded: dict[int, Tensor] = {}
    operators: list[Operator] = []
    for operator in program.operators:
        for index, tensor in enumerate(operator.inputs):
            if tensor is None or tensor.data is None or tensor.dtype != np.float32:
                continue
            if tensor.data.size < MIN_ELEMENTS:
                continue
            if id(tensor) not in expanded:
                expanded[id(tensor)] = _expand(tensor, operators)
            operator.inputs[index] = expanded[id(tensor)]
        operators.append(operator)
    changed = bool(expanded)
    program.operators = operators
    return changed


def _expand(tensor: Tensor, operators: list[Operator]) -> Tensor:
    assert tensor.data is not None
    finite = tensor.data[np.isfinite(tensor.data)]
    if finite.size and np.abs(finite).max() > FLOAT16_MAX:
        raise UnsupportedError(
            f"constant '{tensor.name}' reaches {np.abs(finite).max():.3g}; float16 ends at {FLOAT16_MAX:.0f}",
            "export with -p fp32",
        )
    half = tensor.data.astype(np.float16)
    stored = Tensor(f"{tensor.name}/float16", half.shape, half.dtype, half)
    result = Tensor(tensor.name, tensor.shape, tensor.dtype)
    operators.append(
        Operator(Op.DEQUANTIZE, [stored], [result], schema.DequantizeOptionsT(), DEQUANTIZE_FLOAT16_VERSION)
    )
    return result
