"""Operator versions against TensorFlow Lite's own table."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import Op, Tensor


def tensor(dtype: str, rank: int = 2) -> Tensor:
    return Tensor("t", (2,) * rank, np.dtype(dtype))


@pytest.mark.parametrize(
    ("code", "dtype", "rank", "version"),
    [
        (Op.ADD, "float32", 4, 1),
        (Op.ADD, "int64", 4, 4),
        (Op.MUL, "int64", 4, 5),
        (Op.ABS, "int32", 4, 5),
        (Op.TRANSPOSE, "float32", 4, 1),
        (Op.TRANSPOSE, "bool", 4, 3),
        (Op.TRANSPOSE, "float32", 5, 4),
        (Op.TRANSPOSE, "float32", 6, 6),
        (Op.SLICE, "float32", 4, 1),
        (Op.SLICE, "float32", 5, 5),
        (Op.STRIDED_SLICE, "bool", 2, 3),
        (Op.STRIDED_SLICE, "float32", 5, 4),
        (Op.BROADCAST_TO, "float32", 2, 2),
        (Op.BROADCAST_TO, "int8", 2, 3),
        (Op.CONCATENATION, "uint32", 2, 4),
        (Op.SIGN, "int32", 2, 2),
        (Op.MEAN, "float32", 4, 1),
        (Op.REVERSE_V2, "bool", 2, 2),
        (Op.TILE, "int8", 2, 3),
    ],
)
def test_versions(code, dtype, rank, version):
    assert lowest_version(code, [tensor(dtype, rank)], [tensor(dtype, rank)]) == version


def test_operands_of_different_shapes_and_many_axes():
    wide = [tensor("float32", 5), tensor("float32", 1)]
    assert [lowest_version(code, wide, wide[:1]) for code in (Op.ADD, Op.SUB, Op.DIV, Op.MAXIMUM)] == [
        1,
        3,
        2,
        3,
    ]
    alike = [tensor("float32", 5)] * 2
    assert lowest_version(Op.SUB, alike, alike[:1]) == 1


def test_data_is_not_always_the_first_input():
    axis = tensor("int32", 0)
    assert lowest_version(Op.SPLIT, [axis, tensor("int8")], [tensor("int8")] * 2) == 2
    assert lowest_version(Op.SELECT_V2, [tensor("bool"), *[tensor("uint32")] * 2], [tensor("uint32")]) == 2


@pytest.mark.parametrize(
    ("source", "target", "version"),
    [("float32", "int32", 1), ("int8", "float32", 3), ("int32", "uint16", 4), ("uint32", "int64", 2)],
)
def test_casts_look_at_both_ends(source, target, version):
    assert lowest_version(Op.CAST, [tensor(source)], [tensor(target)]) == version


@pytest.mark.parametrize(("keep", "inputs", "version"), [(False, 3, 1), (True, 3, 5), (True, 2, 6)])
def test_fully_connected(keep, inputs, version):
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = keep
    given = [tensor("float32"), tensor("float32"), None][:inputs]
    assert lowest_version(Op.FULLY_CONNECTED, given, [tensor("float32")], options) == version


def test_batched_gather():
    options = schema.GatherOptionsT()
    assert lowest_version(Op.GATHER, [tensor("float32"), tensor("int32")], [], options) == 1
    options.batchDims = 1
    assert lowest_version(Op.GATHER, [tensor("float32"), tensor("int32")], [], options) == 5
