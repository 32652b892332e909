"""Saved programs as Python objects: constants, types, blocks, and damaged programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.converters.coreml.quiet import spared_collections
from toolchain.errors import UnsupportedError
from toolchain.runtimes.coreml_proto import coreml_proto
from toolchain.runtimes.mil.program import (
    UNKNOWN,
    Block,
    Operation,
    Program,
    Reference,
    histogram,
    read_program,
    value_type,
)

GENERATOR = np.random.default_rng(41)


def _saved(coremltools: Any, tmp_path: Path, build: Callable, ios: int, shape: tuple = (2, 3)) -> Any:
    """A program of one input x as coremltools saves it: the proto and the folder of the weights."""
    from coremltools.converters.mil import mil

    program = mil.Program()
    target = getattr(coremltools.target, f"iOS{ios}")
    with mil.Function({"x": mil.Placeholder(shape)}, opset_version=target) as function:
        function.set_outputs([build(mil.Builder, function.inputs["x"])])
    program.add_function("main", function)
    with spared_collections():
        model = coremltools.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=target,
            pass_pipeline=coremltools.PassPipeline.EMPTY,
            skip_model_load=True,
        )
    model.save(str(tmp_path / "saved.mlpackage"))
    return model.get_spec().mlProgram, tmp_path / "saved.mlpackage" / "Data" / "com.apple.CoreML"


def _constants(program: Program) -> dict[str, Any]:
    """Name -> constant of every "const"."""
    return {
        operation.outputs[0].name: operation.attributes["val"]
        for operation in program.block.operations
        if operation.type == "const"
    }


@pytest.mark.parametrize(
    ("dtype", "ios"),
    [
        (np.float32, 15),
        (np.float16, 15),
        (np.int32, 15),
        (np.bool_, 15),
        (np.int8, 17),
        (np.uint8, 17),
        (np.int16, 17),
        (np.uint16, 17),
        (np.uint32, 17),
    ],
)
@pytest.mark.parametrize("shape", [(), (3,), (4, 5, 6)], ids=["scalar", "immediate", "in the weight file"])
def test_constants(coremltools: Any, tmp_path: Path, dtype: type, ios: int, shape: tuple) -> None:
    values = np.asarray(
        GENERATOR.integers(0, 2, shape) if dtype == np.bool_ else GENERATOR.normal(size=shape) * 50
    )
    values = np.abs(values).astype(dtype)

    def build(mb, x):
        mb.const(val=values if shape else values[()], name="kept")
        return mb.identity(x=x)

    proto, folder = _saved(coremltools, tmp_path, build, ios)
    constant = _constants(read_program(proto, folder))["kept"]
    assert constant.type.dtype == np.dtype(dtype).name
    assert constant.type.shape == shape
    assert constant.value.dtype == values.dtype
    np.testing.assert_array_equal(constant.value, values)


def test_operations_name_their_arguments(coremltools: Any, tmp_path: Path) -> None:
    def build(mb, x):
        total = mb.concat(values=(x, x), axis=1, name="both")
        return mb.conv(
            x=mb.expand_dims(x=total, axes=[0]),
            weight=np.ones((2, 2, 3), np.float32),
            pad_type="same",
            name="filtered",
        )

    proto, folder = _saved(coremltools, tmp_path, build, 16)
    program = read_program(proto, folder)
    assert program.opset == "CoreML6"
    assert [(named.name, named.type.dtype, named.type.shape) for named in program.inputs] == [
        ("x", "float32", (2, 3))
    ]
    by_name = {operation.name: operation for operation in program.block.operations}
    assert by_name["both"].inputs["values"] == [Reference("x"), Reference("x")]
    assert by_name["filtered"].outputs[0].type.shape == (1, 2, 6)
    pad_type = by_name["filtered"].inputs["pad_type"][0]
    assert isinstance(pad_type, Reference)
    assert _constants(program)[pad_type.name].value == "same"
    assert program.block.outputs == (by_name["filtered"].outputs[0].name,)
    assert histogram(program.block.operations) == {"concat": 1, "conv": 1, "expand_dims": 1}


def test_blocks_and_their_operators_count(coremltools: Any, tmp_path: Path) -> None:
    def build(mb, x):
        return mb.while_loop(
            _cond=lambda value: mb.less(x=mb.reduce_max(x=value), y=10.0),
            _body=lambda value: mb.add(x=value, y=1.0),
            loop_vars=(x,),
        )

    proto, folder = _saved(coremltools, tmp_path, build, 15)
    program = read_program(proto, folder)
    (loop,) = (operation for operation in program.block.operations if operation.type == "while_loop")
    condition, body = loop.blocks
    assert len(condition.inputs) == len(body.inputs) == 1
    assert histogram(program.block.operations) == {"add": 1, "less": 1, "reduce_max": 1, "while_loop": 1}


def test_sizes_that_are_open_are_unknown() -> None:
    proto = coreml_proto("MIL").ValueType()
    proto.tensorType.dataType = coreml_proto("MIL").DataType.Value("FLOAT16")
    proto.tensorType.dimensions.add().unknown.variadic = False
    proto.tensorType.dimensions.add().constant.size = 4
    kind = value_type(proto)
    assert (kind.kind, kind.dtype, kind.shape) == ("tensor", "float16", (UNKNOWN, 4))


def test_other_values_keep_their_kind() -> None:
    proto = coreml_proto("MIL").ValueType()
    proto.dictionaryType.keyType.tensorType.rank = 0
    assert value_type(proto).kind == "dictionary"


@pytest.fixture
def saved(coremltools: Any, tmp_path: Path) -> tuple[Any, Path]:
    """A program with weights in a file."""

    def build(mb, x):
        return mb.linear(x=x, weight=GENERATOR.normal(size=(50, 3)).astype(np.float32), name="y")

    return _saved(coremltools, tmp_path, build, 15)


def _weights(proto: Any) -> Any:
    """The reference to the weight file."""
    block = proto.functions["main"].block_specializations["CoreML5"]
    (found,) = (
        value.blobFileValue
        for operation in block.operations
        for value in operation.attributes.values()
        if value.WhichOneof("value") == "blobFileValue"
        and value.type.tensorType.dimensions[0].constant.size == 50
        and len(value.type.tensorType.dimensions) == 2
    )
    return found


def _without_folder(proto: Any, folder: Path) -> None:
    return None


def _renamed(name: str) -> Callable:
    def change(proto: Any, folder: Path) -> Path:
        _weights(proto).fileName = name
        return folder

    return change


def _cut(proto: Any, folder: Path) -> Path:
    path = folder / "weights" / "weight.bin"
    path.write_bytes(path.read_bytes()[:200])
    return folder


def _moved(proto: Any, folder: Path) -> Path:
    _weights(proto).offset = 2**40
    return folder


def _retyped(proto: Any, folder: Path) -> Path:
    block = proto.functions["main"].block_specializations["CoreML5"]
    for operation in block.operations:
        for value in operation.attributes.values():
            if value.WhichOneof("value") == "blobFileValue":
                value.type.tensorType.dataType = coreml_proto("MIL").DataType.Value("INT32")
    return folder


def _wrong_opset(proto: Any, folder: Path) -> Path:
    proto.functions["main"].opset = "CoreML99"
    return folder


def _no_function(proto: Any, folder: Path) -> Path:
    del proto.functions["main"]
    return folder


def _two_others(proto: Any, folder: Path) -> Path:
    for name in ("one", "two"):
        proto.functions[name].CopyFrom(proto.functions["main"])
    del proto.functions["main"]
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_folder, "is not there"),
        (_renamed("weights/weight.bin"), "is not there"),
        (_renamed("@model_path/weights/other.bin"), "cannot be read"),
        (_renamed("@model_path/../../../outside.bin"), "outside of the package"),
        (_cut, "cut off"),
        (_moved, "lies outside"),
        (_retyped, "the program says int32"),
        (_wrong_opset, "operator set 'CoreML99'"),
        (_no_function, "none at all"),
        (_two_others, "no function 'main'"),
    ],
)
def test_damaged_programs_are_refused(saved: tuple[Any, Path], damage: Callable, message: str) -> None:
    proto, folder = saved
    with pytest.raises(UnsupportedError, match=message):
        read_program(proto, damage(proto, folder))


def test_the_only_function_needs_no_name(saved: tuple[Any, Path]) -> None:
    proto, folder = saved
    proto.functions["alone"].CopyFrom(proto.functions["main"])
    del proto.functions["main"]
    assert histogram(read_program(proto, folder).block.operations) == {"linear": 1}


def _constant(dtype: str, sizes: list[int]) -> Any:
    value = coreml_proto("MIL").Value()
    value.type.tensorType.dataType = coreml_proto("MIL").DataType.Value(dtype)
    for size in sizes:
        value.type.tensorType.dimensions.add().constant.size = size
    return value


def _program(value: Any) -> Any:
    proto = coreml_proto("MIL").Program()
    function = proto.functions["main"]
    function.opset = "CoreML5"
    operation = function.block_specializations["CoreML5"].operations.add()
    operation.type = "const"
    operation.attributes["val"].CopyFrom(value)
    operation.outputs.add().name = "made"
    return proto


@pytest.mark.parametrize(
    ("dtype", "packed", "expected"),
    [
        ("INT4", b"\xfe\x10\x02", [-2, -1, 0, 1, 2]),
        ("UINT4", b"\xf1\x57\x02", [1, 15, 7, 5, 2]),
        ("UINT3", b"\xc1\x2b", [1, 0, 7, 5, 2]),
        ("UINT1", b"\x0d", [1, 0, 1, 1, 0]),
        ("FLOAT16", b"\x00\x3c\x00\x40\x00\x42\x00\x44\x00\x45", [1, 2, 3, 4, 5]),
        ("UINT16", b"\x01\x00\x02\x00\xff\xff\x03\x00\x04\x00", [1, 2, 65535, 3, 4]),
    ],
)
def test_immediate_bytes(dtype: str, packed: bytes, expected: list[int]) -> None:
    value = _constant(dtype, [5])
    value.immediateValue.tensor.bytes.values = packed
    (constant,) = _constants(read_program(_program(value), None)).values()
    np.testing.assert_array_equal(constant.value, expected)


@pytest.mark.parametrize("dtype", ["FLOAT32", "INT32", "INT4", "STRING"])
def test_a_constant_of_the_wrong_size_is_refused(dtype: str) -> None:
    value = _constant(dtype, [5])
    if dtype == "INT4":
        value.immediateValue.tensor.bytes.values = b"\x01"
    else:
        value.immediateValue.tensor.floats.values.extend([1.0, 2.0])
    with pytest.raises(UnsupportedError):
        read_program(_program(value), None)


def test_the_most_frequent_operator_comes_first() -> None:
    def operation(kind: str, *blocks: Block) -> Operation:
        return Operation(kind, kind, {}, (), {}, blocks)

    inner = Block((), (), (operation("relu"), operation("relu"), operation("const")))
    found = histogram([operation("conv"), operation("add"), operation("cond", inner)])
    assert list(found.items()) == [("relu", 2), ("add", 1), ("cond", 1), ("conv", 1)]
