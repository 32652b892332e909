"""Inputs and outputs of a quantized file: floats, int8 or uint8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.tflite.integer import FLOAT, dequantize, quantize
from toolchain.converters.tflite.program import Program, Tensor
from toolchain.errors import UnsupportedError, UsageError

IO = ("float", "int8", "uint8")


def check_io(io: str) -> None:
    """Raises UsageError for a type of the borders that does not exist."""
    if io not in IO:
        raise UsageError(f"inputs and outputs cannot be '{io}'", f"use {', '.join(IO)}")


def open_inputs(program: Program, io: str) -> None:
    """Make inputs of floats take stored integers where they have a scale, before `integerize`, in place.

    Raises:
        UnsupportedError: an input is not of 8 bits.
    """
    for tensor in program.inputs:
        if io != "float" and tensor.dtype == FLOAT and tensor.quantization is not None:
            tensor.dtype = _bytes(tensor, "input", io).dtype


def close_borders(program: Program, io: str) -> None:
    """Give inputs and outputs the type that is wanted, after `integerize`, in place.

    ::

        float:  x (float32) -> QUANTIZE -> ...                 ... -> DEQUANTIZE -> y (float32)
        int8:   x (int8) -> ...                                ... -> y (int8)
        uint8:  x (uint8) -> QUANTIZE -> x/signed (int8) -> ...

    uint8 numbers are those of int8 plus 128, so that the QUANTIZE only flips a bit.

    Raises:
        UnsupportedError: an input or output has no scale, or not one of 8 bits.
    """
    names = {tensor.name for tensor in program.tensors()}
    for index, tensor in enumerate(program.inputs):
        if io != "float" and tensor.dtype == FLOAT:
            _bytes(tensor, "input", io)
        if io == "uint8" and _is_stored(tensor):
            program.inputs[index] = _border(tensor, _unsigned(tensor), "signed", names)
            program.operators.insert(0, quantize(program.inputs[index], tensor))
    for index, tensor in enumerate(program.outputs):
        if io == "float" and _is_stored(tensor):
            border = _border(tensor, None, "quantized", names)
            program.operators.append(dequantize(tensor, border))
        elif io == "uint8" and (_is_stored(tensor) or tensor.dtype == FLOAT):
            _bytes(tensor, "output", io)
            border = _border(tensor, _unsigned(tensor), "signed", names)
            program.operators.append(quantize(tensor, border))
        elif io == "int8" and tensor.dtype == FLOAT:
            border = _border(tensor, _bytes(tensor, "output", io), "float", names)
            program.operators.append(quantize(tensor, border))
        else:
            continue
        program.outputs[index] = border


def _is_stored(tensor: Tensor) -> bool:
    return tensor.quantization is not None and tensor.dtype == tensor.quantization.dtype


def _bytes(tensor: Tensor, what: str, io: str) -> Quantization:
    found = tensor.quantization
    if found is None or found.dtype != np.int8 or found.scale.size != 1:
        stored = "has no scale" if found is None else f"is stored as {found.dtype.name}"
        raise UnsupportedError(
            f"{what} '{tensor.name}' {stored}, and cannot be {io}",
            "keep floats at the borders (--io float)",
        )
    return found


def _unsigned(tensor: Tensor) -> Quantization:
    found = tensor.quantization
    assert found is not None
    return replace(found, zero_point=found.zero_point + 128, dtype=np.dtype(np.uint8))


def _border(tensor: Tensor, found: Quantization | None, suffix: str, names: set[str]) -> Tensor:
    """A tensor under the name of another, which is renamed; floats without parameters."""
    border = Tensor(tensor.name, tensor.shape, FLOAT if found is None else found.dtype, None, found)
    inner = f"{tensor.name}/{suffix}"
    while inner in names:
        inner += "_"
    names.add(inner)
    tensor.name = inner
    return border
