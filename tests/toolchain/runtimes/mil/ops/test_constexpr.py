"""Compressed weights, saved and decompressed, against coremltools' own decompression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

GENERATOR = np.random.default_rng(17)
SHAPE = (4, 6, 10)
INPUT = {"x": np.zeros(SHAPE, np.float32)}


def _added(run_program: Callable, ios: int, compressed: Callable) -> np.ndarray:
    """Weights are constants of a program: they are added to zeros."""

    def build(mb, x):
        return mb.add(x=x, y=compressed(mb))

    (got,) = run_program(build, INPUT, ios).values()
    return got


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [0, 2, -2])
@pytest.mark.parametrize("vector", [True, False])
def test_affine_dequantize(run_program: Callable, dtype: type, axis: int, vector: bool) -> None:
    limits = np.iinfo(dtype)
    data = GENERATOR.integers(limits.min, limits.max + 1, SHAPE).astype(dtype)
    count = SHAPE[axis] if vector else ()
    shift = GENERATOR.integers(limits.min, limits.max + 1, count).astype(dtype)
    scale = GENERATOR.uniform(0.1, 2, count).astype(np.float32)
    shift, scale = (shift, scale) if vector else (dtype(shift), np.float32(scale))
    got = _added(
        run_program,
        16,
        lambda mb: mb.constexpr_affine_dequantize(
            quantized_data=data, zero_point=shift, scale=scale, axis=axis
        ),
    )
    sizes = [-1 if place == axis % 3 else 1 for place in range(3)]
    by_axis = (lambda value: value.reshape(sizes)) if vector else np.asarray
    expected = (data.astype(np.float64) - by_axis(shift).astype(np.float64)) * by_axis(scale)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packed_lookup(run_program: Callable, bits: int) -> None:
    indices = GENERATOR.integers(0, 2**bits, SHAPE).astype(np.uint8)
    lut = GENERATOR.normal(size=2**bits).astype(np.float32)
    stream = (indices.reshape(-1, 1) >> np.arange(bits)) & 1
    packed = np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")
    got = _added(
        run_program,
        16,
        lambda mb: mb.constexpr_lut_to_dense(indices=packed, lut=lut, shape=np.array(SHAPE, np.uint32)),
    )
    np.testing.assert_array_equal(got, lut[indices])


def test_packed_mask(run_program: Callable) -> None:
    mask = GENERATOR.integers(0, 2, SHAPE).astype(np.uint8)
    values = GENERATOR.normal(size=int(mask.sum())).astype(np.float32)
    expected = np.zeros(SHAPE, np.float32)
    expected[mask == 1] = values
    packed = np.packbits(mask.ravel(), bitorder="little")
    got = _added(
        run_program,
        16,
        lambda mb: mb.constexpr_sparse_to_dense(
            nonzero_data=values, mask=packed, shape=np.array(SHAPE, np.uint32)
        ),
    )
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("ios", [16, 18])
def test_cast(run_program: Callable, ios: int) -> None:
    values = GENERATOR.normal(size=SHAPE).astype(np.float16)
    got = _added(run_program, ios, lambda mb: mb.constexpr_cast(source_val=values, output_dtype="fp32"))
    np.testing.assert_array_equal(got, values.astype(np.float32))


def _sub_byte(values: np.ndarray, name: str) -> np.ndarray:
    """The numpy type by which coremltools knows an integer type below one byte."""
    from coremltools.converters.mil.mil import types

    return values.astype(types.nptype_from_builtin(types.string_to_builtin(name)))


@pytest.mark.parametrize("name", ["int4", "uint4", "int8", "uint8"])
@pytest.mark.parametrize("blocks", [(1, 1, 1), (4, 1, 5), (2, 3, 10)])
@pytest.mark.parametrize("shifted", [True, False])
def test_blockwise(run_program: Callable, name: str, blocks: tuple[int, ...], shifted: bool) -> None:
    bits = int(name[-1])
    low = -(2 ** (bits - 1)) if name[0] == "i" else 0
    data = GENERATOR.integers(low, low + 2**bits, SHAPE)
    shift = GENERATOR.integers(low, low + 2**bits, blocks)
    scale = GENERATOR.uniform(0.1, 2, blocks).astype(np.float32)
    extra: dict[str, Any] = {"offset": _sub_byte(shift, name)} if shifted else {}
    got = _added(
        run_program,
        18,
        lambda mb: mb.constexpr_blockwise_shift_scale(data=_sub_byte(data, name), scale=scale, **extra),
    )
    block = np.ones([size // count for size, count in zip(SHAPE, blocks, strict=True)])
    expected = (data - np.kron(shift, block) * shifted) * np.kron(scale, block)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["uint1", "uint2", "uint3", "uint4", "uint6", "uint8"])
@pytest.mark.parametrize(
    ("blocks", "length", "axis"),
    [((1, 1, 1), 1, None), ((2, 3, 5), 1, None), ((1, 1, 1), 2, 1), ((2, 1, 5), 2, 2)],
)
def test_lookup(
    run_program: Callable, name: str, blocks: tuple[int, ...], length: int, axis: int | None
) -> None:
    entries = 2 ** int(name[4:])
    shape = tuple(size // length if place == axis else size for place, size in enumerate(SHAPE))
    indices = GENERATOR.integers(0, entries, shape)
    lut = GENERATOR.normal(size=(*blocks, entries, length)).astype(np.float32)
    expected = np.empty(SHAPE, np.float32)
    for place in np.ndindex(shape):
        block = tuple(i * count // size for i, count, size in zip(place, blocks, shape, strict=True))
        for part in range(length):
            there = tuple(i * length + part if number == axis else i for number, i in enumerate(place))
            expected[there] = lut[(*block, indices[place], part)]
    extra = {} if axis is None else {"vector_axis": axis}
    got = _added(
        run_program,
        18,
        lambda mb: mb.constexpr_lut_to_dense(indices=_sub_byte(indices, name), lut=lut, **extra),
    )
    np.testing.assert_array_equal(got, expected)


def test_mask(run_program: Callable) -> None:
    mask = GENERATOR.integers(0, 2, SHAPE)
    values = GENERATOR.normal(size=int(mask.sum())).astype(np.float32)
    expected = np.zeros(SHAPE, np.float32)
    expected[mask == 1] = values
    got = _added(
        run_program,
        18,
        lambda mb: mb.constexpr_sparse_to_dense(nonzero_data=values, mask=_sub_byte(mask, "uint1")),
    )
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("length", "axis"), [(1, None), (2, 1), (3, 1)])
def test_sparse_lookup(run_program: Callable, length: int, axis: int | None) -> None:
    shape = (4, 6 // length, 10)
    mask = GENERATOR.integers(0, 2, shape)
    indices = GENERATOR.integers(0, 4, int(mask.sum()))
    lut = GENERATOR.normal(size=(2, 1, 1, 4, length)).astype(np.float32)
    dense = np.zeros(shape, np.int64)
    dense[mask == 1] = indices
    found = lut[np.arange(4)[:, None, None] // 2, 0, 0, dense] * mask[..., None]
    expected = np.moveaxis(found, -1, 2).reshape(SHAPE)
    extra = {} if axis is None else {"vector_axis": axis}

    def compressed(mb):
        wide_mask, values = mb.constexpr_lut_to_sparse(
            indices_mask=_sub_byte(mask, "uint1"),
            indices_nonzero_data=_sub_byte(indices, "uint2"),
            lut=lut,
            **extra,
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=wide_mask)

    np.testing.assert_array_equal(_added(run_program, 18, compressed), expected)


def test_sparse_blockwise(run_program: Callable) -> None:
    mask = GENERATOR.integers(0, 2, SHAPE)
    values = GENERATOR.integers(-8, 8, int(mask.sum()))
    scale = GENERATOR.uniform(0.1, 2, (4, 1, 2)).astype(np.float32)
    shift = GENERATOR.integers(-8, 8, (4, 1, 2))
    dense = np.zeros(SHAPE)
    dense[mask == 1] = values
    block = np.ones((1, 6, 5))
    expected = (dense - np.kron(shift, block)) * np.kron(scale, block) * mask

    def compressed(mb):
        same_mask, made = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=_sub_byte(mask, "uint1"),
            nonzero_data=_sub_byte(values, "int4"),
            scale=scale,
            offset=_sub_byte(shift, "int4"),
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=made, mask=same_mask)

    np.testing.assert_allclose(_added(run_program, 18, compressed), expected, rtol=1e-6)


def test_float16_weights_are_rounded_once(run_program: Callable) -> None:
    data = GENERATOR.integers(-128, 128, SHAPE).astype(np.int8)
    scale = GENERATOR.uniform(0.1, 2, 10).astype(np.float16)

    def build(mb, x):
        weights = mb.constexpr_affine_dequantize(
            quantized_data=data, zero_point=np.int8(3), scale=scale, axis=2
        )
        return mb.add(x=mb.cast(x=x, dtype="fp16"), y=weights)

    (got,) = run_program(build, INPUT, 16).values()
    exact = (data.astype(np.float32) - 3) * scale.astype(np.float32)
    np.testing.assert_array_equal(got.astype(np.float32), exact.astype(np.float16).astype(np.float32))
