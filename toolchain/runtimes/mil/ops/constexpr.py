"""Weights that are stored compressed: computed once, when the program is loaded.

iOS 16 keeps indices and masks below one byte packed in uint8 arrays, from the low bits on, and gives the
shape; iOS 18 has element types for them, which the program reader unpacks to one element per byte.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.blob import unpack
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import ints, number


@computes("constexpr_affine_dequantize")
def constexpr_affine_dequantize(
    quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor
) -> Tensor:
    """Scale times (data - zero point); vectors of scales and zero points lie along `axis`."""
    place = int(number(axis))
    shift = along(zero_point, quantized_data, place)
    return along(scale, quantized_data, place) * (quantized_data.float() - shift.float())


@computes("constexpr_cast")
def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """float16 to float32."""
    if output_dtype != "fp32":
        raise UnsupportedError(f"constexpr_cast: to {output_dtype}")
    return source_val.float()


@computes("constexpr_lut_to_dense")
def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Tensor | None = None, vector_axis: Tensor | None = None
) -> Tensor:
    """The table's entry for every index; a vector of entries goes along `vector_axis`.

    Args:
        indices: packed bytes (iOS 16), or one element per index (iOS 18).
        lut: (entries), or per block of the indices one table: (blocks of axis 0, ..., entries, vector size).
        shape: of the result, iOS 16 only.
        vector_axis: the axis that a vector of more than one element extends.
    """
    if shape is not None:
        bits = _bits(lut.numel())
        return lut[_unpacked(indices, bits, ints(shape))]
    return _looked_up(indices.to(torch.int64), lut, vector_axis)


@computes("constexpr_sparse_to_dense")
def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None) -> Tensor:
    """The values in order where the mask is 1, else 0; a mask is packed if a shape is given (iOS 16)."""
    return _dense(nonzero_data, mask if shape is None else _unpacked(mask, 1, ints(shape)))


@computes("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """Scale times (data - offset), each for a block of data.shape[i] / scale.shape[i] elements."""
    shifted = data.float() if offset is None else data.float() - _per_element(offset.float(), data)
    return _per_element(scale, data) * shifted


@computes("constexpr_lut_to_sparse")
def constexpr_lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mask of the decompressed weights and their values where it is 1."""
    indices = _dense(indices_nonzero_data, indices_mask)
    values = _looked_up(indices.to(torch.int64), lut, vector_axis)
    mask = indices_mask
    if vector_axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], int(number(vector_axis)))
    return mask, values[mask != 0]


@computes("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mask as it is, and the values where it is 1, shifted and scaled."""
    values = constexpr_blockwise_shift_scale(_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, values[data_mask != 0]


def along(parameter: Tensor, data: Tensor, axis: int) -> Tensor:
    """A scalar as it is; a vector along one axis of data."""
    if parameter.ndim == 0:
        return parameter
    sizes = [1] * data.ndim
    sizes[axis] = -1
    return parameter.reshape(sizes)


def _bits(entries: int) -> int:
    bits = int(math.log2(entries)) if entries else 0
    if entries != 2**bits:
        raise UnsupportedError(
            f"constexpr_lut_to_dense: a table of {entries} entries, which is no power of 2"
        )
    return bits


def _unpacked(packed: Tensor, bits: int, sizes: list[int]) -> Tensor:
    """Elements of some bits each, as int64 in a shape."""
    count = math.prod(sizes)
    if packed.numel() != -(-count * bits // 8):
        raise UnsupportedError(
            f"constexpr: {packed.numel()} bytes do not hold {count} elements of {bits} bits"
        )
    data = packed.numpy().reshape(-1)
    values = data if bits == 8 else unpack(data, bits, count, data.dtype)
    return torch.from_numpy(values.astype("int64")).reshape(sizes)


def _dense(values: Tensor, mask: Tensor) -> Tensor:
    """Values in row-major order at the ones of a mask."""
    chosen = mask != 0
    if int(chosen.sum()) != values.numel():
        raise UnsupportedError(f"constexpr: {int(chosen.sum())} ones in a mask for {values.numel()} values")
    dense = torch.zeros(mask.shape, dtype=values.dtype)
    dense[chosen] = values.reshape(-1)
    return dense


def _per_element(parameter: Tensor, data: Tensor) -> Tensor:
    """A parameter per block repeated for every element of the block."""
    for axis, size in enumerate(data.shape):
        blocks = parameter.shape[axis]
        if size % blocks:
            raise UnsupportedError(f"constexpr: {size} elements of axis {axis} are no {blocks} equal blocks")
        if blocks not in (1, size):
            parameter = parameter.repeat_interleave(size // blocks, axis)
    return parameter


def _looked_up(indices: Tensor, lut: Tensor, vector_axis: Tensor | None) -> Tensor:
    """Entry or vector of the table of each index's block; (blocks ..., entries, vector size) tables."""
    entries, length = lut.shape[-2:]
    if indices.numel() and int(indices.max()) >= entries:
        raise UnsupportedError(f"constexpr: index {int(indices.max())} into a table of {entries} entries")
    # One number per table and block, then the entry within all tables laid end to end.
    blocks = lut.shape[:-2]
    table = torch.arange(math.prod(blocks)).reshape(blocks)
    found = lut.reshape(-1, length)[_per_element(table, indices) * entries + indices]
    if vector_axis is None:
        if length != 1:
            raise UnsupportedError("constexpr: vectors of several entries need a vector_axis")
        return found[..., 0]
    place = int(number(vector_axis)) % indices.ndim
    return found.movedim(-1, place + 1).flatten(place, place + 1)
